"""Pairs and neighbours on a cluster, to the last bit those of this process, whatever is killed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from imgret_assets.domain.cluster.ray_cluster import RayCluster, connect
from imgret_assets.domain.similarity.cascade import PairSearch
from imgret_assets.domain.similarity.pieces.computing import Compute
from imgret_tests.support.cluster_search import kill_workers, nearest_digest, pairs_digest
from imgret_tests.support.processes import Process
from imgret_tests.support.ray_nodes import ClusterOfNodes


@pytest.fixture(scope="module")
def expected() -> str:
    return pairs_digest()


@pytest.fixture
def connection(cluster: ClusterOfNodes) -> RayCluster:
    connected = connect(cluster.address)
    assert connected is not None
    return connected


@pytest.fixture
def on_cluster(connection: RayCluster, tmp_path: Path) -> Callable[[PairSearch], Compute]:
    return lambda search: search.compute_on(connection, tmp_path)


def test_pairs_and_neighbours(
    connection: RayCluster, on_cluster: Callable[[PairSearch], Compute], expected: str, tmp_path: Path
) -> None:
    assert pairs_digest(on_cluster) == expected
    assert nearest_digest(lambda search: search.compute_on(connection, tmp_path)) == nearest_digest()


def test_a_worker_is_killed(on_cluster: Callable[[PairSearch], Compute], expected: str) -> None:
    killed: list[int] = []

    def kill(computed: int) -> None:
        if sum(killed) < 1:
            killed.append(kill_workers("compare_chunks", "load_chunk", "IDLE"))

    assert pairs_digest(on_cluster, meanwhile=kill) == expected
    assert sum(killed) >= 1


def test_a_node_is_killed_and_a_fresh_one_joins(
    cluster: ClusterOfNodes, on_cluster: Callable[[PairSearch], Compute], expected: str
) -> None:
    def kill(computed: int) -> None:
        if computed == 3:
            cluster.replace_node()

    assert pairs_digest(on_cluster, meanwhile=kill) == expected


_DRIVER = """
from pathlib import Path
from imgret_assets.domain.cluster.ray_cluster import connect
from imgret_tests.support.cluster_search import pairs_digest
cluster, folder = connect(sys.argv[1]), Path(sys.argv[2])
def meanwhile(computed):
    if computed == 5:
        say("computed")
        wait()
pairs_digest(lambda search: search.compute_on(cluster, folder), folder, meanwhile)
"""


def test_the_driver_is_killed_and_the_next_goes_on_from_its_answers(
    cluster: ClusterOfNodes, on_cluster: Callable[[PairSearch], Compute], expected: str, tmp_path: Path
) -> None:
    with Process(_DRIVER, [cluster.address, tmp_path]) as driver:
        assert driver.hear() == "computed"
    finished = len(list(tmp_path.glob("*.npz")))
    assert finished >= 5
    computed: list[int] = []
    assert pairs_digest(on_cluster, tmp_path, computed.append) == expected
    assert computed[-1] == 36 - finished
