"""Whatever happens to raw files and JPEGs, in whatever order shards are listed: the rows are those of a fresh home."""

import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import shard_keys
from imgret_assets.settings import load_settings
from imgret_tests.support.odd_files import saved
from imgret_tests.support.pictures import picture
from imgret_tests.support.raw_files import dng
from imgret_tests.support.tree import put

SHARDS = 3
NAMES = [f"{stem}.{ending}" for stem in ("a", "trip/b") for ending in ("dng", "NEF", "jpg", "JPEG")]
JPEG = saved(picture(1, size=(64, 48)), "JPEG")
CONTENTS = [None, JPEG, JPEG[:300], b"", b"no image", dng(32, 32), saved(picture(2, size=(9, 9)), "JPEG")]

change = st.tuples(st.sampled_from(NAMES), st.sampled_from(CONTENTS))
step = st.tuples(
    st.lists(change, max_size=4),
    st.lists(st.sampled_from(shard_keys(SHARDS)), unique=True),
)


def home_in(folder: Path, images: Path) -> Home:
    chosen = {"home": folder, "images": images, "shards": SHARDS}
    return open_home(load_settings(chosen))


def rows(home: Home) -> list[dict[str, object]]:
    files = [tables.manifest_path(home.warehouse, shard) for shard in home.shards]
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "examples", [pytest.param(25, id="sample"), pytest.param(200, id="all", marks=pytest.mark.exhaustive)]
)
def test_the_manifest_equals_one_built_from_nothing(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(steps=st.lists(step, min_size=1, max_size=4))
    def holds(steps: list[tuple[list[tuple[str, bytes | None]], list[str]]]) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder, images = Path(name), Path(name) / "images"
            images.mkdir()
            for changes, shards in steps:
                for path, content in changes:
                    if content is None:
                        (images / path).unlink(missing_ok=True)
                    else:
                        put(images, path, content)
                home = home_in(folder / "kept", images)
                refresh_manifest(home, shards, allow_deletes=True)
            refresh_manifest(home_in(folder / "kept", images), allow_deletes=True)
            fresh = home_in(folder / "fresh", images)
            refresh_manifest(fresh)
            assert rows(home_in(folder / "kept", images)) == rows(fresh)

    holds()
