"""The duplicates table with the decisions in force, as command and HTTP API list it.

Belongs here: the rows of the chosen kinds, which of them may be removed. Not here: finding duplicates
(`domain.duplicates.duplicates_table`), sets to decide about (`domain.review.queue`), printing (`cli.duplicates`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgret_assets.domain.duplicates.duplicate_search import DUPLICATE_KINDS, EXACT, find_exact_duplicates
from imgret_assets.domain.duplicates.duplicates_table import as_table, require_duplicates
from imgret_assets.domain.duplicates.usable_images import (
    UsableImage,
    coverage_of_images,
    load_unusable_files,
    load_usable_images,
    rank_contents,
)
from imgret_assets.domain.embeddings.table_reader import embeddings_files
from imgret_assets.domain.images.library import library_stamp
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import Decisions, File
from imgret_assets.domain.review.removals import find_removable_duplicates
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import DUPLICATES
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.stamped_cache import StampedCache

# Few: clients ask for the same kinds page after page.
_CACHED_LISTS = 4


@dataclass(frozen=True)
class DuplicateList:
    """Rows of the duplicates table.

    Attributes:
        rows: columns of the table and `decision`, the verdict in force or None; by path. `bytes` is what the removal of
            the file frees if all removable files are removed.
        removable: of the paths that may be removed, what each frees in bytes; no protected file, and none that people
            decided to keep.
    """

    rows: list[dict[str, Any]]
    removable: dict[str, int]


_lists: StampedCache[DuplicateList] = StampedCache(_CACHED_LISTS)


def list_duplicates(home: Home, kinds: Sequence[str], *, undecided: bool = False) -> DuplicateList:
    """Return the duplicates of some kinds.

    Args:
        home: the home.
        kinds: of `domain.duplicates.duplicate_search.KINDS`; exact alone groups files by their bytes alone.
        undecided: leave out pairs with a decision in force.

    Raises:
        TableError: a table is missing or damaged.
        StaleTableError: a file has changed since the table was made, so that it is no duplicate any more.
        HomeError: the decisions can't be read.
    """
    decisions = read_decisions(home)
    space = require_duplicates(home).space
    images = load_usable_images(home, space)
    DUPLICATES.require_current(home.warehouse, space, coverage_of_images(images))
    images += load_unusable_files(home, images)
    rows = [row for row in _rows(home, kinds, images, decisions) if not (undecided and row["decision"])]
    pairs = [row for row in rows if row["kind"] in DUPLICATE_KINDS]
    removable = find_removable_duplicates(pairs, images, decisions, home.settings.protected)
    return DuplicateList([{**row, "bytes": removable.get(row["path_from"], row["bytes"])} for row in rows], removable)


def cached_duplicates(home: Home, kinds: Sequence[str], *, undecided: bool = False) -> DuplicateList:
    """Return `list_duplicates`, made again when a table or a decision has changed; raise what it raises."""
    decisions = read_decisions(home)
    files = [tables.duplicates_path(home.warehouse), *embeddings_files(home, require_duplicates(home).space)]
    stamp = (
        decisions.stamp,
        library_stamp(home),
        tables.stamp_of(files),
        home.settings.protected,
        tuple(kinds),
        undecided,
    )
    return _lists.get(stamp, lambda: list_duplicates(home, kinds, undecided=undecided))


def _rows(
    home: Home, kinds: Sequence[str], images: Sequence[UsableImage], decisions: Decisions
) -> list[dict[str, Any]]:
    """Return the rows of these kinds, each with the verdict of the decision in force."""
    if tuple(kinds) == (EXACT,):
        # Two files with the same bytes may both be near-duplicates of a third image; the table has only that.
        exact = find_exact_duplicates(rank_contents(images))
        rows = as_table(sorted(exact, key=lambda row: row.image.path)).to_pylist()
    else:
        rows = tables.read(tables.duplicates_path(home.warehouse)).to_pylist()
    contents = {image.path: image.sha256 for image in images}
    return [{**row, "decision": _verdict(decisions, contents, row)} for row in rows if row["kind"] in kinds]


def _verdict(decisions: Decisions, contents: Mapping[str, str], row: Mapping[str, Any]) -> str | None:
    duplicate, keep = (File(row[side], contents.get(row[side], "")) for side in ("path_from", "path_keep"))
    decision = decisions.decision_for(duplicate, keep)
    return None if decision is None else decision.verdict
