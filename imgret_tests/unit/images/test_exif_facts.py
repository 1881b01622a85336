"""Tests of the date and camera of a photo: odd texts, damaged EXIF data, every format, no place in any table."""

import io
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from imgret_assets.domain.images.decode import read_header
from imgret_assets.domain.images.exif_facts import NO_FACTS, ExifFacts, camera_name, parse_taken
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.exif_photos import exif_bytes, photo_bytes
from imgret_tests.support.heif_files import with_exif
from imgret_tests.support.pictures import picture
from imgret_tests.support.tree import manifest, put

ORIGINAL, DIGITIZED, CHANGED = "2024:05:31 10:20:30", "2023:05:31 10:20:30", "2022:05:31 10:20:30"
BLANK = "    :  :     :  :  "
CANON = {"make": "Canon", "model": "Canon EOS 5D"}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def facts_of(data: bytes) -> ExifFacts:
    return read_header(io.BytesIO(data), max_pixels=10**6).exif


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024:05:31 10:20:30", "2024-05-31T10:20:30"),
        ("2024-05-31 10:20:30", "2024-05-31T10:20:30"),
        ("2024/05/31 10:20:30", "2024-05-31T10:20:30"),
        ("2024-05-31T10:20:30", "2024-05-31T10:20:30"),
        ("2024:5:1 9:05:03", "2024-05-01T09:05:03"),
        ("2024:05:31 10:20", "2024-05-31T10:20:00"),
        ("2024:05:31", "2024-05-31T00:00:00"),
        ("2024:05:31 10:20:30.456", "2024-05-31T10:20:30"),
        ("2024:05:31 10:20:30+02:00", "2024-05-31T10:20:30"),
        ("2024:05:31 10:20:30 -0800", "2024-05-31T10:20:30"),
        ("2024:05:31 10:20:30Z", "2024-05-31T10:20:30"),
        ("2024:02:29 00:00:00", "2024-02-29T00:00:00"),
        ("1826:01:01 00:00:00", "1826-01-01T00:00:00"),
    ],
)
def test_a_date_is_the_one_on_the_cameras_clock(text: str, expected: str) -> None:
    assert parse_taken(text) == moment(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0000:00:00 00:00:00",
        BLANK,
        "2023:02:29 00:00:00",
        "2024:13:01 00:00:00",
        "2024:05:31 24:00:00",
        "2024:05:31 10:20:60",
        "2024:05:31 10:20:30 and more",
        "24:05:31 10:20:30",
        "٢٠٢٤:٠٥:٣١ ١٠:٢٠:٣٠",
        "2024",
        "yesterday",
        "9" * 100_000,
    ],
)
def test_what_is_no_date_is_null(text: str) -> None:
    assert parse_taken(text) is None


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("EASTMAN KODAK COMPANY", "KODAK DC240", "KODAK DC240"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("SONY", "DSC-W5", "SONY DSC-W5"),
        ("Nikon", "NIKON D90", "NIKON D90"),
        ("GoPro", "", "GoPro"),
        ("", "HERO9 Black", "HERO9 Black"),
        ("Leica Camera AG", "Leica Camera AG", "Leica Camera AG"),
        ("Ricoh", "Ricohflex", "Ricohflex"),
        ("", "", None),
        ("---", "...", None),
        ("---", "X100", "X100"),
        ("A" * 300, "B", "A" * 100),
    ],
)
def test_a_camera_is_one_text_without_its_make_twice(make: str, model: str, expected: str | None) -> None:
    assert camera_name(make, model) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"original": ORIGINAL, "digitized": DIGITIZED, "date_time": CHANGED}, "2024-05-31T10:20:30"),
        ({"digitized": DIGITIZED, "date_time": CHANGED}, "2023-05-31T10:20:30"),
        ({"date_time": CHANGED}, "2022-05-31T10:20:30"),
        ({"original": "0000:00:00 00:00:00", "digitized": BLANK, "date_time": CHANGED}, "2022-05-31T10:20:30"),
    ],
)
def test_the_first_date_that_is_one_counts(texts: dict[str, str], expected: str) -> None:
    assert facts_of(photo_bytes(1, exif_bytes(**texts))) == ExifFacts(moment(expected), None)


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        (b"Canon\0\0\0junk", b"  Canon   EOS\t5D \0", "Canon EOS 5D"),
        ("Äpple", "Fön 7", "Äpple Fön 7"),
        ("Äpple".encode("latin-1"), b"7", "Äpple 7"),
        (b"Evil\x1b[31m", b"\x00", "Evil [31m"),
        ("カメラ", "一号", "カメラ 一号"),
    ],
)
def test_texts_are_cleaned(make: str | bytes, model: str | bytes, expected: str) -> None:
    assert facts_of(photo_bytes(1, exif_bytes(make=make, model=model))).camera == expected


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_has_its_facts(form: str) -> None:
    data = photo_bytes(1, exif_bytes(original=ORIGINAL, **CANON), form=form)
    assert facts_of(data) == ExifFacts(moment("2024-05-31T10:20:30"), "Canon EOS 5D")


