"""The usable images of a home, with what decides which of several duplicates is kept.

Belongs here: reading them from the tables. Not here: comparing them (`domain.duplicates.copy_search`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from imgret_assets.domain.embeddings.table_reader import check_shard, coverage_of, vector_keys
from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home


@dataclass(frozen=True, slots=True)
class Picture:
    """A usable file: `vector` says which vector it has (`pairs.vector_keys`)."""

    path: str
    sha256: str
    bytes: int
    width: int
    height: int
    vector: str = ""

    @property
    def order(self) -> tuple[int, int, int, str]:
        """What is to be kept comes first."""
        return (-self.width * self.height, -self.bytes, len(self.path), self.path)


def by_content(pictures: Iterable[Picture]) -> list[list[Picture]]:
    """Files of each content, what is to be kept first in each and among them."""
    found: dict[str, list[Picture]] = {}
    for picture in pictures:
        found.setdefault(picture.sha256, []).append(picture)
    return sorted((sorted(group, key=lambda one: one.order) for group in found.values()), key=lambda g: g[0].order)


def coverage(pictures: Iterable[Picture]) -> str:
    """Hash of which files with which vectors a table is about."""
    sorted_by_path = sorted(pictures, key=lambda one: one.path)
    return coverage_of([one.path for one in sorted_by_path], [one.vector for one in sorted_by_path])


def usable_pictures(home: Home, space: str) -> list[Picture]:
    """All usable files, sorted by path.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or don't belong together.
    """
    found: list[Picture] = []
    for shard in home.shards:
        table = check_shard(home, space, shard, columns=["path", "sha256", "engine", "status"])
        manifest = tables.read(
            tables.manifest_path(home.warehouse, shard), ["path", "bytes", "width", "height", "status"]
        )
        listed = tables.where_equal(manifest, "status", Status.OK).to_pydict()
        facts = dict(
            zip(listed["path"], zip(listed["bytes"], listed["width"], listed["height"], strict=True), strict=True)
        )
        rows = tables.where_equal(table, "status", Status.OK)
        names, shas = rows["path"].to_pylist(), rows["sha256"].to_pylist()
        for path, sha, vector in zip(names, shas, vector_keys(rows), strict=True):
            size, width, height = facts[path]
            found.append(Picture(path, sha, size or 0, width or 0, height or 0, vector))
    return sorted(found, key=lambda one: one.path)


def _by_content(pictures: Iterable[Picture]) -> dict[str, list[Picture]]:
    found: dict[str, list[Picture]] = {}
    for one in pictures:
        found.setdefault(one.sha256, []).append(one)
    return found
