"""Embedding on a cluster: the bytes of a local run, although a process is killed or others hold all CPUs."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.cluster import patience
from imgret_assets.domain.cluster.ray_cluster import RayCluster, connect
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.runtime.progress import Progress
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ImgretError
from imgret_assets.image_roots import ImageRoots
from imgret_assets.settings import load_settings
from imgret_tests.support.cluster_search import kill_workers
from imgret_tests.support.fake_gpu import GpuEmbedder
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import write_pictures
from imgret_tests.support.processes import Process
from imgret_tests.support.ray_nodes import ClusterOfNodes
from imgret_tests.support.s3_server import Fault, ObjectStore

IMAGES = 150


@pytest.fixture
def homes(tmp_path: Path) -> list[Home]:
    images = tmp_path / "images"
    images.mkdir()
    write_pictures(images, IMAGES)
    found = []
    for name in ("here", "there", "elsewhere"):
        home = open_home(load_settings({"home": tmp_path / name, "images": images, "shards": 2}))
        refresh_manifest(home)
        found.append(home)
    return found


def table_bytes(home: Home) -> dict[str, bytes]:
    files = sorted((home.warehouse / "embeddings").rglob("*.parquet"))
    return {str(file.relative_to(home.warehouse)): file.read_bytes() for file in files}


def test_a_killed_process_loses_nothing(cluster: ClusterOfNodes, homes: list[Home]) -> None:
    here, there, _ = homes
    connection: RayCluster | None = connect(cluster.address)
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if sum(killed) < 1:
            killed.append(kill_workers("NodeEmbedder"))

    refresh_embeddings(here, FakeEmbedder())
    report = refresh_embeddings(there, FakeEmbedder(), cluster=connection, progress=kill)
    assert report.embedded == IMAGES
    assert sum(killed) >= 1
    assert table_bytes(there) == table_bytes(here)
    assert len(table_bytes(here)) == 2


_OTHER_DRIVER = """
from imgret_assets.domain.cluster.ray_cluster import connect
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings
from imgret_tests.support.fake_model import FakeEmbedder
cluster = connect(sys.argv[1])
home = open_home(load_settings({"home": sys.argv[2], "images": sys.argv[3]}))
paused = []
def pause(progress):
    # Both nodes have their process once both have sent something.
    if not paused and all(free.cpus == 0 for free in cluster.free().values()):
        paused.append(say("holds all CPUs"))
        wait()
say(refresh_embeddings(home, FakeEmbedder(), cluster=cluster, progress=pause).embedded)
"""


def test_two_drivers_at_once(
    cluster: ClusterOfNodes, homes: list[Home], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The second one says that it waits, and gets its turn."""
    here, there, elsewhere = homes
    connection = connect(cluster.address)
    refresh_embeddings(here, FakeEmbedder())
    monkeypatch.setattr(patience, "WARN_AFTER_S", 1.0)
    with Process(_OTHER_DRIVER, [cluster.address, elsewhere.settings.home, elsewhere.images.folder]) as other:
        assert other.hear() == "holds all CPUs"
        waits = logging.getLogger(patience.__name__)
        handler = _Calls(other.go)
        waits.addHandler(handler)
        try:
            report = refresh_embeddings(there, FakeEmbedder(), cluster=connection)
        finally:
            waits.removeHandler(handler)
        assert other.hear() == str(IMAGES)
    assert "free are 0 of 1 CPUs" in caplog.text
    assert report.embedded == IMAGES
    assert table_bytes(there) == table_bytes(elsewhere) == table_bytes(here)


class _Calls(logging.Handler):
    """Calls a function at the first message."""

    def __init__(self, function: Callable[[], None]) -> None:
        super().__init__()
        self._functions = [function]

    def emit(self, record: logging.LogRecord) -> None:
        if self._functions:
            self._functions.pop()()


def test_a_node_with_a_gpu_gives_it_to_its_process_and_others_are_not_asked(
    cluster: ClusterOfNodes, homes: list[Home], tmp_path: Path
) -> None:
    """Ray counts GPUs that nobody has: what is tested is who gets which."""
    here, there, _ = homes
    there = replace(there, settings=replace(there.settings, cluster_gpus=0.5))
    connection = connect(cluster.address)
    assert connection is not None
    refresh_embeddings(here, GpuEmbedder(tmp_path))
    for left in tmp_path.glob("[0-9]*"):
        left.unlink()
    free: set[float] = set()
    with cluster.node_with_gpu() as node:
        report = refresh_embeddings(
            there,
            GpuEmbedder(tmp_path),
            cluster=connection,
            progress=lambda _: free.add(connection.free()[node].gpus),
        )
    assert report.embedded == IMAGES
    assert table_bytes(there) == table_bytes(here)
    seen = {file.read_text() for file in tmp_path.glob("[0-9]*")}
    assert f"[0] 0 {node}" in seen
    assert {line for line in seen if not line.startswith("[] ")} == {f"[0] 0 {node}"}
    assert 0.5 in free


def test_images_in_a_bucket_are_read_by_the_nodes(
    cluster: ClusterOfNodes, homes: list[Home], object_store: ObjectStore
) -> None:
    here, there, _ = homes
    bucket = object_store.make_bucket()
    object_store.upload(here.images.folder, bucket, "pics")
    there = open_home(
        replace(there.settings, home=there.settings.home / "cloud", images=ImageRoots.parse(f"s3://{bucket}/pics"))
    )
    connection = connect(cluster.address)
    refresh_manifest(there)
    object_store.asked.clear()
    object_store.faults.append(Fault(403, "ExpiredToken", part="pics", after=40))
    with pytest.raises(ImgretError, match=rf"The bucket s3://{bucket} can't be read any more: .*ExpiredToken"):
        refresh_embeddings(there, FakeEmbedder(), cluster=connection)
    object_store.faults.clear()
    assert 0 < refresh_embeddings(there, FakeEmbedder(), cluster=connection).embedded <= IMAGES
    refresh_embeddings(here, FakeEmbedder())
    assert table_bytes(there) == table_bytes(here)
