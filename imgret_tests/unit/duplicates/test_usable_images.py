"""The usable images of a home: grouped by content, the one to keep first."""

import numpy as np
import pytest

from imgret_assets.domain.duplicates.usable_images import (
    UsableImage,
    coverage_of_images,
    group_by_content,
    load_usable_images,
    rank_contents,
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
        file.relative_to(home.images).as_posix() for file in home.images.rglob("*.png") if file.stem != "no image"
    )
    for one in images:
        assert one.bytes == (home.images / one.path).stat().st_size
        assert (one.width, one.height) == (40, 30)
    assert coverage_of_images(images[::-1]) == list_embeddings(home, SPACE).coverage
