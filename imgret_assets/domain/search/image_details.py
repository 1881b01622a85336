"""All that is known about one image of the library: facts, group, duplicates, relationships.

Belongs here: collecting it from tables and graph. Not here: images similar to it (`domain.search.find_similar`), how
two images are related (`domain.search.explain`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from imgret_assets.domain.duplicates.duplicate_search import KINDS
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_state import REFRESHING, read_state, require_ready
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.models.resolution import space_in_use
from imgret_assets.domain.review.duplicate_list import cached_duplicates
from imgret_assets.domain.review.group_list import ImageGroup, read_group_list, read_names
from imgret_assets.domain.search.relations import Edge, best_relationships
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import GROUPS
from imgret_assets.domain.storage.home import Home

# Columns that say how the file is stored on this machine are no facts about the image.
_OF_STORAGE = ("inode", "ctime_ns", "hard_links", "link", "decoding")


@dataclass(frozen=True)
class ImageDetails:
    """What is known about an image.

    Attributes:
        facts: columns of its row of the manifest.
        group: its group; None if it is in none.
        group_name: the name that people gave to the group.
        duplicates: rows of the duplicates table in which it is, on either side.
        relationships: its best relationships, best first.
        relationship_count: how many it has.
        refreshing: a run was writing to the graph.
    """

    facts: dict[str, Any]
    group: ImageGroup | None = None
    group_name: str | None = None
    duplicates: list[dict[str, Any]] = field(default_factory=list)
    relationships: Sequence[Edge] = ()
    relationship_count: int = 0
    refreshing: bool = False


def read_facts(home: Home, path: str) -> dict[str, Any] | None:
    """Return the manifest's row of a path, without columns about its storage; None if no run has listed the path.

    Raises:
        TableError: the manifest is damaged.
    """
    file = tables.manifest_path(home.warehouse, shard_of(path, home.record.shards))
    if not file.is_file():
        return None
    rows = tables.where_equal(tables.read(file), "path", path).to_pylist()
    return {name: value for name, value in rows[0].items() if name not in _OF_STORAGE} if rows else None


def read_details(home: Home, database: Database, path: str, *, max_relationships: int) -> ImageDetails | None:
    """Return what is known about an image of the library; None if no run has listed its path.

    Args:
        home: the home as it is served to readers.
        database: its graph.
        path: of the image, POSIX, relative to the image root.
        max_relationships: how many of its relationships are returned.

    Raises:
        TableError: a table is missing or damaged.
        DatabaseError: there is no graph, it is being rebuilt, or the server can't be reached.
    """
    facts = read_facts(home, path)
    if facts is None:
        return None
    state = require_ready(read_state(database), database.uri)
    edges, totals = best_relationships(database, [path], min_score=-1.0, limit_per_image=max_relationships, home=home)
    group, name = _group(home, path)
    rows = cached_duplicates(home, KINDS).rows
    return ImageDetails(
        facts,
        group,
        name,
        [row for row in rows if path in (row["path_from"], row["path_keep"])],
        edges,
        totals.get(path, 0),
        refreshing=state.state == REFRESHING,
    )


def _group(home: Home, path: str) -> tuple[ImageGroup | None, str | None]:
    space = space_in_use(home).id
    if not GROUPS.path(home.warehouse, space).is_file():
        return None, None
    groups = read_group_list(home, space)
    name = groups.group_of(path)
    if name is None:
        return None, None
    return groups.find(name), read_names(home, space, groups).get(name)
