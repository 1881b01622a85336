"""Cache of thumbnails in the home: each is made once for a file and a size.

Belongs here: the cache's folder, its file names, unused thumbnails. Not here: making a thumbnail
(`domain.images.contact_sheets`), which files may be shown (`domain.images.files`).
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from imgret_assets.domain.images.contact_sheets import thumbnail
from imgret_assets.domain.images.decode import DECODER_VERSION
from imgret_assets.domain.images.file_reading import stamp_of_file
from imgret_assets.domain.images.files import storable_ns
from imgret_assets.domain.storage.home import Home
from imgret_assets.object_url import ImageFile


def thumbnails_folder(home: Home) -> Path:
    """Return the folder of a home's thumbnails; it may be removed at any time, and is then filled again."""
    return home.path / "thumbnails"


def cached_thumbnail(folder: Path, file: ImageFile, size: int) -> bytes:
    """Return an image as JPEG of at most `size` x `size` pixels, from the cache if it has it.

    A file that can't be read gives a grey tile, which is not cached. A folder that can't be written caches nothing.

    Args:
        folder: the cache (`thumbnails_folder`).
        file: the image file or object.
        size: longest side in pixels.
    """
    try:
        mtime_ns, file_bytes = stamp_of_file(file)
    except OSError:
        return thumbnail(file, size=size)
    cached = folder / str(size) / _name(file, storable_ns(mtime_ns), file_bytes)
    try:
        return cached.read_bytes()
    except OSError:
        data = thumbnail(file, size=size)
        _write(cached, data)
        return data


def unused_thumbnails(home: Home, images: Iterable[tuple[str, int, int]]) -> Iterator[Path]:
    """Yield the cached thumbnails of no image in use.

    Args:
        home: the home.
        images: path, mtime in ns (`storable_ns`) and size in bytes of each image in use.
    """
    used = {_name(home.images / path, mtime_ns, file_bytes) for path, mtime_ns, file_bytes in images}
    for cached in thumbnails_folder(home).glob("*/*/*"):
        if f"{cached.parent.name}/{cached.name}" not in used:
            yield cached


def _name(file: ImageFile, mtime_ns: int, file_bytes: int) -> str:
    # A changed file or decoder has another thumbnail name, so that an old thumbnail is never returned.
    digest = hashlib.sha256(f"{DECODER_VERSION} {mtime_ns} {file_bytes} ".encode() + os.fsencode(file)).hexdigest()
    return f"{digest[:2]}/{digest[2:40]}.jpg"


def _write(cached: Path, data: bytes) -> None:
    """Write a thumbnail, whole or not at all; it is not synced to the disk, because it can be made again."""
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cached.parent, prefix=".", suffix=".tmp", delete=False) as temporary:
            temporary.write(data)
        Path(temporary.name).replace(cached)
    except OSError:
        return
