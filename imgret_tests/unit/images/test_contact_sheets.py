"""Tests of thumbnails and contact sheets: size limits, unreadable images, text."""

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from imgret_assets.domain.images import contact_sheets
from imgret_assets.domain.images.contact_sheets import (
    data_uri,
    markdown_sheet,
    markdown_thumbnails,
    query_sheet,
    thumbnail,
)
from imgret_assets.errors import ImgretError


@dataclass
class _Hit:
    path: str
    score: float = 0.9
    label: str | None = "cars/suv"


def _noise(path: Path, seed: int, size: tuple[int, int] = (160, 120)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _opened(jpeg: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG"
    return image.convert("RGB")


def _bytes_of(markdown: str) -> bytes:
    found = re.fullmatch(r"!\[[^]]*\]\(data:image/jpeg;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert found
    return base64.b64decode(found[1])


def test_a_thumbnail_keeps_proportions_and_is_rotated(tmp_path: Path) -> None:
    picture = Image.new("RGB", (300, 150), (200, 0, 0))
    picture.paste((0, 0, 200), (0, 0, 150, 150))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter to the right: the left half comes to the top
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    small = _opened(thumbnail(tmp_path / "a.jpg", size=80))
    assert small.size == (40, 80)
    top, bottom = small.getpixel((20, 10)), small.getpixel((20, 70))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[2] > 150 > top[0]
    assert bottom[0] > 150 > bottom[2]


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert _opened(thumbnail(tmp_path / "a.png")).getpixel((25, 25)) == (255, 255, 255)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xd8\xff", b"no picture at all"])
def test_an_unreadable_image_gives_a_grey_tile(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    tile = _opened(thumbnail(tmp_path / "a.jpg", size=64))
    assert tile.size == (64, 64)
    corner = tile.getpixel((2, 2))
    assert isinstance(corner, tuple)
    assert max(corner) - min(corner) < 14
    assert 200 < corner[0] < 230


def test_a_truncated_image_gives_a_tile(tmp_path: Path) -> None:
    _noise(tmp_path / "a.png", 1)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    assert _opened(thumbnail(tmp_path / "a.png", size=64)).size == (64, 64)


def test_a_data_uri_contains_the_thumbnail(tmp_path: Path) -> None:
    _noise(tmp_path / "a.png", 1)
    assert _bytes_of(f"![]({data_uri(tmp_path / 'a.png', 48)})") == thumbnail(tmp_path / "a.png", size=48)


@pytest.mark.parametrize("max_bytes", [4_000, 20_000, 64_000])
def test_a_markdown_sheet_stays_within_its_bytes(tmp_path: Path, max_bytes: int) -> None:
    paths = [_noise(tmp_path / f"{i}.png", i) for i in range(30)]
    text = markdown_sheet(paths, max_bytes=max_bytes)
    assert 0.5 * max_bytes < len(text) <= max_bytes or text.startswith("![30 ")
    _opened(_bytes_of(text))


def test_all_images_are_made_smaller_before_one_is_left_out(tmp_path: Path) -> None:
    paths = [_noise(tmp_path / f"{i}.png", i) for i in range(12)]
    large = _opened(_bytes_of(markdown_sheet(paths, max_bytes=1_000_000, columns=4)))
    text = markdown_sheet(paths, max_bytes=40_000, columns=4)
    small = _opened(_bytes_of(text))
    assert text.startswith("![12 images]")
    assert small.width < large.width
    assert large.width > large.height


def test_a_sheet_without_images_or_room_is_empty(tmp_path: Path) -> None:
    assert markdown_sheet([], max_bytes=10_000) == ""
    assert markdown_sheet([_noise(tmp_path / "a.png", 1)], max_bytes=50) == ""


def test_a_changed_image_changes_the_sheet(tmp_path: Path) -> None:
    path = _noise(tmp_path / "a.png", 1)
    before = markdown_sheet([path], max_bytes=64_000)
    _noise(path, 2, size=(100, 140))
    assert markdown_sheet([path], max_bytes=64_000) != before


def test_a_table_of_thumbnails_escapes_markdown(tmp_path: Path) -> None:
    path = _noise(tmp_path / "a.png", 1)
    table = markdown_thumbnails([(path, "0.912", "a|b_<c>.jpg", path)], headers=["", "score", "path", "twice"])
    head, rule, row = table.splitlines()
    assert head == "|  | score | path | twice |"
    assert rule == "| --- | --- | --- | --- |"
    picture = f"![](data:image/jpeg;base64,{base64.b64encode(thumbnail(path, size=72)).decode()})"
    assert row == f"| {picture} | 0.912 | a\\|b\\_&lt;c&gt;.jpg | {picture} |"


def test_a_query_sheet_shows_whole_paths_scores_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    original = ImageDraw.ImageDraw.text

    def recording(self: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, *args: object, **more: object) -> None:
        drawn.append(text)
        original(self, xy, text, *args, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", recording)
    query = _noise(tmp_path / "query.png", 0)
    deep = tmp_path / ("folder-" * 12) / "picture with a long name.png"
    deep.parent.mkdir()
    hits = [
        _Hit(_noise(deep, 1).relative_to(tmp_path).as_posix(), 0.98765),
        _Hit("gone.png", 0.5, None),
        *[_Hit("query.png")] * 4,
    ]
    query_sheet(query, hits, tmp_path / "out.png", root=tmp_path, title="What looks like query.png?")
    with Image.open(tmp_path / "out.png") as image:
        assert image.format == "PNG"
        assert image.width > 1200
    together = "".join(drawn)
    assert "What looks like query.png?" in drawn
    assert "0.988" in drawn
    assert "cars/suv" in drawn
    assert deep.relative_to(tmp_path).as_posix() in together
    assert "gone.png" in together


def test_a_query_sheet_without_hits_leaves_no_temporary_file(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.png"
    query_sheet(_noise(tmp_path / "query.png", 0), [], out, root=tmp_path, title="nothing")
    assert [path.name for path in out.parent.iterdir()] == ["out.png"]


def test_a_query_sheet_that_fails_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"old")

    def broken(*_args: object, **_more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(ImgretError, match="can't be written"):
        query_sheet(tmp_path / "none.png", [], out, root=tmp_path, title="t")
    assert out.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_wrapped_text_keeps_every_character() -> None:
    text = "/archive/2024/summer-holiday/a" + "x" * 120 + ".jpg"
    lines = contact_sheets.wrap_text(text, 12, 200)
    assert "".join(lines) == text
    assert len(lines) > 3
    assert all(contact_sheets.font_of_size(12).getlength(line) <= 200 for line in lines)


def test_characters_without_a_glyph_are_escaped() -> None:
    assert contact_sheets.drawable_text("plain.jpg", 12) == "plain.jpg"
    assert contact_sheets.drawable_text("a\udc80b", 12) == "a\\udc80b"
    assert contact_sheets.drawable_text("\U000e0fff", 12) in ("\\U000e0fff", "\U000e0fff")