def test_heic_has_its_facts() -> None:
    pytest.importorskip("pi_heif")
    header = read_header(io.BytesIO(with_exif(exif_bytes(original=ORIGINAL, **CANON))), max_pixels=10**6)
    assert header.exif == ExifFacts(moment("2024-05-31T10:20:30"), "Canon EOS 5D")
    assert (header.width, header.height) == (48, 64)


def test_a_png_with_exif_data_after_its_pixels_has_its_facts() -> None:
    data = photo_bytes(1, exif_bytes(original=ORIGINAL), form="PNG")
    at = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[at : at + 4], "big")
    late = data[:at] + data[at + length : -12] + data[at : at + length] + data[-12:]
    assert facts_of(late) == facts_of(data) != NO_FACTS


def test_a_tiff_of_the_second_decoder_has_its_facts() -> None:
    exif = Image.Exif()
    exif.load(exif_bytes(original=ORIGINAL, **CANON))
    buffer = io.BytesIO()
    # Floats are decoded by tifffile.
    picture(1).convert("F").save(buffer, "TIFF", exif=exif)
    header = read_header(buffer, max_pixels=10**6)
    assert header.exif == ExifFacts(moment("2024-05-31T10:20:30"), "Canon EOS 5D")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_data_leaves_a_usable_image() -> None:
    """Every byte of the EXIF data is replaced in turn; the file may lose its facts, nothing else."""
    exif = exif_bytes(original=ORIGINAL, date_time=CHANGED, **CANON)
    data = photo_bytes(1, exif)
    start = data.index(b"Exif\0\0")
    for at in range(start + 6, start + len(exif)):
        for byte in (0x00, 0xFF):
            header = read_header(io.BytesIO(data[:at] + bytes([byte]) + data[at + 1 :]), max_pixels=10**6)
            assert (header.format, header.frames) == ("JPEG", 1)
            assert {header.width, header.height} == {40, 30}
    for length in range(6, len(exif), 7):
        assert read_header(io.BytesIO(photo_of(exif[:length])), max_pixels=10**6).width == 40


def photo_of(exif: bytes) -> bytes:
    buffer = io.BytesIO()
    picture(1).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def test_a_picture_without_exif_data_has_no_facts() -> None:
    assert facts_of(photo_of(b"")) == NO_FACTS


# In the manifest


def write(images: Path) -> None:
    put(images, "a/photo.jpg", photo_bytes(1, exif_bytes(original=ORIGINAL, **CANON)))
    put(images, "a/undated.jpg", photo_bytes(2, exif_bytes(original="0000:00:00 00:00:00", make="GoPro")))
    put(images, "a/none.jpg", photo_of(b""))
    put(images, "a/broken.jpg", b"\xff\xd8\xff but no more")


@pytest.mark.usefixtures("settled")
def test_the_manifest_has_date_and_camera_and_no_place(home: Home, images: Path) -> None:
    write(images)
    refresh_manifest(home)
    rows = manifest(home)
    assert {path: (row["taken"], row["camera"]) for path, row in rows.items()} == {
        "a/photo.jpg": (moment("2024-05-31T10:20:30"), "Canon EOS 5D"),
        "a/undated.jpg": (None, "GoPro"),
        "a/none.jpg": (None, None),
        "a/broken.jpg": (None, None),
    }
    assert not [name for name in rows["a/photo.jpg"] if "gps" in name.lower()]


@pytest.mark.usefixtures("settled")
def test_a_manifest_of_an_earlier_version_gets_them_as_a_new_one_has_them(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(images)
    refresh_manifest(home)
    expected = manifest(home)
    for shard in home.shards:
        file = tables.manifest_path(home.warehouse, shard)
        older = tables.read(file).drop_columns(["taken", "camera"])
        tables.write(file, older, tables.read_metadata(file) | {"inspection": "2"})
    assert "camera" not in manifest(home)["a/photo.jpg"]
    report = refresh_manifest(home)
    assert manifest(home) == expected
    assert sum(shard.reinspected for shard in report.shards) == 4
    assert sum(shard.opened for shard in report.shards) == 0
    assert "headers of 4 unchanged files were read again" in report.summary
    assert sum(shard.reinspected for shard in refresh_manifest(home).shards) == 0
