"""The usable images of a home: grouped by content, the one to keep first."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from imgret_assets.domain.duplicates.usable_images import (
    UsableImage,
    coverage_of_images,
    freed_bytes,
    further_names,
    group_by_content,
    images_of_rows,
    load_usable_images,
    rank_contents,
    storage_digest,
    with_colours,
)
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.table_reader import list_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import write_pictures
from imgret_tests.support.tree import put

SPACE = FakeEmbedder().space.id


def image(path: str, sha256: str = "x", size_bytes: int = 10, width: int = 4, height: int = 4) -> UsableImage:
    return UsableImage(path, sha256, size_bytes, width, height)


# Each is preferred to the next: pixels, bytes, length of the path, path.
RANKED = [
    image("very/long/path.png", size_bytes=1, width=5),
    image("very/long/path.png", size_bytes=11),
    image("b.png"),
    image("c.png"),
    image("aa.png"),
]


def test_contents_and_their_images_are_ranked(rng: np.random.Generator) -> None:
    shuffled = [RANKED[number] for number in rng.permutation(len(RANKED))]
    assert rank_contents(shuffled) == [RANKED]
    small = image("small.png", "small", width=1)
    assert rank_contents([small, *shuffled]) == [RANKED, [small]]


def test_grouping_keeps_the_order() -> None:
    images = [image("b", "1"), image("a", "2"), image("a2", "1")]
    assert group_by_content(images) == {"1": [images[0], images[2]], "2": [images[1]]}
    assert group_by_content([]) == {}


@pytest.mark.usefixtures("settled")
def test_usable_images_are_those_of_the_tables(home: Home) -> None:
    write_pictures(home.images, 9)
    put(home.images, "no image.png", b"no image")
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    images = load_usable_images(home, SPACE)
    assert [one.path for one in images] == sorted(
        file.relative_to(home.images.folder).as_posix()
        for file in home.images.folder.rglob("*.png")
        if file.stem != "no image"
    )
    for one in images:
        assert one.bytes == home.images.local(one.path).stat().st_size
        assert (one.width, one.height) == (40, 30)
    assert coverage_of_images(images[::-1]) == list_embeddings(home, SPACE).coverage


# Links and hard links

FILE = (7, 1, 1)
HARD = [replace(image(path), stored_file=FILE, hard_links=2) for path in ("a.png", "b.png")]
LINK = replace(image("link.png", "x"), stored_file=FILE, hard_links=2, link="a.png")
COPY = replace(image("copy.png"), stored_file=(8, 1, 1))


def test_links_are_not_ranked() -> None:
    lone = replace(image("lone.png", "y"), link=".hidden.png")
    assert rank_contents([LINK, lone, COPY, *HARD]) == [[*HARD, COPY]]


def test_hard_links_are_one_stored_file_if_inode_times_and_content_agree() -> None:
    assert HARD[0].storage == HARD[1].storage
    others = [
        replace(HARD[0], path="c.png", sha256="y"),
        replace(HARD[0], path="c.png", stored_file=(7, 1, 2)),
        replace(HARD[0], path="c.png", stored_file=None),
    ]
    assert all(other.storage != HARD[0].storage for other in others)
    assert image("a.png").storage != image("b.png").storage


@pytest.mark.parametrize(
    ("removed", "freed"),
    [
        ([COPY], {"copy.png": 10}),
        ([HARD[0]], {"a.png": 0}),
        ([HARD[1], LINK, HARD[0]], {"a.png": 0, "b.png": 10, "link.png": 0}),
        ([replace(one, hard_links=3) for one in HARD], {"a.png": 0, "b.png": 0}),
        ([image("p.png"), image("q.png")], {"p.png": 10, "q.png": 10}),
        ([COPY, COPY], {"copy.png": 10}),
    ],
)
def test_a_file_is_freed_with_its_last_name(removed: list[UsableImage], freed: dict[str, int]) -> None:
    assert freed_bytes(removed) == freed


def test_links_and_all_hard_links_but_one_are_further_names() -> None:
    assert further_names([LINK, *HARD, COPY]) == {"link.png", "b.png"}


def test_the_digest_changes_with_the_relation_and_not_with_inodes() -> None:
    images = [LINK, *HARD, COPY]
    digest = storage_digest(images)
    stored_anew = [replace(one, stored_file=(one.stored_file[0] + 50, 9, 9)) for one in images if one.stored_file]
    assert storage_digest(stored_anew[::-1]) == digest
    changed = [
        [LINK, HARD[0], replace(HARD[1], stored_file=(9, 1, 1)), COPY],
        [replace(LINK, link=None), *HARD, COPY],
        [replace(LINK, link="b.png"), *HARD, COPY],
        [LINK, *HARD, replace(COPY, hard_links=2)],
    ]
    assert len({digest, *map(storage_digest, changed)}) == 5


def test_rows_of_an_older_version_are_files_of_their_own() -> None:
    columns = {"path": ["a", "b"], "sha256": ["x", "x"], "bytes": [10, 10], "width": [4, None], "height": [4, None]}
    older = pa.table({**columns, "inode": [7, 7], "mtime_ns": [1, 1], "ctime_ns": [1, 1]})
    a, b = images_of_rows(older)
    assert (a.link, a.stored_file, a.hard_links, b.width) == (None, None, 1, 0)
    newer = older.append_column("hard_links", pa.array([2, 2])).append_column("link", pa.array([None, "a"]))
    a, b = images_of_rows(newer, ["k", "l"])
    assert (a.stored_file, a.hard_links, a.mtime_ns, b.link, b.vector_key) == ((7, 1, 1), 2, 1, "a", "l")


@pytest.mark.parametrize(
    ("better", "poorer"),
    [
        pytest.param((3, 24, 100), (1, 8, 900), id="colour before a larger grey version"),
        pytest.param((3, 24, 100), (1, 1, 900), id="colour before a larger fax"),
        pytest.param((1, 8, 100), (1, 1, 900), id="grey before a larger fax"),
        pytest.param((3, 48, 100), (3, 24, 900), id="16 bits before 8"),
        pytest.param((3, 24, 100), (3, 8, 900), id="RGB before a palette"),
        pytest.param((3, 8, 100), (1, 16, 900), id="a palette with colours before grey"),
        pytest.param((3, 24, 900), (4, 32, 100), id="CMYK has the bits per channel of RGB"),
        pytest.param((None, None, 900), (3, 24, 100), id="an unknown depth is the usual one"),
        pytest.param((None, None, 100), (1, 8, 900), id="an unknown depth is no grey"),
    ],
)
def test_depth_is_ranked_before_pixels(
    better: tuple[int | None, int | None, int], poorer: tuple[int | None, int | None, int]
) -> None:
    images = [
        UsableImage(path, path, 10, side, side, channels=channels, bits=bits)
        for path, (channels, bits, side) in (("a", poorer), ("b", better))
    ]
    assert [group[0].path for group in rank_contents(images)] == ["b", "a"]


@pytest.mark.parametrize(
    ("other", "grey", "first"),
    [
        pytest.param((3, 8, 100), (3, 48, 900), "other", id="a palette with colours before grey in RGB of 16 bits"),
        pytest.param((1, 8, 400), (3, 24, 300), "other", id="grey in RGB is no more than grey"),
        pytest.param((1, 8, 300), (3, 24, 400), "grey", id="grey is no more than grey in RGB"),
        pytest.param((1, 8, 300), (3, 8, 400), "grey", id="a palette of greys has the bits of grey"),
        pytest.param((1, 16, 100), (4, 32, 400), "other", id="grey of 16 bits before grey in CMYK"),
    ],
)
def test_an_image_without_colour_is_ranked_as_grey(
    other: tuple[int, int, int], grey: tuple[int, int, int], first: str
) -> None:
    images = [
        UsableImage(path, path, 10, side, side, channels=channels, bits=bits)
        for path, (channels, bits, side) in (("grey", grey), ("other", other))
    ]
    measured = with_colours(images, {"grey"})
    assert [image.is_grey for image in measured] == [True, False]
    assert rank_contents(measured)[0][0].path == first
