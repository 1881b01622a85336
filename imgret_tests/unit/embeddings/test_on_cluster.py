"""Embedding on a cluster: each content once, whatever is lost, as this process would have embedded it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imgret_assets.domain.cluster import workers
from imgret_assets.domain.embeddings import on_cluster
from imgret_assets.domain.embeddings.embedding_pipeline import StageTimes, embed_files, refuse_broken_model
from imgret_assets.domain.embeddings.on_cluster import NodeEmbedder, check_images, embed_on_cluster, uses_gpu
from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ClusterError, LostWorkError, UnfitWorkerError
from imgret_tests.support.fake_cluster import FakeCluster, Reference
from imgret_tests.support.fake_model import FailingEmbedder, FakeEmbedder
from imgret_tests.support.pictures import picture_bytes, write_pictures

Results = dict[str, tuple[str, str | None, bytes | None]]


@pytest.fixture(autouse=True)
def _small_parts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(on_cluster, "_SMALLEST_PART", 3)
    # The processes of the fake are this process.
    monkeypatch.setattr(on_cluster, "bind_to_processors", lambda *_: None)


@pytest.fixture
def contents(home: Home) -> dict[str, list[str]]:
    write_pictures(home.images, 20)
    for seed in (101, 102):
        home.images.folder.joinpath(f"{seed}.png").write_bytes(picture_bytes(seed))
    home.images.folder.joinpath("half.jpg").write_bytes(b"\xff\xd8\xff\xe0 half")
    refresh_manifest(home)
    found: dict[str, list[str]] = {}
    for shard in home.shards:
        rows = tables.read(tables.manifest_path(home.warehouse, shard), ["path", "sha256", "status"]).to_pylist()
        for row in rows:
            if row["status"] == "ok":
                found.setdefault(row["sha256"], []).append(row["path"])
    return found


def as_bytes(results: Iterator[tuple[str, EmbeddingResult]]) -> Results:
    found: Results = {}
    for content, result in results:
        assert content not in found
        vector = None if result.vector is None else result.vector.tobytes()
        found[content] = (result.status, result.engine, vector)
    return found


def here(home: Home, contents: dict[str, list[str]]) -> Results:
    return as_bytes(embed_files(FakeEmbedder(), contents.items(), home.images, max_pixels=10**6))


def test_results_equal_those_of_this_process(home: Home, contents: dict[str, list[str]]) -> None:
    cluster, times = FakeCluster({"a": 1, "b": 2}), StageTimes()
    assert as_bytes(embed_on_cluster(cluster, FakeEmbedder(), contents, home, times)) == here(home, contents)
    assert {node for node, _ in cluster.actors} == {"a", "b"}
    assert cluster.stopped == [actor for _, actor in cluster.actors]
    assert times.decode > 0


def test_a_process_that_dies_loses_nothing(home: Home, contents: dict[str, list[str]]) -> None:
    cluster = FakeCluster({"a": 1, "b": 1})
    called: list[Reference] = []

    def loses(reference: Reference) -> bool:
        called.append(reference)
        return reference.name in ("load", "embed") and len(called) in (3, 5, 6)

    cluster.loses = loses
    assert as_bytes(embed_on_cluster(cluster, FakeEmbedder(), contents, home, StageTimes())) == here(home, contents)
    assert len(cluster.actors) > 2


def test_a_part_that_is_always_lost_ends_the_run(home: Home, contents: dict[str, list[str]]) -> None:
    cluster = FakeCluster({"a": 1})
    cluster.loses = lambda reference: reference.name == "embed"
    with pytest.raises(LostWorkError, match="The node died"):
        as_bytes(embed_on_cluster(cluster, FakeEmbedder(), contents, home, StageTimes()))


def test_a_process_with_another_engine_is_refused_by_name(
    home: Home, contents: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NodeEmbedder, "load", lambda _: "it would compute with other, not with fake")
    cluster = FakeCluster({"a": 1})
    with pytest.raises(ClusterError, match=r"host \(a\): it would compute with other, not with fake"):
        as_bytes(embed_on_cluster(cluster, FakeEmbedder(), contents, home, StageTimes()))


def test_a_caller_that_stops_ends_the_processes(home: Home, contents: dict[str, list[str]]) -> None:
    cluster = FakeCluster({"a": 1})
    with closing(embed_on_cluster(cluster, FakeEmbedder(), contents, home, StageTimes())) as results:
        next(results)
    assert cluster.stopped == [actor for _, actor in cluster.actors]


def test_one_bad_image_in_each_small_part_is_no_broken_model(home: Home, contents: dict[str, list[str]]) -> None:
    embedder = FailingEmbedder([101, 102], 0.0)
    results = embed_on_cluster(FakeCluster({"a": 1}), embedder, contents, home, StageTimes())
    statuses = [result.status for _, result in refuse_broken_model(results, embedder)]
    assert len(statuses) == len(contents)
    assert statuses.count("unsupported") == 2


def test_a_node_must_see_the_images(tmp_path: Path) -> None:
    check_images([tmp_path], tmp_path)
    with pytest.raises(UnfitWorkerError, match=r"it does not see .*gone\.jpg"):
        check_images([tmp_path / "gone.jpg"], tmp_path)


def test_what_needs_a_gpu_is_not_sent() -> None:
    class OnGpu(FakeEmbedder):
        @property
        def engine(self) -> str:
            return "torch-cuda-bfloat16"

    assert uses_gpu(OnGpu())
    assert not uses_gpu(FakeEmbedder())
