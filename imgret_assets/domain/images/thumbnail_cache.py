"""Small copies of the library's pictures, made once and kept in the home.

Belongs here: their folder, names and upkeep. Not here: how a thumbnail is made (`domain.images.contact_sheets`),
which files may be shown (`app.components.thumbnails`).
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from imgret_assets.domain.images.contact_sheets import thumbnail
from imgret_assets.domain.storage.home import Home


def thumbnails_folder(home: Home) -> Path:
    """Where a home keeps its thumbnails; it may be removed at any time, and is then filled again."""
    return home.path / "thumbnails"


def kept_thumbnail(folder: Path, file: Path, size: int) -> bytes:
    """A picture as JPEG of at most `size` x `size` pixels, upright, on white; from the folder where it is there.

    A file that can't be read is a grey tile, which is not kept; a folder that can't be written keeps nothing.

    Args:
        folder: of `thumbnails_folder`.
        file: the picture.
        size: longest side in pixels.
    """
    try:
        found = file.stat()
    except OSError:
        return thumbnail(file, size=size)
    kept = folder / str(size) / _name(file, found.st_mtime_ns, found.st_size)
    try:
        return kept.read_bytes()
    except OSError:
        made = thumbnail(file, size=size)
        _keep(kept, made)
        return made


def unused_thumbnails(home: Home, pictures: Iterable[tuple[str, int, int]]) -> Iterator[Path]:
    """Kept thumbnails of none of these pictures, given by path, mtime in ns and length in bytes."""
    used = {_name(home.images / path, mtime_ns, length) for path, mtime_ns, length in pictures}
    for kept in thumbnails_folder(home).glob("*/*/*"):
        if f"{kept.parent.name}/{kept.name}" not in used:
            yield kept


def _name(file: Path, mtime_ns: int, length: int) -> str:
    # A changed file has another name, so that nothing has to be found out of date.
    digest = hashlib.sha256(f"{mtime_ns} {length} ".encode() + os.fsencode(file)).hexdigest()
    return f"{digest[:2]}/{digest[2:40]}.jpg"


def _keep(kept: Path, data: bytes) -> None:
    """Write a thumbnail, whole or not at all; not synced: it can be made again."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, prefix=".", suffix=".tmp", delete=False) as written:
            written.write(data)
        Path(written.name).replace(kept)
    except OSError:
        return
