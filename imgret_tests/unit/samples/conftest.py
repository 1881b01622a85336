"""Small images instead of drawn ones, for tests of folders.

Belongs here: fixtures of the tests of samples. Not here: tests.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from imgret_assets.samples import folders
from imgret_assets.samples.catalogue import SampleImage

Draw = Callable[[int | None, Callable[[int, int], None] | None], Iterator[SampleImage]]


def image_bytes(colour: tuple[int, int, int]) -> bytes:
    """Return a PNG of 8 x 6 pixels."""
    data = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(data, "PNG")
    return data.getvalue()


def small_images(families: int | None, progress: Callable[[int, int], None] | None) -> Iterator[SampleImage]:
    """Yield four small images and a query."""
    del families
    for i in range(4):
        yield SampleImage(f"cars/bus/whale-{i}.png", "cars/bus", "whale", f"v{i}", "", image_bytes((i, 0, 0)))
        if progress:
            progress(i + 1, 4)
    yield SampleImage("whale.png", "cars/bus", "whale", "query", "", image_bytes((9, 9, 9)))


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder by its path, without lock files."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".lock", ".holder")
    }


@pytest.fixture
def small_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace drawing by `small_images`."""
    monkeypatch.setattr(folders, "drawn_images", small_images)
