"""A Ray cluster on this machine, for tests and benchmarks: a head without CPUs, and two nodes of one CPU.

Belongs here: starting it with a token of its own, ending its nodes, ending it for certain. Not here: what runs on it.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from imgret_assets.domain.cluster import ray_cluster

# Health checks notice a dead node within about a second; by default the cluster waits longer.
_FAST_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_failure_threshold": 3,
    "health_check_timeout_ms": 500,
}


class ClusterOfNodes:
    """A cluster of several nodes on this machine.

    Args:
        store_bytes: of the object store of each node.
    """

    def __init__(self, store_bytes: int) -> None:
        from ray.cluster_utils import Cluster

        self._store_bytes = store_bytes
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "object_store_memory": min(store_bytes, 120 << 20),
                "include_dashboard": False,
                "_system_config": _FAST_CHECKS,
            },
        )
        self.nodes: list[Any] = [self.add_node(), self.add_node()]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add_node(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=self._store_bytes)

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


@contextmanager
def running_nodes(store_bytes: int) -> Iterator[ClusterOfNodes]:
    """Run a cluster, with a token in the environment of this process, to which nobody is connected yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = ClusterOfNodes(store_bytes)
        try:
            yield cluster
        finally:
            ray_cluster.disconnect()
            cluster.shutdown()
