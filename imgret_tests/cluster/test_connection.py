"""A cluster that can't be used is an error within half a minute. Each in a process of its own: ray goes on trying."""

import os
import socket
from collections.abc import Iterator

import pytest

from imgret_tests.support.processes import Process
from imgret_tests.support.ray_nodes import ClusterOfNodes

_CONNECT = """
import os
from imgret_assets.domain.cluster.ray_cluster import connect
from imgret_assets.errors import ClusterError
os.environ["RAY_AUTH_TOKEN"] = sys.argv[3]
try:
    connect(sys.argv[1], timeout_s=float(sys.argv[2]))
except ClusterError as error:
    say(error)
"""


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_port_that_never_answers(silent_port: int, cluster: ClusterOfNodes) -> None:
    address = f"127.0.0.1:{silent_port}"
    with Process(_CONNECT, [address, 2.0, os.environ["RAY_AUTH_TOKEN"]]) as process:
        line = process.hear()
    assert line.startswith(f"The cluster {address} (IMGRET_CLUSTER) can't be reached: no answer within 2 s.")


def test_a_cluster_that_refuses_the_token(cluster: ClusterOfNodes) -> None:
    with Process(_CONNECT, [cluster.address, 10.0, "0" * 64]) as process:
        line = process.hear()
    assert line.startswith(f"The cluster {cluster.address} (IMGRET_CLUSTER) can't be reached")
    assert "RAY_AUTH_TOKEN" in line
