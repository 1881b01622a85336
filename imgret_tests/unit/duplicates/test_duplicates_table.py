"""The duplicates table: which rows it has, what a refresh computes, the same rows whatever came before."""

import io
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imgret_assets.domain.duplicates import duplicate_search, duplicates_table, fingerprint_store, pixel_comparison
from imgret_assets.domain.duplicates.duplicates_table import read_closest_duplicates, refresh_duplicates
from imgret_assets.domain.duplicates.usable_images import load_usable_images
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.review.review_tables import load_review_tables
from imgret_assets.domain.runtime.progress import Progress
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import StaleTableError
from imgret_assets.settings import load_settings
from imgret_tests.support.artwork import page, words
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.scenes import detailed_scene, encode, near_duplicates_of, scene
from imgret_tests.support.tree import put, stamps

SPACE = FakeEmbedder().space.id


def refresh(home: Home) -> duplicates_table.DuplicatesReport:
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    return refresh_duplicates(home, SPACE)


def rows(home: Home) -> dict[str, dict[str, Any]]:
    """Rows by the path of the duplicate; no row points to a duplicate."""
    stored = tables.read(tables.duplicates_path(home.warehouse)).to_pylist()
    assert len({row["path_from"] for row in stored}) == len(stored)
    assert not {row["path_from"] for row in stored} & {row["path_keep"] for row in stored}
    return {row["path_from"]: row for row in stored}


@pytest.fixture
def duplicated(home: Home) -> Home:
    """Three scenes, duplicates of two of them, one flat image twice and another one."""
    for seed in range(3):
        put(home.images, f"scene{seed}.png", encode(scene(seed)))
    for seed in range(2):
        for name, data in near_duplicates_of(scene(seed)).items():
            put(home.images, f"copies/{seed}-{name}", data)
    put(home.images, "other/scene1-again.png", encode(scene(1)))
    put(home.images, "other/half-again.png", near_duplicates_of(scene(1))["half.png"])
    put(home.images, "flat/a.png", encode(Image.new("RGB", (50, 40), (200, 200, 200))))
    put(home.images, "flat/b.png", encode(Image.new("RGB", (50, 40), (200, 200, 200))))
    put(home.images, "flat/c.png", encode(Image.new("RGB", (50, 41), (200, 200, 200))))
    return home


@pytest.mark.usefixtures("settled")
def test_duplicates_point_to_the_image_to_keep(duplicated: Home) -> None:
    report = refresh(duplicated)
    found = rows(duplicated)
    expected = {
        f"copies/{seed}-{name}": f"scene{seed}.png" for seed in range(2) for name in near_duplicates_of(scene(seed))
    }
    expected |= {
        "other/scene1-again.png": "scene1.png",
        "other/half-again.png": "scene1.png",
        "flat/b.png": "flat/a.png",
    }
    assert {path: row["path_keep"] for path, row in found.items()} == expected
    assert {path for path, row in found.items() if row["kind"] == "exact"} == {"other/scene1-again.png", "flat/b.png"}
    assert (report.exact, report.near, report.images) == (2, 9, 16)
    assert report.duplicate_bytes == sum(duplicated.images.local(path).stat().st_size for path in found)
    near = [row for row in found.values() if row["kind"] == "near"]
    assert all(row["correlation"] >= 0.96 and 0 <= row["distance"] <= 64 and row["cosine"] >= 0.5 for row in near)
    assert "kept: 240 x 180 pixels, not 120 x 90" in found["copies/0-half.png"]["reason"]
    assert tables.read(tables.duplicates_path(duplicated.warehouse)).schema.equals(tables.DUPLICATES_SCHEMA)
    closest = read_closest_duplicates(duplicated, 10)
    correlations = [row["correlation"] for row in closest[:9]]
    assert correlations == sorted(correlations, reverse=True)
    assert [row["path_from"] for row in closest[9:]] == ["flat/b.png"]


@pytest.mark.usefixtures("settled")
def test_an_unchanged_collection_computes_and_writes_nothing(duplicated: Home) -> None:
    first = refresh(duplicated)
    before = stamps(duplicated.warehouse)
    again = refresh(duplicated)
    assert (again.written, again.fingerprinted, again.compared_pairs) == (False, 0, 0)
    assert (again.exact, again.near, again.duplicate_bytes) == (first.exact, first.near, first.duplicate_bytes)
    assert stamps(duplicated.warehouse) == before
    assert again.summary == (
        f"2 exact duplicates and 9 near-duplicates among 16 images, {first.duplicate_bytes / 1e6:.1f} MB: "
        "nothing changed, nothing was computed."
    )


