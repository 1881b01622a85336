"""The usable images of a home, grouped by content and ranked by which duplicate to keep.

Belongs here: reading the usable images from the tables, grouping them by content, the rank that decides which
duplicate is kept, which names are one stored file, the bytes that removing files frees. Not here: comparing images
(`domain.duplicates.duplicate_search`).

A symbolic link is no file of its own: it duplicates nothing, and nothing duplicates it. Hard links are several names of
one stored file: they don't duplicate each other, and its bytes are freed when the last name is removed.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace

import pyarrow as pa

from imgret_assets.domain.embeddings.table_reader import coverage_of, usable_rows, vector_keys_of
from imgret_assets.domain.images.image_status import RETRIED_STATUSES, Status
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home

_COLUMNS = (
    *("path", "sha256", "bytes", "width", "height"),
    *("inode", "mtime_ns", "ctime_ns", "hard_links", "link"),
    *("channels", "bits", "frames"),
)
# What the depth counts as where the manifest does not know it: that of nearly all files.
_USUAL_CHANNELS, _USUAL_BITS = 3, 24
_MAX_PALETTE_BITS = 8


@dataclass(frozen=True, slots=True)
class UsableImage:
    """A usable image file.

    Attributes:
        path: POSIX path under the image root.
        sha256: of the file's bytes.
        bytes: size of the file.
        width, height: in pixels, after EXIF rotation.
        vector_key: identifies the image's embedding (`table_reader.vector_keys_of`); empty if the image was read from a
            manifest alone.
        link: path of the file that this symbolic link leads to; None for a file.
        stored_file: inode, mtime and ctime in ns. Two names with the same content and the same stored file are hard
            links of each other; None if unknown. Times belong to it, because two file systems may use one inode number.
        hard_links: how many names the stored file has, inside and outside the image root.
        mtime_ns: time of the last change in ns, as `files.storable_ns` limits it; 0 if unknown.
        channels, bits: colour channels and bits per pixel as stored (`stored_depth`); None if unknown.
        frames: frames or pages of the file; None if unknown.
        is_grey: the pixels have no colour, however they are stored; False as long as they have not been measured.
    """

    path: str
    sha256: str
    bytes: int
    width: int
    height: int
    vector_key: str = ""
    link: str | None = None
    stored_file: tuple[int, int, int] | None = None
    hard_links: int = 1
    mtime_ns: int = 0
    channels: int | None = None
    bits: int | None = None
    frames: int | None = None
    is_grey: bool = False

    @property
    def depth(self) -> tuple[bool, float]:
        """Whether the image has colour, and the bits per channel: the greater, the better.

        A palette of 8 bits has 8 / 3 bits per channel: less than RGB, and the colour makes it more than grey. A palette
        of greys alone has 8, as grey has.
        """
        channels, bits = self.channels or _USUAL_CHANNELS, self.bits or _USUAL_BITS
        if self.is_grey:
            return False, bits if bits <= _MAX_PALETTE_BITS else bits / channels
        return channels > 1, bits / channels

    @property
    def rank(self) -> tuple[bool, float, int, int, int, str]:
        """Sort key: colour before grey, most bits per channel, most pixels, the largest file, the shortest path, path.

        Of a set of duplicates, the image with the lowest rank is kept.
        """
        is_coloured, bits = self.depth
        return (not is_coloured, -bits, -self.width * self.height, -self.bytes, len(self.path), self.path)

    @property
    def storage(self) -> tuple[object, ...]:
        """Identifies the stored file: equal for hard links of one file, and different for all others."""
        return (self.path,) if self.stored_file is None else (self.sha256, *self.stored_file)


def with_colours(images: Iterable[UsableImage], grey_contents: Set[str]) -> list[UsableImage]:
    """Return images with `is_grey` as the pixels of their contents say."""
    return [replace(image, is_grey=True) if image.sha256 in grey_contents else image for image in images]


def group_by_content(images: Iterable[UsableImage]) -> dict[str, list[UsableImage]]:
    """Return the images of each content by its sha256, in the order of `images`."""
    groups: dict[str, list[UsableImage]] = {}
    for image in images:
        groups.setdefault(image.sha256, []).append(image)
    return groups


def rank_contents(images: Iterable[UsableImage]) -> list[list[UsableImage]]:
    """Return the files of each content, ranked within a content; the contents are ranked by their first file.

    Symbolic links are left out, and so is a content that only links have.
    """
    files = (image for image in images if image.link is None)
    groups = (sorted(group, key=lambda image: image.rank) for group in group_by_content(files).values())
    return sorted(groups, key=lambda group: group[0].rank)


def freed_bytes(images: Iterable[UsableImage]) -> dict[str, int]:
    """Return the bytes that removing all of these files frees, by path.

    A stored file counts once, at its last name in the order of paths, and not at all if a name of it remains. A
    symbolic link frees nothing.
    """
    by_path = sorted({image.path: image for image in images}.values(), key=lambda image: image.path)
    files = [image for image in by_path if image.link is None]
    removed_names = Counter(image.storage for image in files)
    last_name = {image.storage: image.path for image in files}
    return {
        image.path: image.bytes
        if image.link is None
        and last_name[image.storage] == image.path
        and removed_names[image.storage] >= image.hard_links
        else 0
        for image in by_path
    }


def further_names(images: Sequence[UsableImage]) -> set[str]:
    """Return the paths that are no stored file of their own: symbolic links, and all hard links of a file but one.

    The one is the name with the lowest rank.
    """
    first: dict[tuple[object, ...], UsableImage] = {}
    for image in sorted((image for image in images if image.link is None), key=lambda image: image.rank):
        first.setdefault(image.storage, image)
    own = {image.path for image in first.values()}
    return {image.path for image in images} - own


def storage_digest(images: Iterable[UsableImage]) -> str:
    """Return a hash of all contents, and of which paths are links, hard links of each other, or have names elsewhere.

    It stays the same if files are stored anew, which changes their inodes and times, in the same relation.
    """
    digest = hashlib.sha256()
    first_name: dict[tuple[object, ...], str] = {}
    for image in sorted(images, key=lambda image: image.path):
        name = image.path if image.link is not None else first_name.setdefault(image.storage, image.path)
        digest.update(f"{image.path}\0{image.sha256}\0{image.link}\0{name}\0{image.hard_links}\n".encode())
    return digest.hexdigest()


def coverage_of_images(images: Iterable[UsableImage]) -> str:
    """Return a hash of all paths and vector keys: equal hashes mean the same images with the same embeddings."""
    by_path = sorted(images, key=lambda image: image.path)
    return coverage_of([image.path for image in by_path], [image.vector_key for image in by_path])


def load_usable_images(home: Home, space: str) -> list[UsableImage]:
    """Read all usable images of an embedding space, sorted by path.

    Raises:
        TableError: a shard's tables are missing.
        StaleTableError: a shard's embeddings belong to another manifest.
    """
    images: list[UsableImage] = []
    for shard in home.shards:
        rows = usable_rows(home, space, shard)
        images += images_of_rows(rows, vector_keys_of(rows))
    return sorted(images, key=lambda image: image.path)


def load_files(home: Home) -> list[UsableImage]:
    """Read all files of the manifests whose bytes are known, links as well, whether or not they can be decoded.

    Empty files are left out. The width and the height of a file that can't be decoded are 0.

    Raises:
        TableError: a shard's manifest is missing or damaged.
    """
    images: list[UsableImage] = []
    for shard in home.shards:
        path = tables.require(
            tables.manifest_path(home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
        )
        rows = tables.read(path)
        known = [
            sha256 is not None and status != Status.EMPTY and status not in RETRIED_STATUSES
            for sha256, status in zip(rows["sha256"].to_pylist(), rows["status"].to_pylist(), strict=True)
        ]
        images += images_of_rows(rows.filter(pa.array(known, pa.bool_())))
    return sorted(images, key=lambda image: image.path)


def load_unusable_files(home: Home, usable: Iterable[UsableImage]) -> list[UsableImage]:
    """Read the files whose bytes are known and that are no usable images, sorted by path.

    Args:
        home: the home.
        usable: the usable images (`load_usable_images`).

    Raises:
        TableError: a shard's manifest is missing or damaged.
    """
    paths = {image.path for image in usable}
    return [image for image in load_files(home) if image.path not in paths]


def images_of_rows(rows: pa.Table, vector_keys: Sequence[str] | None = None) -> list[UsableImage]:
    """Return the images of manifest rows.

    Args:
        rows: rows with the columns of a manifest. Those of an older version of the program lack columns about links;
            then every row counts as a file of its own.
        vector_keys: of each row; None if unknown.
    """
    columns = {name: rows[name].to_pylist() for name in _COLUMNS if name in rows.column_names}
    keys = vector_keys or [""] * len(rows)
    return [
        UsableImage(
            row["path"],
            row["sha256"],
            row["bytes"] or 0,
            row["width"] or 0,
            row["height"] or 0,
            key,
            row.get("link"),
            (row["inode"], row["mtime_ns"], row["ctime_ns"]) if row.get("hard_links") and row["inode"] else None,
            row.get("hard_links") or 1,
            row["mtime_ns"] or 0,
            row.get("channels"),
            row.get("bits"),
            row.get("frames"),
        )
        for key, *values in zip(keys, *columns.values(), strict=True)
        for row in [dict(zip(columns, values, strict=True))]
    ]
