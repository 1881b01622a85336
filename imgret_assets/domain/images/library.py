"""The library: the usable images that the manifest lists.

Belongs here: their paths, labels, cameras and dates, kept in memory, and a stamp that changes with them. Not here:
making the manifest (`domain.images.manifest`), what can be searched (`domain.search.find_similar`).
"""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import PurePosixPath

from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.stamped_cache import StampedCache


@dataclass(frozen=True)
class Library:
    """The usable images.

    Attributes:
        paths, labels, cameras: the paths, and the labels and cameras among them, sorted.
        taken: when the first and the last photo were taken; None if no date is known.
    """

    paths: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    taken: tuple[datetime, datetime] | None = None

    def __contains__(self, path: object) -> bool:
        """Return True if a path is that of a usable image."""
        row = bisect_left(self.paths, path) if isinstance(path, str) else len(self.paths)
        return row < len(self.paths) and self.paths[row] == path

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """The folders in which or below which images lie, sorted: the labels and the folders around them."""
        around = (str(folder) for label in self.labels for folder in PurePosixPath(label).parents)
        return tuple(sorted({*self.labels, *around} - {"."}))

    def spread(self, count: int) -> list[str]:
        """Return a few paths, evenly spread over the library, so that they come from many folders."""
        shown = min(count, len(self.paths))
        return [self.paths[(2 * i + 1) * len(self.paths) // (2 * shown)] for i in range(shown)]


_libraries: StampedCache[Library] = StampedCache()


def library_stamp(home: Home) -> tables.Stamp:
    """Return a value that differs if the manifest differs: name, modification time and size of its files."""
    files = [tables.manifest_path(home.warehouse, shard) for shard in home.shards]
    return tables.stamp_of(files)


def read_library(home: Home) -> Library:
    """Read the usable images of the manifest; none if no run has listed them yet.

    Raises:
        TableError: a manifest is damaged.
    """
    paths: list[str] = []
    labels, cameras, dates = set[str](), set[str](), set[datetime]()
    for shard in home.shards:
        file = tables.manifest_path(home.warehouse, shard)
        if file.is_file():
            table = tables.read(file, ["path", "label", "status", "taken", "camera"])
            usable = tables.where_equal(table, "status", Status.OK)
            paths += usable["path"].to_pylist()
            for column, values in (("label", labels), ("camera", cameras), ("taken", dates)):
                # The manifest of an earlier version has no dates and cameras.
                values.update(usable[column].unique().drop_null().to_pylist() if column in usable.column_names else [])
    taken = (min(dates), max(dates)) if dates else None
    return Library(tuple(sorted(paths)), tuple(sorted(labels)), tuple(sorted(cameras)), taken)


def cached_library(home: Home) -> Library:
    """Return `read_library`, read again when the manifest has changed; raise what it raises."""
    return _libraries.get(library_stamp(home), lambda: read_library(home))
