"""Whatever happened to the files and in whatever order runs met it: the tables are those of a fresh home."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.similarity import neighbours_table, pair_search
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import shard_keys
from imgret_assets.settings import load_settings
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.odd_files import saved
from imgret_tests.support.pictures import picture
from imgret_tests.support.tree import put

SHARDS = 3
THRESHOLD = 0.3
NAMES = [f"{folder}{letter}.png" for folder in ("", "cars/") for letter in "abcde"]
CONTENTS = [saved(picture(seed, size=(8, 6)), "PNG") for seed in range(6)]
CONTENTS += [CONTENTS[0][:-40], b"no picture", b""]


class Watched(FakeEmbedder):
    """Remembers every picture it has embedded."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.seen: list[bytes] = []

    def embed(self, batch: np.ndarray) -> np.ndarray:
        self.seen += [hashlib.sha256(row.tobytes()).digest() for row in batch]
        return super().embed(batch)


@dataclass
class Put:
    name: str
    content: int

    def do(self, root: Path) -> None:
        put(root, self.name, CONTENTS[self.content])


@dataclass
class Rename:
    old: str
    new: str

    def do(self, root: Path) -> None:
        if (root / self.old).exists():
            (root / self.new).parent.mkdir(exist_ok=True)
            (root / self.old).rename(root / self.new)


@dataclass
class Delete:
    name: str

    def do(self, root: Path) -> None:
        (root / self.name).unlink(missing_ok=True)


@dataclass
class Step:
    """Some changes, then a run on some shards; perhaps one of all, with a threshold and a cap on neighbours.

    `dies_at` ends the run of all at that write of a file, counted from its first: before the file takes its place.
    `model` is the one that runs from here on.
    """

    changes: list[Put | Rename | Delete]
    shards: list[str] = field(default_factory=list)
    all_with: tuple[float, int | None] | None = None
    dies_at: int | None = None
    model: str = "fake"


class Killed(BaseException):
    """Stands for the end of the process."""


@contextmanager
def dying(at: int | None) -> Iterator[None]:
    """Within the block, the write of number `at` (from 1) leaves the file as it was and ends the run."""
    left = at
    replace_file = Path.replace

    def replaced(self: Path, target: Path) -> Path:
        nonlocal left
        left = None if left is None else left - 1
        if left == 0:
            raise Killed
        return replace_file(self, target)

    with pytest.MonkeyPatch.context() as patched, suppress(Killed):
        patched.setattr(Path, "replace", replaced)
        yield


names = st.sampled_from(NAMES)
change = st.one_of(
    st.builds(Put, names, st.integers(0, len(CONTENTS) - 1)),
    st.builds(Rename, names, names),
    st.builds(Delete, names),
)
step = st.builds(
    Step,
    st.lists(change, max_size=4),
    st.lists(st.sampled_from(shard_keys(SHARDS)), unique=True, max_size=SHARDS),
    st.none() | st.tuples(st.sampled_from([THRESHOLD, 0.0, 0.6]), st.sampled_from([None, 1, 2])),
    st.none() | st.integers(1, 14),
    st.sampled_from(["fake", "fake", "fake", "other"]),
)


def home_in(folder: Path, images: Path) -> Home:
    return open_home(load_settings({"home": folder, "images": images, "shards": SHARDS}))


def run(home: Home, embedder: FakeEmbedder, shards: list[str]) -> None:
    refresh_manifest(home, shards)
    refresh_embeddings(home, embedder, shards)


def compare(home: Home, space: str, threshold: float, most: int | None) -> None:
    """Pairs and neighbours of all images."""
    capped = replace(home, settings=replace(home.settings, max_neighbours=most))
    refresh_pairs(capped, space, threshold)
    refresh_neighbours(home, space)


def assert_same_tables(one: Home, other: Home, space: str) -> None:
    for shard in one.shards:
        for path in (tables.manifest_path, lambda warehouse, key: tables.embeddings_path(warehouse, space, key)):
            mine, theirs = (pq.read_table(path(home.warehouse, shard)) for home in (one, other))
            assert mine.to_pylist() == theirs.to_pylist()
    mine, theirs = (pq.read_table(tables.pairs_path(home.warehouse, space)).to_pydict() for home in (one, other))
    assert mine == theirs
    mine, theirs = (pq.read_table(tables.nearest_path(home.warehouse, space)).to_pydict() for home in (one, other))
    assert mine == theirs


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "examples", [pytest.param(5, id="sample"), pytest.param(20, id="all", marks=pytest.mark.exhaustive)]
)
def test_the_tables_equal_those_built_from_nothing(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(
        steps=st.lists(step, min_size=1, max_size=4),
        last=st.tuples(st.sampled_from([THRESHOLD, 0.6]), st.sampled_from([None, 1, 2])),
        cascade=st.booleans(),
    )
    def holds(steps: list[Step], last: tuple[float, int | None], cascade: bool) -> None:
        with pytest.MonkeyPatch.context() as patched:
            if cascade:
                patched.setattr(pair_search, "BRUTE_FORCE_PAIRS", 0)
                patched.setattr(neighbours_table, "BRUTE_FORCE_ROWS", 0)
            _the_tables_equal_those_built_from_nothing(steps, last)

    holds()


def _the_tables_equal_those_built_from_nothing(steps: list[Step], last: tuple[float, int | None]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, images = Path(name), Path(name) / "images"
        images.mkdir()
        for number, path in enumerate(NAMES[:6]):
            put(images, path, CONTENTS[number % 4])
        home, embedders = home_in(folder / "kept", images), {name: Watched(name) for name in ("fake", "other")}
        embedder = embedders["fake"]
        run(home, embedder, home.shards)
        compare(home, embedder.space.id, THRESHOLD, None)
        for one in steps:
            embedder = embedders[one.model]
            for changed in one.changes:
                changed.do(images)
            run(home, embedder, one.shards)
            if one.all_with is not None:
                with dying(one.dies_at):
                    run(home, embedder, home.shards)
                    compare(home, embedder.space.id, *one.all_with)
        run(home, embedder, home.shards)
        compare(home, embedder.space.id, *last)
        # A batch that was on its way when a run died is embedded again.
        if not any(one.dies_at for one in steps):
            for each in embedders.values():
                assert len(set(each.seen)) == len(each.seen), "a content was embedded twice"

        fresh = home_in(folder / "fresh", images)
        run(fresh, FakeEmbedder(steps[-1].model), fresh.shards)
        compare(fresh, embedder.space.id, *last)
        assert_same_tables(home, fresh, embedder.space.id)