@pytest.mark.usefixtures("settled")
def test_only_new_contents_are_fingerprinted(duplicated: Home) -> None:
    first = refresh(duplicated)
    assert first.fingerprinted == 13
    duplicated.images.local("scene2.png").rename(duplicated.images / "renamed.png")
    put(duplicated.images, "new.png", encode(scene(7)))
    put(duplicated.images, "new-small.png", near_duplicates_of(scene(7))["half.png"])
    report = refresh(duplicated)
    assert (report.fingerprinted, report.compared_pairs) == (2, 1)
    assert rows(duplicated)["new-small.png"]["path_keep"] == "new.png"


@pytest.mark.usefixtures("settled")
def test_a_table_of_another_method_is_computed_again(duplicated: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh(duplicated)
    before = rows(duplicated)
    monkeypatch.setattr(duplicates_table, "METHOD", "another method")
    report = refresh(duplicated)
    assert (report.written, report.fingerprinted, report.compared_pairs) == (True, 0, 0)
    assert rows(duplicated) == before


@pytest.mark.usefixtures("settled")
def test_if_the_image_to_keep_goes_the_next_best_is_kept(duplicated: Home) -> None:
    refresh(duplicated)
    duplicated.images.local("scene0.png").unlink()
    refresh(duplicated)
    kept = {row["path_keep"] for path, row in rows(duplicated).items() if path.startswith("copies/0")}
    assert kept == {"copies/0-brighter.jpg"} or kept == {"copies/0-recompressed.jpg"}


@pytest.mark.usefixtures("settled")
def test_a_stopped_run_keeps_its_fingerprints(duplicated: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicate_search, "CHECKPOINT", 1)
    fingerprint_contents = duplicates_table.fingerprint_contents

    def stopping(*arguments: Any, **named: Any) -> Iterator[Any]:
        for number, fingerprint in enumerate(fingerprint_contents(*arguments, **named)):
            if number == 5:
                raise KeyboardInterrupt
            yield fingerprint

    with monkeypatch.context() as patched:
        patched.setattr(duplicates_table, "fingerprint_contents", stopping)
        with pytest.raises(KeyboardInterrupt):
            refresh(duplicated)
    assert not tables.duplicates_path(duplicated.warehouse).exists()
    report = refresh(duplicated)
    assert report.fingerprinted == 13 - 5
    assert (report.exact, report.near) == (2, 9)


@pytest.mark.usefixtures("settled")
def test_a_file_that_can_not_be_read_is_tried_again(duplicated: Home) -> None:
    refresh_manifest(duplicated)
    refresh_embeddings(duplicated, FakeEmbedder())
    hidden = duplicated.images.local("scene1.png")
    hidden.rename(duplicated.images.local(".hidden"))
    duplicated.images.local("other/scene1-again.png").rename(duplicated.images / ".hidden2")
    report = refresh_duplicates(duplicated, SPACE)
    assert report.pending == 1
    assert "1 could not be read: the next run tries again" in report.summary
    duplicated.images.local(".hidden").rename(hidden)
    duplicated.images.local(".hidden2").rename(duplicated.images / "other/scene1-again.png")
    report = refresh_duplicates(duplicated, SPACE)
    assert (report.pending, report.fingerprinted, report.near) == (0, 1, 9)


@pytest.mark.usefixtures("settled")
def test_progress_counts_the_fingerprints(duplicated: Home) -> None:
    refresh_manifest(duplicated)
    refresh_embeddings(duplicated, FakeEmbedder())
    steps: list[Progress] = []
    refresh_duplicates(duplicated, SPACE, progress=steps.append)
    assert [(step.done, step.total) for step in steps] == [(number, 13) for number in range(1, 14)]


@pytest.mark.usefixtures("settled")
def test_a_low_cosine_does_not_reject_a_near_duplicate(duplicated: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks see other things in a thumbnail than in its original."""
    monkeypatch.setattr(duplicates_table, "cosines", lambda left, right: np.full(len(left), 0.2))
    report = refresh(duplicated)
    assert (report.exact, report.near) == (2, 9)


@pytest.mark.usefixtures("settled")
def test_thumbnails_are_near_duplicates(home: Home) -> None:
    for seed in range(3):
        whole = scene(seed, (640, 480))
        put(home.images, f"{seed}.png", encode(whole))
        for side in (160, 64, 48, 32):
            small = whole.copy()
            small.thumbnail((side, side))
            put(home.images, f"{seed}-{side}.jpg", encode(small, "JPEG", quality=85))
    refresh(home)
    found = {path: row["path_keep"] for path, row in rows(home).items()}
    assert found == {f"{seed}-{side}.jpg": f"{seed}.png" for seed in range(3) for side in (160, 64, 48, 32)}


@pytest.mark.usefixtures("settled")
def test_an_edited_image_and_a_grey_version_are_to_be_looked_at_first(home: Home) -> None:
    """They are in the table, and no list of duplicates has them: neither the bytes to free, nor the review's sets."""
    whole = scene(4, (480, 360))
    edited = whole.copy()
    edited.paste((255, 255, 0), (300, 200, 330, 230))
    put(home.images, "whole.png", encode(whole))
    put(home.images, "edited.png", encode(edited))
    put(home.images, "edited-small.jpg", encode(edited.resize((240, 180)), "JPEG", quality=90))
    put(home.images, "grey.png", encode(whole.resize((240, 180)).convert("L")))
    report = refresh(home)
    stored = tables.read(tables.duplicates_path(home.warehouse)).to_pylist()
    first = max(("whole.png", "edited.png"), key=lambda path: home.images.local(path).stat().st_size)
    second = {"whole.png": "edited.png", "edited.png": "whole.png"}[first]
    kinds = {(row["path_from"], row["path_keep"]): row["kind"] for row in stored}
    assert kinds == {
        (second, first): "look_first",
        ("grey.png", "whole.png"): "look_first",
        ("edited-small.jpg", "edited.png"): "near",
    }
    assert (report.exact, report.near, report.look_first) == (0, 1, 2)
    assert report.duplicate_bytes == home.images.local("edited-small.jpg").stat().st_size
    assert "; 2 to look at first: " in report.summary
    reasons = {row["path_from"]: row["reason"] for row in stored}
    assert reasons["grey.png"].startswith("look first: a grey version of the other (correlation ")
    assert reasons[second].endswith("neither is proposed for removal")
    sets = load_review_tables(home).duplicate_sets
    numbers = {path: load_review_tables(home).number_of(path) for path in ("edited.png", "edited-small.jpg")}
    assert [item.numbers for item in sets] == [[numbers["edited.png"], numbers["edited-small.jpg"]]]


@pytest.mark.usefixtures("settled")
def test_a_new_confirmation_compares_again_and_says_so(duplicated: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first = refresh(duplicated)
    monkeypatch.setattr(duplicates_table, "CONFIRMATION_METHOD", "other pixels")
    monkeypatch.setattr(duplicates_table, "METHOD", "other method")
    report = refresh(duplicated)
    assert (report.fingerprinted, report.compared_pairs) == (0, first.compared_pairs)
    assert "The comparisons of images are computed again: their method has changed." in report.summary


def unreadable(*_arguments: Any, **_named: Any) -> Any:
    raise UnusableImageError(Status.VANISHED, "gone")


@pytest.mark.usefixtures("settled")
def test_a_file_that_can_not_be_compared_is_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home.images, "scene.png", encode(scene(3)))
    put(home.images, "half.png", near_duplicates_of(scene(3))["half.png"])

    with monkeypatch.context() as patched:
        patched.setattr(pixel_comparison, "content_bytes", unreadable)
        report = refresh(home)
    assert (report.near, report.pending) == (0, 1)
    report = refresh(home)
    assert (report.near, report.pending, report.fingerprinted, report.compared_pairs) == (1, 0, 0, 1)


@pytest.mark.usefixtures("settled")
def test_pages_that_are_all_candidates_are_compared_with_a_limit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies are closer than other pages, so they are found all the same; the log says how many pairs are left out."""
    monkeypatch.setattr(duplicate_search, "MAX_MISSES", 2)
    for seed in range(8):
        put(home.images, f"page{seed}.png", encode(page(words(seed, 200))))
    for seed in (0, 5):
        put(home.images, f"small{seed}.jpg", encode(page(words(seed, 200)).resize((320, 430)), "JPEG", quality=85))
    report = refresh(home)
    assert {path: row["path_keep"] for path, row in rows(home).items()} == {
        "small0.jpg": "page0.png",
        "small5.jpg": "page5.png",
    }
    assert report.left_out_pairs > 0
    assert report.compared_pairs <= 8 * 2 + 4
    assert f"{report.left_out_pairs} pairs of many alike were left out" in report.summary


def test_stale_embeddings_are_refused(duplicated: Home) -> None:
    refresh(duplicated)
    put(duplicated.images, "new.png", encode(scene(9)))
    refresh_manifest(duplicated)
    with pytest.raises(StaleTableError, match="older than its manifest"):
        refresh_duplicates(duplicated, SPACE)


def test_an_empty_collection_has_an_empty_table(home: Home) -> None:
    assert refresh(home).images == 0
    assert rows(home) == {}


SCENES = {
    f"{seed}{name}": data for seed in range(3) for name, data in near_duplicates_of(scene(seed, (96, 80))).items()
}
SCENES |= {f"{seed}whole.png": encode(scene(seed, (96, 80))) for seed in range(3)}


@pytest.mark.usefixtures("settled")
@settings(max_examples=8, deadline=None)
@given(
    steps=st.lists(
        st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([None, *SCENES]), max_size=6),
        min_size=2,
        max_size=3,
    )
)
def test_a_refreshed_table_equals_one_made_from_scratch(steps: list[dict[str, str | None]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        images = Path(name) / "images"
        images.mkdir()
        refreshed = open_home(load_settings({"home": Path(name) / "refreshed", "images": images, "shards": 2}))
        for number, step in enumerate(steps):
            for stem, content in step.items():
                for old in images.glob(f"{stem}.*"):
                    old.unlink()
                if content:
                    put(images, stem + Path(content).suffix, SCENES[content])
            put(images, "stays.png", SCENES["0whole.png"])
            refresh_manifest(refreshed, allow_deletes=True)
            refresh_embeddings(refreshed, FakeEmbedder())
            refresh_duplicates(refreshed, SPACE)
            scratch = open_home(replace(refreshed.settings, home=Path(name) / f"scratch{number}"))
            refresh(scratch)
            assert rows(refreshed) == rows(scratch)
            assert load_usable_images(refreshed, SPACE) == load_usable_images(scratch, SPACE)


# Links and hard links


@pytest.mark.usefixtures("settled")
def test_links_are_no_duplicates_and_hard_links_free_nothing_while_a_name_is_left(home: Home) -> None:
    images = home.images
    put(images, "albums/original.png", encode(scene(1)))
    images.local("a.png").symlink_to("albums/original.png")
    images.local("b.png").symlink_to("a.png")
    put(images, "hard1.png", encode(scene(2)))
    os.link(images / "hard1.png", images / "hard2.png")
    put(images, "small1.png", near_duplicates_of(scene(2))["half.png"])
    os.link(images / "small1.png", images / "small2.png")
    images.local("c.png").symlink_to("small1.png")
    report = refresh(home)
    size = images.local("small1.png").stat().st_size
    found = rows(home)
    assert {path: (row["path_keep"], row["bytes"]) for path, row in found.items()} == {
        "small1.png": ("hard1.png", 0),
        "small2.png": ("hard1.png", size),
    }
    assert report.duplicate_bytes == size


@pytest.mark.usefixtures("settled")
def test_a_copy_replaced_by_a_link_is_a_duplicate_no_longer(home: Home) -> None:
    images = home.images
    for name in ("a.png", "b.png", "c.png"):
        put(images, name, encode(scene(1)))
    refresh(home)
    assert set(rows(home)) == {"b.png", "c.png"}
    for name in ("b.png", "c.png"):
        images.local(name).unlink()
    os.link(images / "a.png", images / "b.png")
    images.local("c.png").symlink_to("a.png")
    assert refresh(home).written
    assert rows(home) == {}
    assert not refresh(home).written


# Files that can't be decoded


@pytest.mark.usefixtures("settled")
def test_equal_bytes_are_duplicates_whether_or_not_they_can_be_decoded(home: Home) -> None:
    whole = encode(scene(1), "JPEG")
    small = replace(home, settings=replace(home.settings, max_pixels=240 * 180))
    contents = {
        "cut.jpg": whole[: len(whole) // 2],
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500),
        "large.png": encode(scene(2, (300, 200))),
        "text.png": b"no image at all",
        "good.png": encode(scene(3)),
    }
    for name, data in contents.items():
        put(home.images, name, data)
        put(home.images, f"again/{name}", data)
    put(home.images, "empty.png", b"")
    put(home.images, "again/empty.png", b"")
    assert refresh(small).exact == 5
    found = rows(home)
    assert {path: (row["path_keep"], row["kind"]) for path, row in found.items()} == {
        f"again/{name}": (name, "exact") for name in contents
    }
    assert found["again/phone.heic"]["bytes"] == len(contents["phone.heic"])
    assert not refresh(small).written
    # Nothing changes but a file that can't be decoded.
    put(home.images, "again/phone.heic", contents["phone.heic"] + b"x")
    assert refresh(small).exact == 4


def put_enlarged(home: Home) -> None:
    """Write an original with a thumbnail, two enlargements and a grey version of one, and a reduced copy of another."""
    original = detailed_scene(5, (240, 180))
    put(home.images, "original.jpg", encode(original, "JPEG", quality=95))
    with Image.open(home.images / "original.jpg") as opened:
        whole = opened.convert("RGB")
    put(home.images, "twice.png", encode(whole.resize((480, 360), Image.Resampling.BICUBIC)))
    put(home.images, "thrice.jpg", encode(whole.resize((720, 540), Image.Resampling.LANCZOS), "JPEG", quality=95))
    put(home.images, "again/thrice.jpg", home.images.local("thrice.jpg").read_bytes())
    put(home.images, "thumbnail.png", encode(whole.resize((80, 60), Image.Resampling.LANCZOS)))
    other = detailed_scene(6, (480, 360))
    put(home.images, "large.png", encode(other))
    put(home.images, "half.png", encode(other.resize((240, 180), Image.Resampling.LANCZOS)))


@pytest.mark.usefixtures("settled")
def test_an_enlargement_is_a_duplicate_of_its_original(home: Home) -> None:
    put_enlarged(home)
    refresh(home)
    found = rows(home)
    enlargements = {"twice.png", "thrice.jpg", "again/thrice.jpg"}
    assert {path: row["path_keep"] for path, row in found.items()} == {
        **dict.fromkeys([*enlargements, "thumbnail.png"], "original.jpg"),
        "half.png": "large.png",
    }
    reasons = {path: row["reason"].partition("; ")[2] for path, row in found.items()}
    assert reasons["twice.png"] == (
        "kept: the original, not an enlargement to 480 x 360 pixels, which has no more detail"
    )
    assert reasons["half.png"] == "kept: 480 x 360 pixels, not 240 x 180"
    assert reasons["thumbnail.png"] == "kept: 240 x 180 pixels, not 80 x 60"
    review_tables = load_review_tables(home)
    why_kept = {
        review_tables.images[row.image].path: row.why_kept for item in review_tables.duplicate_sets for row in item.rows
    }
    assert {path for path, why in why_kept.items() if why} == enlargements


@pytest.mark.usefixtures("settled")
def test_enlargements_are_measured_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    put_enlarged(home)
    refresh(home)
    before = rows(home)
    measured: list[tuple[Any, ...]] = []
    monkeypatch.setattr(pixel_comparison, "is_enlargement", lambda *images: measured.append(images) or False)
    put(home.images, "new.png", encode(detailed_scene(9)))
    assert refresh(home).written
    assert (rows(home), measured) == (before, [])
    monkeypatch.setattr(fingerprint_store, "ENLARGEMENT_METHOD", "another")
    monkeypatch.setattr(duplicates_table, "METHOD", "another")
    assert refresh(home).compared_pairs == 0
    assert measured
    assert rows(home)["original.jpg"]["path_keep"] == "thrice.jpg"


@pytest.mark.usefixtures("settled")
def test_an_enlargement_that_can_not_be_read_is_measured_in_the_next_run(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_enlarged(home)
    with monkeypatch.context() as patched:
        patched.setattr(pixel_comparison.PixelComparer, "_load_grey", unreadable)
        report = refresh(home)
    assert report.pending > 0
    assert rows(home)["original.jpg"]["path_keep"] == "thrice.jpg"
    assert refresh(home).pending == 0
    assert rows(home)["thrice.jpg"]["path_keep"] == "original.jpg"


def put_greys(home: Home) -> None:
    """Write a grey image in grey and in colours, and a coloured image with grey versions of it."""
    grey = detailed_scene(5).convert("L")
    put(home.images, "grey.png", encode(grey))
    put(home.images, "as-colours.jpg", encode(grey.resize((180, 135)).convert("RGB"), "JPEG", quality=90))
    put(home.images, "as-palette.gif", encode(grey.resize((120, 90)).convert("RGB").quantize(), "GIF"))
    faint = Image.blend(scene(6), scene(6).convert("L").convert("RGB"), 0.93)
    put(home.images, "faint.jpg", encode(faint.resize((160, 120)), "JPEG", quality=95))
    put(home.images, "faint-grey.webp", encode(faint.convert("L").convert("RGB"), "WEBP", quality=90))
    coloured = scene(7)
    put(home.images, "coloured.png", encode(coloured.resize((120, 90))))
    put(home.images, "coloured-grey.png", encode(coloured.convert("L").convert("RGB")))


GREYS = {
    "as-colours.jpg": ("grey.png", "near", "kept: 360 x 270 pixels, not 180 x 135"),
    "as-palette.gif": ("grey.png", "near", "kept: 360 x 270 pixels, not 120 x 90"),
    "faint-grey.webp": ("faint.jpg", "near", "kept: in colour, not a grey version"),
    "coloured-grey.png": ("coloured.png", "look_first", "neither is proposed for removal"),
}


@pytest.mark.usefixtures("settled")
def test_an_image_without_colour_counts_as_grey_however_it_is_stored(home: Home) -> None:
    put_greys(home)
    refresh(home)
    found = rows(home)
    assert {
        path: (row["path_keep"], row["kind"], row["reason"].rpartition("; ")[2]) for path, row in found.items()
    } == GREYS
    assert found["coloured-grey.png"]["reason"].startswith("look first: a grey version of the other (")


@pytest.mark.usefixtures("settled")
def test_the_colours_of_an_older_home_are_measured_once_and_nothing_else(home: Home) -> None:
    put_greys(home)
    refresh(home)
    before = rows(home)
    with closing(sqlite3.connect(home.work / "duplicates/copies.sqlite")) as connection, connection:
        connection.execute("DROP TABLE colours")
        connection.execute("DROP TABLE enlargements")
    table = tables.duplicates_path(home.warehouse)
    tables.write(table, tables.read(table), {**tables.read_metadata(table), "method": "older"})
    report = refresh(home)
    # Two of the seven are stored in grey, one of them by its palette.
    assert (report.written, report.fingerprinted, report.compared_pairs) == (True, 5, 0)
    assert "The colours of 5 contents are measured, once" in report.summary
    assert rows(home) == before
    assert not refresh(home).written


def as_bytes(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def deep_tiff(image: Image.Image) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.asarray(image).astype(np.uint16) * 257, photometric="rgb")
    return file.getvalue()


@pytest.mark.usefixtures("settled")
def test_the_deeper_image_is_kept_although_the_other_has_more_pixels(home: Home) -> None:
    small = [scene(seed) for seed in (31, 32, 33)]
    large = [image.resize((2 * image.width, 2 * image.height), Image.Resampling.LANCZOS) for image in small]
    put(home.images, "deep.tif", deep_tiff(small[0]))
    put(home.images, "deep-copy.jpg", as_bytes(large[0], "JPEG", quality=95))
    put(home.images, "colours.png", encode(small[1]))
    put(home.images, "colours-copy.gif", as_bytes(large[1].quantize(256), "GIF"))
    put(home.images, "grey.png", encode(small[2].convert("L")))
    put(home.images, "grey-again.png", encode(large[2].convert("L")))
    refresh(home)
    found = rows(home)
    assert {path: row["path_keep"] for path, row in found.items()} == {
        "deep-copy.jpg": "deep.tif",
        "colours-copy.gif": "colours.png",
        "grey.png": "grey-again.png",
    }
    assert found["deep-copy.jpg"]["reason"].endswith("kept: 48 bits per pixel, not 24 bits per pixel")
    assert found["colours-copy.gif"]["reason"].endswith("kept: 24 bits per pixel, not 8 bits per pixel")


@pytest.mark.usefixtures("settled")
def test_frames_are_not_counted_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home.images, "a.png", encode(scene(41)))
    put(home.images, "b.jpg", as_bytes(scene(41), "JPEG", quality=80))
    refresh_manifest(home)

    def refuse(_: bytes) -> int:
        raise AssertionError

    monkeypatch.setattr(pixel_comparison, "count_frames", refuse)
    refresh(home)
    assert rows(home)["b.jpg"]["kind"] == "near"
