"""One Ray cluster on this machine for all tests of this folder: a head without CPUs, and two nodes of one CPU.

Belongs here: starting and ending it for certain. Not here: what runs on it. Without the extra `ray` the tests are
skipped; where IMGRET_TEST_REQUIRE_RAY is set, that is an error.
"""

import importlib.util
import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from imgret_assets.domain.cluster import ray_cluster

STORE_BYTES = 120 << 20
# Health checks notice a dead node within about a second.
_FAST = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_failure_threshold": 3,
    "health_check_timeout_ms": 500,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark and, without the extra, skip the tests of this folder."""
    missing = importlib.util.find_spec("ray") is None
    if missing and os.environ.get("IMGRET_TEST_REQUIRE_RAY"):
        raise pytest.UsageError("IMGRET_TEST_REQUIRE_RAY is set, and ray is not installed")
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):  # noqa: PTH120
            item.add_marker(pytest.mark.ray)
            if missing:
                item.add_marker(pytest.mark.skip(reason="ray is not installed: pip install 'imgret[ray]'"))


class ClusterOfNodes:
    """A cluster of several nodes on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "object_store_memory": STORE_BYTES,
                "include_dashboard": False,
                "_system_config": _FAST,
            },
        )
        self.nodes: list[Any] = [self.add_node(), self.add_node()]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add_node(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)

    def kill_node(self) -> None:
        """End one of the nodes as `kill -9` of its raylet does."""
        node = self.nodes.pop()
        self._cluster.remove_node(node, allow_graceful=False)

    def replace_node(self) -> None:
        """Kill a node, and let a fresh one join."""
        self.kill_node()
        self.nodes.append(self.add_node())

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="session")
def cluster() -> Iterator[ClusterOfNodes]:
    """A cluster, with a token of its own, to which nobody is connected yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = ClusterOfNodes()
        try:
            yield cluster
        finally:
            ray_cluster.disconnect()
            cluster.shutdown()
