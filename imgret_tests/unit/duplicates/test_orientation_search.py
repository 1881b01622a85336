"""Mirrored and rotated copies: each is listed once, by its orientation, and only where the setting is on."""

import os
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageOps

from imgret_assets.domain.duplicates.duplicate_search import LOOK_FIRST, MIRRORED, NEAR, ROTATED, read_difference
from imgret_assets.domain.duplicates.duplicates_table import DuplicatesReport, refresh_duplicates
from imgret_assets.domain.duplicates.orientations import ORIENTATIONS
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.scenes import encode, scene
from imgret_tests.support.tree import put

pytestmark = pytest.mark.usefixtures("settled")


def refresh(home: Home, *, on: bool = True) -> DuplicatesReport:
    home = replace(home, settings=replace(home.settings, orientations=on))
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    return refresh_duplicates(home, FakeEmbedder().space.id)


def rows(home: Home) -> list[dict[str, Any]]:
    return tables.read(tables.duplicates_path(home.warehouse)).to_pylist()


def kinds(home: Home) -> dict[tuple[str, str], str]:
    return {(row["path_from"], row["kind"]): row["path_keep"] for row in rows(home)}


def turned(image: Image.Image, number: int, scale: float = 0.75) -> bytes:
    """Return a copy in an orientation, smaller and recompressed."""
    image = image.transpose(ORIENTATIONS[number].transpose)
    size = (round(image.width * scale), round(image.height * scale))
    return encode(image.resize(size, Image.Resampling.LANCZOS), "JPEG", quality=85)


def symmetric(seed: int) -> Image.Image:
    """Return an image that is its own mirror image."""
    image = scene(seed)
    return ImageChops.blend(image, ImageOps.mirror(image), 0.5) if seed else image


@pytest.mark.parametrize("number", range(len(ORIENTATIONS)))
def test_a_turned_copy_is_named_by_what_was_done(home: Home, number: int) -> None:
    put(home.images, "original.png", encode(scene(1)))
    put(home.images, "turned.jpg", turned(scene(1), number))
    put(home.images, "another.png", encode(scene(2)))
    report = refresh(home)
    [row] = rows(home)
    assert (row["path_from"], row["path_keep"], row["kind"]) == (
        "turned.jpg",
        "original.png",
        ORIENTATIONS[number].kind,
    )
    assert read_difference(row["reason"]) == f"the other image, {ORIENTATIONS[number].name}"
    assert row["reason"].endswith("neither is proposed for removal")
    assert (report.mirrored, report.rotated) == ((1, 0) if row["kind"] == MIRRORED else (0, 1))
    assert (report.duplicate_bytes, report.near) == (0, 0)


def test_the_setting_is_off_by_default_and_only_orientations_depend_on_it(home: Home) -> None:
    put(home.images, "original.png", encode(scene(1)))
    put(home.images, "turned.jpg", turned(scene(1), 3))
    assert not home.settings.orientations
    assert refresh(home, on=False).mirrored == 0
    report = refresh(home)
    assert (report.mirrored, report.fingerprinted, report.compared_pairs, report.written) == (1, 0, 1, True)
    assert refresh(home).written is False
    assert (refresh(home, on=False).written, kinds(home)) == (True, {})
    # What was compared is remembered.
    again = refresh(home)
    assert (again.mirrored, again.compared_pairs) == (1, 0)


def test_all_orientations_of_one_image_point_to_it(home: Home) -> None:
    put(home.images, "a.png", encode(scene(1)))
    for number in range(len(ORIENTATIONS)):
        put(home.images, f"turned{number}.jpg", turned(scene(1), number))
    put(home.images, "near.jpg", turned(scene(1), 3, scale=0.5))
    refresh(home)
    found = kinds(home)
    expected = {(f"turned{number}.jpg", item.kind): "a.png" for number, item in enumerate(ORIENTATIONS)}
    # A near-duplicate of a mirrored copy duplicates that one.
    assert found == expected | {("near.jpg", NEAR): "turned3.jpg"}


