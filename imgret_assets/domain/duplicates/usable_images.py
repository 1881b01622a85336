"""The usable images of a home, grouped by content and ranked by which duplicate to keep.

Belongs here: reading the usable images from the tables, grouping them by content, the rank that decides which
duplicate is kept. Not here: comparing images (`domain.duplicates.duplicate_search`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from imgret_assets.domain.embeddings.table_reader import coverage_of, usable_rows, vector_keys_of
from imgret_assets.domain.storage.home import Home


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
    """

    path: str
    sha256: str
    bytes: int
    width: int
    height: int
    vector_key: str = ""

    @property
    def rank(self) -> tuple[int, int, int, str]:
        """Sort key: most pixels first, then the largest file, the shortest path, the path.

        Of a set of duplicates, the image with the lowest rank is kept.
        """
        return (-self.width * self.height, -self.bytes, len(self.path), self.path)


def group_by_content(images: Iterable[UsableImage]) -> dict[str, list[UsableImage]]:
    """Return the images of each content by its sha256, in the order of `images`."""
    groups: dict[str, list[UsableImage]] = {}
    for image in images:
        groups.setdefault(image.sha256, []).append(image)
    return groups


def rank_contents(images: Iterable[UsableImage]) -> list[list[UsableImage]]:
    """Return the images of each content, ranked within a content; the contents are ranked by their first image."""
    groups = (sorted(group, key=lambda image: image.rank) for group in group_by_content(images).values())
    return sorted(groups, key=lambda group: group[0].rank)


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
        columns = rows.select(["path", "sha256", "bytes", "width", "height"]).to_pydict()
        for path, sha256, file_bytes, width, height, vector_key in zip(
            *columns.values(), vector_keys_of(rows), strict=True
        ):
            images.append(UsableImage(path, sha256, file_bytes or 0, width or 0, height or 0, vector_key))
    return sorted(images, key=lambda image: image.path)
