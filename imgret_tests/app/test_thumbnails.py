"""Thumbnails and facts of image files."""

import base64
import io
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from imgret_assets.app.components.thumbnails import (
    TILE_PX,
    ImageFacts,
    cropped_thumbnail,
    data_thumbnail,
    equal_tiles,
    file_thumbnail,
    frame_thumbnail,
    image_facts,
    readable_bytes,
)
from imgret_assets.domain.images.crop import PERCENT, Crop
from imgret_tests.support.pictures import picture, picture_bytes

LIMIT = 1_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a.png").write_bytes(picture_bytes(1))
    (folder / ".hidden.png").write_bytes(picture_bytes(2))
    (folder / "notes.txt").write_text("no picture")
    (tmp_path / "outside.png").write_bytes(picture_bytes(3))
    (folder / "out.png").symlink_to(tmp_path / "outside.png")
    (folder / "in.png").symlink_to(folder / "sub/a.png")
    return folder


def test_facts_are_size_and_bytes(root: Path) -> None:
    length = (root / "sub/a.png").stat().st_size
    facts = image_facts(root / "sub/a.png", max_pixels=LIMIT)
    assert facts == ImageFacts(40, 30, length)
    assert facts.text == f"40 × 30 px · {readable_bytes(length)}"


def test_facts_of_no_image_or_a_deleted_file(root: Path) -> None:
    assert image_facts(root / "notes.txt", max_pixels=LIMIT) == ImageFacts(bytes=10)
    assert image_facts(root / "gone.png", max_pixels=LIMIT) == ImageFacts()
    assert image_facts(None, max_pixels=LIMIT).text == "file no longer exists"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (61_400, "61 kB"), (2_340_000, "2.3 MB"), (5e9, "5.0 GB")]
)
def test_bytes_have_a_unit(count: int, text: str) -> None:
    assert readable_bytes(count) == text


def test_a_thumbnail_follows_its_file(root: Path) -> None:
    file = root / "sub/a.png"
    before = file_thumbnail(file, 32, max_pixels=LIMIT)
    assert file_thumbnail(file, 32, max_pixels=LIMIT) is before
    picture(9, (60, 20)).save(file)
    after = file_thumbnail(file, 32, max_pixels=LIMIT)
    assert after != before
    assert Image.open(io.BytesIO(after)).size == (32, 11)


@pytest.mark.parametrize("limit", [10, LIMIT])
def test_a_file_that_can_not_be_shown_is_a_grey_tile(root: Path, limit: int) -> None:
    files = [None, root / "notes.txt", *([root / "sub/a.png"] if limit == 10 else [])]
    for file in files:
        image = Image.open(io.BytesIO(file_thumbnail(file, 32, max_pixels=limit)))
        assert image.size == (32, 32)


def test_uploaded_bytes_become_a_thumbnail_or_none() -> None:
    small = data_thumbnail(picture_bytes(1), 20, max_pixels=LIMIT)
    assert small is not None
    assert Image.open(io.BytesIO(small)).size == (20, 15)
    assert data_thumbnail(b"no picture", 20, max_pixels=LIMIT) is None
    assert data_thumbnail(picture_bytes(1), 20, max_pixels=10) is None


def test_tiles_have_the_same_height(root: Path) -> None:
    wide, tall = io.BytesIO(), io.BytesIO()
    picture(1, (100, 20)).save(wide, "JPEG")
    picture(2, (30, 90)).save(tall, "JPEG")
    tiles = equal_tiles([wide.getvalue(), tall.getvalue()])
    head = "data:image/svg+xml,"
    assert all(tile.startswith(head) for tile in tiles), "a format that Streamlit sends unchanged"
    drawn = [ElementTree.fromstring(unquote(tile.removeprefix(head))) for tile in tiles]  # noqa: S314 - made here
    assert {(svg.get("width"), svg.get("height")) for svg in drawn} == {(str(TILE_PX), "90")}
    places = [[int(svg[0].attrib[name]) for name in ("x", "y", "width", "height")] for svg in drawn]
    assert places == [[(TILE_PX - 100) // 2, 35, 100, 20], [(TILE_PX - 30) // 2, 0, 30, 90]]
    shown = [base64.b64decode(svg[0].attrib["href"].removeprefix("data:image/jpeg;base64,")) for svg in drawn]
    assert shown == [wide.getvalue(), tall.getvalue()]
    assert equal_tiles([]) == []


def test_the_frame_is_part_of_the_size() -> None:
    jpeg = picture_bytes(1, form="JPEG")
    uri, width, height = frame_thumbnail(jpeg, 64, "#ff0000", frame_px=3)
    assert uri.startswith("data:image/jpeg;base64,")
    assert (width, height) == (46, 36)
    assert frame_thumbnail(jpeg, 20, "#ff0000", frame_px=2)[1:] == (24, 19)


def test_a_crop_is_bright_and_the_rest_dim() -> None:
    file = io.BytesIO()
    Image.new("RGB", (80, 40), "white").save(file, "PNG")
    cropped = cropped_thumbnail(file.getvalue(), Crop(50, 0, 50, 100, PERCENT), 40, max_pixels=LIMIT)
    assert cropped is not None
    assert cropped == cropped_thumbnail(file.getvalue(), Crop(40, 0, 40, 40), 40, max_pixels=LIMIT)
    shown = np.asarray(Image.open(io.BytesIO(cropped)).convert("L"))
    assert shown.shape == (20, 40)
    assert shown[:, :16].max() < 100
    assert shown[:, 24:].min() > 200
    assert cropped_thumbnail(b"no picture", None, 40, max_pixels=LIMIT) is None
    whole = data_thumbnail(file.getvalue(), 40, max_pixels=LIMIT)
    assert cropped_thumbnail(file.getvalue(), Crop(100, 0, 5, 5), 40, max_pixels=LIMIT) == whole