def test_a_symmetric_image_makes_one_kind_alone(home: Home) -> None:
    image = symmetric(1)
    put(home.images, "a.png", encode(image))
    # Mirrored, it is a near-duplicate; rotated by 180 degrees, it is mirrored top to bottom as well.
    put(home.images, "mirrored.jpg", turned(image, 3))
    put(home.images, "rotated.jpg", turned(image, 0))
    refresh(home)
    found = kinds(home)
    # Which of the two it is called is decided by rounding errors.
    assert ("rotated.jpg", ROTATED) in found or ("rotated.jpg", MIRRORED) in found
    assert set(found.values()) == {"a.png"}
    assert sorted(path for path, _ in found) == ["mirrored.jpg", "rotated.jpg"]
    assert ("mirrored.jpg", NEAR) in found


def test_an_image_to_look_at_first_is_not_turned_as_well(home: Home) -> None:
    image = symmetric(1)
    changed = image.copy()
    middle = image.width // 2
    ImageDraw.Draw(changed).rectangle((middle - 4, 80, middle + 3, 88), fill="red")
    put(home.images, "a.png", encode(image))
    put(home.images, "changed.png", encode(changed))
    refresh(home)
    assert [row["kind"] for row in rows(home)] == [LOOK_FIRST]


def test_a_changed_or_cropped_mirror_image(home: Home) -> None:
    image = ImageOps.mirror(scene(1))
    cropped = image.crop((5, 4, image.width - 5, image.height - 4))
    moved = image.crop((20, 0, image.width, image.height))
    changed = image.copy()
    ImageDraw.Draw(changed).rectangle((40, 40, 90, 80), fill="red")
    put(home.images, "a.png", encode(scene(1)))
    for name, other in (("cropped", cropped), ("moved", moved), ("changed", changed)):
        put(home.images, f"{name}.png", encode(other))
        refresh(home)
        found = kinds(home)
        assert (("cropped.png", MIRRORED) in found, len(found)) == (name == "cropped", int(name == "cropped")), name
        home.images.local(f"{name}.png").unlink()


def test_files_of_several_frames_are_left_out(home: Home) -> None:
    first, second = ImageOps.mirror(scene(1)), ImageOps.mirror(scene(2))
    put(home.images, "a.png", encode(scene(1)))
    put(home.images, "frames.tif", encode(first, "TIFF", save_all=True, append_images=[second]))
    refresh(home)
    assert kinds(home) == {}


def test_a_new_image_is_compared_with_all_and_a_removed_one_leaves_no_row(home: Home) -> None:
    put(home.images, "z.png", encode(scene(1)))
    put(home.images, "y.jpg", turned(scene(1), 1))
    refresh(home)
    put(home.images, "large.png", encode(scene(1).transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((480, 360))))
    report = refresh(home)
    assert report.compared_pairs == 2
    assert kinds(home) == {("z.png", MIRRORED): "large.png", ("y.jpg", MIRRORED): "large.png"}
    home.images.local("large.png").unlink()
    assert refresh(home).compared_pairs == 0
    assert kinds(home) == {("y.jpg", ROTATED): "z.png"}


def test_a_copy_that_cannot_be_read_is_tried_again(home: Home) -> None:
    put(home.images, "a.png", encode(scene(1)))
    put(home.images, "b.jpg", turned(scene(1), 3))
    refresh(home, on=False)
    if os.geteuid() == 0:
        # Nothing is unreadable for root: the file goes away between listing and comparing.
        content = home.images.local("b.jpg").read_bytes()
        home.images.local("b.jpg").unlink()
        settings = replace(home.settings, orientations=True)
        report = refresh_duplicates(replace(home, settings=settings), FakeEmbedder().space.id)
        home.images.local("b.jpg").write_bytes(content)
    else:
        home.images.local("b.jpg").chmod(0)
        report = refresh(home)
        home.images.local("b.jpg").chmod(0o644)
    assert (report.mirrored, report.pending) == (0, 2)
    assert refresh(home).mirrored == 1
