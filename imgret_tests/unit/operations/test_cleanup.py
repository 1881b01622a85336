"""Another number of shards, leftovers, the default model, and how good answers are."""

import json
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from imgret_assets.domain.analysis.ranking_quality import measure_precision
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult, PendingVectors
from imgret_assets.domain.embeddings.table_reader import Embeddings, list_embeddings
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.operations import reshard
from imgret_assets.domain.operations.cleanup import remove_leftovers
from imgret_assets.domain.operations.export import export_graph
from imgret_assets.domain.search.vector_cache import CachedVectors, cached_vectors
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import locks
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import LockTimeoutError, ReshardedError, SettingError
from imgret_assets.settings import load_settings
from imgret_tests.support.fakes import FakeEmbedder, write_pictures


def built(home: Home, images: Path, count: int = 24) -> FakeEmbedder:
    write_pictures(images, count)
    embedder = FakeEmbedder()
    refresh_manifest(home)
    refresh_embeddings(home, embedder)
    refresh_pairs(home, embedder.space.id, 0.5)
    return embedder


def all_rows(home: Home, table: str) -> list[tuple[str, str]]:
    frame = pd.read_parquet(home.warehouse / table)
    return sorted(zip(frame["path"], frame["sha256"], strict=True))


@pytest.fixture
def few_files() -> Iterator[None]:
    """A limit on open files below the number of shards, such as that of a macOS terminal."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("few_files")
def test_there_may_be_more_shards_than_files_may_be_open(home: Home, images: Path) -> None:
    built(home, images)
    manifest = all_rows(home, "manifest")
    reshard.reshard(home, 300)
    again = open_home(load_settings({"home": home.path, "images": images}))
    assert (again.shards[0], again.shards[-1], len(again.shards)) == ("000", "12b", 300)
    assert sum(shard.added + shard.removed + shard.changed for shard in refresh_manifest(again).shards) == 0
    assert all_rows(again, "manifest") == manifest


@pytest.mark.parametrize("shards", [1, 3, 9])
def test_a_reshard_keeps_every_row_and_embeds_nothing(home: Home, images: Path, shards: int) -> None:
    embedder = built(home, images)
    manifest, embeddings = all_rows(home, "manifest"), all_rows(home, "embeddings")
    assert reshard.reshard(home, shards).shards == shards

    again = open_home(load_settings({"home": home.path, "images": images}))
    assert again.record.shards == shards
    assert len(list((home.warehouse / "manifest").glob("*.parquet"))) == shards
    assert (all_rows(again, "manifest"), all_rows(again, "embeddings")) == (manifest, embeddings)
    for key in again.shards:
        rows = pd.read_parquet(home.warehouse / "manifest" / f"shard={key}.parquet")
        assert {shard_of(path, shards) for path in rows["path"]} <= {key}
    done = embedder.embedded
    assert sum(shard.added + shard.removed + shard.changed for shard in refresh_manifest(again).shards) == 0
    assert refresh_embeddings(again, embedder).embedded == 0
    assert embedder.embedded == done
    assert refresh_pairs(again, embedder.space.id, 0.5).how == "nothing changed"


@pytest.mark.parametrize("shards", [2, 8])
def test_who_opened_the_home_before_a_reshard_changes_nothing_and_says_so(
    home: Home, images: Path, shards: int
) -> None:
    """Fewer shards or more: its own may all still be there, and then it would work on a part of the images."""
    embedder = built(home, images)
    reshard.reshard(home, shards)
    before = all_rows(home, "manifest"), all_rows(home, "embeddings")
    (images / "another").mkdir()
    write_pictures(images / "another", 1)
    late = (
        lambda: refresh_manifest(home),
        lambda: refresh_manifest(home, ["00"]),
        lambda: refresh_embeddings(home, embedder),
        lambda: refresh_pairs(home, embedder.space.id, 0.5),
        lambda: remove_leftovers(home),
    )
    for act in late:
        with pytest.raises(ReshardedError, match=rf"from 4 to {shards} shards.*nothing was changed.*run again"):
            act()
    assert (all_rows(home, "manifest"), all_rows(home, "embeddings")) == before


@pytest.mark.parametrize("shards", [2, 9])
@pytest.mark.parametrize("replaced", [0, 1, 3, 99])
def test_who_reads_during_the_swap_gets_the_rows_or_one_named_error(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch, shards: int, replaced: int
) -> None:
    """The swap is stopped after some of its files; 99: it is done, and the reader had opened the home before."""
    embedder = built(home, images)
    refresh_neighbours(home, embedder.space.id)
    expected = list_embeddings(home, embedder.space.id).paths
    moved = iter(range(replaced))
    replace = Path.replace

    def stopped(path: Path, target: Path) -> Path:
        if path.name.startswith("shard=") and next(moved, None) is None:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with suppress(KeyboardInterrupt):
        reshard.reshard(home, shards)
    monkeypatch.undo()
    folder = home.path / "exported"
    reads = (
        lambda: export_graph(home, embedder.space, folder, "parquet"),
        lambda: cached_with(home, embedder.space.id),
    )
    for read in reads:
        with pytest.raises(ReshardedError, match=r"resharded.*run again"):
            read()
    assert not [*folder.rglob("*.parquet")]
    again = open_home(load_settings({"home": home.path, "images": images}))
    assert again.record.shards == shards
    assert list_embeddings(again, embedder.space.id).paths == expected


def cached_with(home: Home, space: str) -> CachedVectors:
    with home.unchanged_shards():
        return cached_vectors(home, space)


def test_a_reshard_starts_from_the_shards_of_the_one_before(home: Home, images: Path) -> None:
    built(home, images)
    manifest = all_rows(home, "manifest")
    reshard.reshard(home, 9)
    assert reshard.reshard(home, 4).shards == 4
    assert all_rows(home, "manifest") == manifest
    assert len(list((home.warehouse / "manifest").glob("*.parquet"))) == 4


def test_a_reshard_waits_for_runs_and_runs_for_it(home: Home, images: Path) -> None:
    built(home, images)
    hasty = open_home(load_settings({"home": home.path, "images": images, "lock_timeout_s": 0.2}))
    with home.share_layout("refreshing"), pytest.raises(LockTimeoutError, match=r"layout is held .*refreshing"):
        reshard.reshard(hasty, 6)
    waited: list[str] = []

    def while_resharding(line: str) -> None:
        with pytest.raises(LockTimeoutError, match=r"layout is held .*resharding"), hasty.share_layout("refreshing"):
            pass
        waited.append(line)

    assert reshard.reshard(hasty, 6, progress=while_resharding).shards == 6
    assert len(waited) == 2


def test_a_reshard_killed_in_its_swap_is_finished_by_who_comes_next(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(home, images)
    rows = all_rows(home, "embeddings")
    moves = 0
    replace = Path.replace

    def dies(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += "reshard" in self.parts and self.suffix == ".parquet" and not self.name.startswith(".")
        if moves == 3:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        reshard.reshard(home, 6)
    monkeypatch.setattr(Path, "replace", replace)
    again = open_home(load_settings({"home": home.path, "images": images}))
    assert again.record.shards == 6
    assert all_rows(again, "embeddings") == rows
    assert not (home.work / "reshard").exists()


def test_a_number_of_shards_out_of_range_is_refused(home: Home) -> None:
    with pytest.raises(SettingError, match="1 to 1024"):
        reshard.reshard(home, 1025)


def test_gc_removes_leftovers_and_nothing_that_is_needed(home: Home, images: Path) -> None:
    embedder = built(home, images)
    PendingVectors(home.work, embedder.space.id).put_many([("f" * 64, EmbeddingResult("truncated", "x", None, None))])
    (home.work / "scan-killed").mkdir(parents=True)
    (home.warehouse / "manifest" / ".shard=00.parquet.tmp").write_bytes(b"half")
    other = home.warehouse / "embeddings" / "model=other-00000000"
    other.mkdir()
    rows = all_rows(home, "manifest")

    removed = remove_leftovers(home)
    assert (removed.entries, removed.vectors) == (3, 1)
    assert other.is_dir()
    assert remove_leftovers(home, keep_spaces={embedder.space.id}).entries == 1
    assert not other.exists()
    assert all_rows(home, "manifest") == rows
    assert refresh_embeddings(home, embedder).embedded == 0


def test_precision_leaves_exact_copies_out() -> None:
    vectors = np.array([[1, 0], [1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], np.float32)
    contents = ["same", "same", "b", "c", "d"]
    found = measure_precision(Embeddings(list("abcde"), contents, vectors, ""), ["x", "x", "x", "y", "x"], block_rows=2)
    # First others: a, b -> c (x, right); c -> a (x, right); d -> e (wrong); e -> d (wrong).
    assert (found.first, found.images) == (0.6, 5)
    assert json.dumps(found.first_ten)


def test_precision_of_nothing_is_zero() -> None:
    assert measure_precision(Embeddings([], [], np.empty((0, 4), np.float32), ""), []).images == 0


def test_what_a_killed_conversion_left_is_removed_and_one_in_progress_is_waited_for(home: Home, images: Path) -> None:
    leftover = home.path / "models" / "fake-12345678" / ".converting-abc"
    leftover.mkdir(parents=True)
    (leftover / "model.bin").write_bytes(bytes(1000))
    hasty = open_home(load_settings({"home": home.path, "images": images, "lock_timeout_s": 0.2}))
    with locks.hold(leftover.parent, ["converting"], timeout_s=0, purpose="converting a model"):
        with pytest.raises(LockTimeoutError, match=r"converting is held .*converting a model"):
            remove_leftovers(hasty)
        assert leftover.exists()
    removed = remove_leftovers(hasty)
    assert (removed.entries, removed.bytes) == (1, 1000)
    assert not leftover.exists()
