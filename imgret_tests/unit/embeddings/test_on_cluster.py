"""Embedding on a cluster: each content once, whatever is lost, as this process would have embedded it."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.cluster import patience, workers
from imgret_assets.domain.cluster.ray_cluster import Resources
from imgret_assets.domain.embeddings import on_cluster
from imgret_assets.domain.embeddings.embedding_pipeline import StageTimes, embed_files, refuse_broken_model
from imgret_assets.domain.embeddings.on_cluster import NodeEmbedder, can_embed, check_images, embed_on_cluster
from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ClusterError, LostWorkError, UnfitWorkerError
from imgret_assets.object_url import ObjectUrl
from imgret_tests.support.fake_cluster import FakeCluster, Reference
from imgret_tests.support.fake_model import FailingEmbedder, FakeEmbedder
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.s3_server import Fault, ObjectStore

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


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (None, "there is no such object or bucket"),
        (Fault(403, "AccessDenied", method="HEAD"), "the store refuses access"),
    ],
)
def test_a_node_must_reach_the_bucket(
    fault: Fault | None, reason: str, tmp_path: Path, object_store: ObjectStore
) -> None:
    """Without a login or with another endpoint, all images would count as missing there."""
    bucket = object_store.make_bucket()
    object_store.put(bucket, "a.jpg", b"a")
    check_images([ObjectUrl("s3", bucket, "a.jpg")], tmp_path)
    if fault is None:
        object_store.delete(bucket, "a.jpg")
    else:
        object_store.faults.append(fault)
    with pytest.raises(UnfitWorkerError, match=rf"it can't read s3://{bucket}/a\.jpg \({reason}"):
        check_images([ObjectUrl("s3", bucket, "a.jpg")], tmp_path)


class OnGpu(FakeEmbedder):
    """Says that it computes on a GPU, and on which."""

    hardware = "GPU of the driver"

    @property
    def engine(self) -> str:
        return "torch-cuda-bfloat16"


def test_on_a_gpu_the_driver_embeds_alone_unless_nodes_have_gpus() -> None:
    cluster = FakeCluster({"a": 1})
    assert can_embed(cluster, FakeEmbedder())
    assert not can_embed(cluster, OnGpu())
    cluster.gpus = {"a": 1.0}
    assert can_embed(cluster, OnGpu())


@pytest.mark.parametrize(("setting", "taken"), [(None, 4.0), (0.5, 0.5), (2.0, 2.0)])
def test_gpus_are_taken_on_nodes_that_have_them(
    home: Home, contents: dict[str, list[str]], setting: float | None, taken: float
) -> None:
    home = replace(home, settings=replace(home.settings, cluster_gpus=setting))
    cluster = FakeCluster({"a": 1, "b": 8})
    cluster.gpus = {"b": 4.0}
    found = as_bytes(embed_on_cluster(cluster, OnGpu(), contents, home, StageTimes()))
    expected = here(home, contents)
    assert found == {
        key: (status, engine and OnGpu().engine, vector) for key, (status, engine, vector) in expected.items()
    }
    assert {node for node, _ in cluster.actors} == {"b"}
    assert cluster.taken == [Resources(cpus=8, gpus=taken)]


def test_a_node_with_another_gpu_is_refused(
    home: Home, contents: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vectors would differ in their last bits."""
    embedder, load = OnGpu(), NodeEmbedder.load

    def load_there(node: NodeEmbedder) -> str:
        embedder.hardware = "GPU of the node"
        return load(node)

    monkeypatch.setattr(NodeEmbedder, "load", load_there)
    cluster = FakeCluster({"a": 1})
    cluster.gpus = {"a": 1.0}
    with pytest.raises(ClusterError, match=r"host \(a\): it has the GPU GPU of the node, not GPU of the driver"):
        as_bytes(embed_on_cluster(cluster, embedder, contents, home, StageTimes()))


def test_too_few_gpus_are_named(home: Home, contents: dict[str, list[str]]) -> None:
    home = replace(home, settings=replace(home.settings, cluster_gpus=2.0))
    cluster = FakeCluster({"a": 1})
    cluster.gpus = {"a": 1.0}
    with pytest.raises(ClusterError, match=r"host \(a\): it has 1 GPUs, and 2 are needed"):
        as_bytes(embed_on_cluster(cluster, OnGpu(), contents, home, StageTimes()))


def test_a_process_takes_the_cpus_that_others_leave(
    home: Home, contents: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that holds a CPU of the node, such as a Ray job with `num_cpus`, would otherwise wait for itself."""
    cluster = FakeCluster({"a": 4})
    cluster.held = {"a": Resources(cpus=1)}
    monkeypatch.setattr(on_cluster, "_SETTLE_S", 0.0)
    assert as_bytes(embed_on_cluster(cluster, FakeEmbedder(), contents, home, StageTimes())) == here(home, contents)
    assert cluster.taken == [Resources(cpus=3)]


def test_a_node_that_others_hold_is_waited_for_and_in_the_end_given_up(
    home: Home, contents: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = FakeCluster({"a": 4})
    cluster.held = {"a": Resources(cpus=4)}
    monkeypatch.setattr(on_cluster, "_SETTLE_S", 0.0)
    monkeypatch.setattr(patience, "GIVE_UP_AFTER_S", 0.05)
    with pytest.raises(ClusterError, match=r"Nothing has come back .* free are 0 of 4 CPUs .* of host \(a\)"):
        as_bytes(embed_on_cluster(cluster, FakeEmbedder(), contents, home, StageTimes()))
    assert cluster.paused > 0
    assert cluster.actors == []
