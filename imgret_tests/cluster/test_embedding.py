"""Embedding on a cluster: the tables have the bytes of a local run, although a process is killed."""

from pathlib import Path

import pytest

from imgret_assets.domain.cluster.ray_cluster import RayCluster, connect
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.runtime.progress import Progress
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.settings import load_settings
from imgret_tests.support.cluster_search import kill_workers
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import write_pictures
from imgret_tests.support.ray_nodes import ClusterOfNodes

IMAGES = 150


@pytest.fixture
def homes(tmp_path: Path) -> list[Home]:
    images = tmp_path / "images"
    images.mkdir()
    write_pictures(images, IMAGES)
    found = []
    for name in ("here", "there"):
        home = open_home(load_settings({"home": tmp_path / name, "images": images, "shards": 2}))
        refresh_manifest(home)
        found.append(home)
    return found


def table_bytes(home: Home) -> dict[str, bytes]:
    files = sorted((home.warehouse / "embeddings").rglob("*.parquet"))
    return {str(file.relative_to(home.warehouse)): file.read_bytes() for file in files}


def test_a_killed_process_loses_nothing(cluster: ClusterOfNodes, homes: list[Home]) -> None:
    here, there = homes
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
