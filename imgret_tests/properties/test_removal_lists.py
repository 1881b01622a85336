"""Lists of removable files over random trees: nobody who removes every listed file loses a content.

Each tree has copies, hard links (some inside, some outside the image root), links, links to links, links out of the
root, protected folders and decisions. The files are real; which contents are near-duplicates is made up.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.duplicates.duplicate_search import EXACT, NEAR, Duplicate, merge_duplicates
from imgret_assets.domain.duplicates.duplicates_table import as_table
from imgret_assets.domain.duplicates.usable_images import UsableImage, load_files, rank_contents
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import Decisions
from imgret_assets.domain.review.queue import ReviewQueue
from imgret_assets.domain.review.removals import find_removable_duplicates, list_removals
from imgret_assets.domain.review.review_tables import DuplicateRow, DuplicateSet, ReviewTables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.image_roots import ImageRoots
from imgret_assets.settings import load_settings
from imgret_tests.support.removal_trees import (
    FAMILY_OF,
    decide,
    plant_tree,
    readable,
    replacements,
    stored_bytes,
)


@dataclass(frozen=True)
class Lists:
    """What one tree's tables say: the paths of each list, and the bytes that each promises to free."""

    paths: Mapping[str, set[str]]
    freed_bytes: Mapping[str, int]
    near: set[tuple[str, str]]
    decisions: Decisions


def make_duplicates(images: Sequence[UsableImage]) -> list[Duplicate]:
    """Return the rows of the duplicates table: the first content of a family keeps the other one."""
    groups = rank_contents(images)
    keepers: dict[int, UsableImage] = {}
    near = []
    for group in groups:
        keep = keepers.setdefault(FAMILY_OF[group[0].sha256], group[0])
        if keep.sha256 != group[0].sha256:
            near += [Duplicate(image, keep, NEAR, 3, 0.99, 0.9) for image in group]
    return merge_duplicates(groups, near)


def duplicate_sets(images: Sequence[UsableImage], rows: Iterable[Duplicate]) -> list[DuplicateSet]:
    """Return the rows as sets to review."""
    number_of = {image.path: number for number, image in enumerate(images)}
    sets: dict[int, list[DuplicateRow]] = {}
    for row in rows:
        measures = (None, None, None) if row.kind == EXACT else (row.bits, row.correlation, row.cosine)
        listed = DuplicateRow(number_of[row.image.path], row.kind, *measures)
        sets.setdefault(number_of[row.keep.path], []).append(listed)
    return [
        DuplicateSet(keep, members, NEAR if any(member.kind == NEAR for member in members) else EXACT)
        for keep, members in sets.items()
    ]


def make_lists(home: Home, rng: np.random.Generator) -> Lists:
    refresh_manifest(home)
    images = sorted(load_files(home), key=lambda image: image.path)
    rows = make_duplicates(images)
    decide(home, images, rng)
    decisions, protected = read_decisions(home), home.settings.protected
    removable = find_removable_duplicates(as_table(rows).to_pylist(), images, decisions, protected)
    removals = list_removals(home)
    pairs = np.zeros((0, 2), np.int32)
    review_tables = ReviewTables(images, duplicate_sets(images, rows), pairs, np.zeros(0), 0, protected)
    queue = ReviewQueue(review_tables, decisions)
    sets = [review_set for kind in (EXACT, NEAR) for review_set in queue.sets(kind)]
    proposed = {member.path for review_set in sets for member in review_set.members if member.proposed}
    decided = {removal.path for removal in removals.files}
    return Lists(
        {"duplicates": {*removable}, "dry-run": decided, "page": proposed, "both": {*removable} | decided},
        {
            "duplicates": sum(removable.values()),
            "dry-run": removals.bytes,
            "page": sum(review_set.proposed_bytes for review_set in sets),
        },
        {(row.image.sha256, row.keep.sha256) for row in rows if row.kind == NEAR},
        decisions,
    )


@pytest.mark.usefixtures("settled")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "trees", [pytest.param(100, id="sample"), pytest.param(500, id="all", marks=pytest.mark.exhaustive)]
)
def test_removing_every_listed_file_loses_no_content(tmp_path: Path, trees: int) -> None:
    listed_paths = Counter[str]()
    home = open_home(load_settings({"home": tmp_path / "home", "images": tmp_path / "none", "shards": 1}))
    for seed in range(trees):
        plant_tree(tmp_path / f"{seed}", tmp_path / f"{seed}-outside", np.random.default_rng(seed))
        settings = replace(home.settings, images=ImageRoots.plain(tmp_path / f"{seed}"), protected=("safe",))
        (home.path / "decisions.jsonl").unlink(missing_ok=True)
        shutil.rmtree(home.path / "decisions.copies", ignore_errors=True)
        lists = make_lists(replace(home, settings=settings), np.random.default_rng(seed))
        same_image = replacements(lists.near, lists.decisions)
        for name, listed in lists.paths.items():
            listed_paths[name] += len(listed)
            root, outside = tmp_path / f"{seed}-{name}", tmp_path / f"{seed}-{name}-outside"
            plant_tree(root, outside, np.random.default_rng(seed))
            before, size = readable(root), stored_bytes(root, outside)
            for path in listed:
                (root / path).unlink()
            after = readable(root)
            for path, sha256 in before.items():
                case = f"tree {seed}, {name}: {path} of {before}, removed {sorted(listed)}"
                assert same_image[sha256] & {*after.values()}, case
                if path.startswith("safe/"):
                    assert after.get(path) == sha256, case
            if name in lists.freed_bytes:
                assert size - stored_bytes(root, outside) == lists.freed_bytes[name], f"tree {seed}, {name}"
    assert all(listed_paths[name] > trees / 4 for name in ("duplicates", "dry-run", "page", "both")), listed_paths


def test_the_trees_have_every_kind_of_name(tmp_path: Path) -> None:
    kinds = set[str]()
    for seed in range(40):
        root, outside = tmp_path / f"{seed}", tmp_path / f"{seed}-outside"
        plant_tree(root, outside, np.random.default_rng(seed))
        for file in (file for file in root.rglob("*.png") if not file.is_dir()):
            target = file.resolve()
            if not file.is_symlink():
                kinds.add("hard link" if file.stat().st_nlink > 1 else "file")
            elif root not in target.parents:
                kinds.add("link out of the root")
            else:
                kinds.add("link to a link" if (file.parent / file.readlink()).is_symlink() else "link")
    assert kinds == {"hard link", "file", "link out of the root", "link to a link", "link"}
