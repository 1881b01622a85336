"""A Ray cluster on this machine, for tests and benchmarks: a head without CPUs, and two nodes of one CPU.

Belongs here: starting it with a token of its own, ending its nodes, ending it for certain. Not here: what runs on it.
"""

import os
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
        nodes: how many beside the head.
        head_timeout_s: seconds without a head after which nodes and drivers end; None for ray's own minute.
    """

    def __init__(self, store_bytes: int, nodes: int = 2, head_timeout_s: int | None = None) -> None:
        from ray.cluster_utils import Cluster

        self._store_bytes = store_bytes
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "object_store_memory": min(store_bytes, 120 << 20),
                "include_dashboard": False,
                "_system_config": _FAST_CHECKS
                | ({} if head_timeout_s is None else {"gcs_rpc_server_reconnect_timeout_s": head_timeout_s}),
            },
        )
        self.nodes: list[Any] = [self.add_node() for _ in range(nodes)]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add_node(self, gpus: int = 0) -> Any:
        return self._cluster.add_node(num_cpus=1, num_gpus=gpus, object_store_memory=self._store_bytes)

    @contextmanager
    def node_with_gpu(self) -> Iterator[str]:
        """Add a node that says it has a GPU, for a while; yield its id."""
        node = self.add_node(gpus=1)
        try:
            yield node.node_id
        finally:
            self._cluster.remove_node(node, allow_graceful=False)

    def kill_node(self) -> None:
        """End one of the nodes as `kill -9` of its raylet does."""
        node = self.nodes.pop()
        self._cluster.remove_node(node, allow_graceful=False)

    def kill_head(self) -> None:
        """End the head as the loss of its machine does."""
        self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)

    def replace_node(self) -> None:
        """Kill a node, and let a fresh one join."""
        self.kill_node()
        self.nodes.append(self.add_node())

    def shutdown(self) -> None:
        self._cluster.shutdown()


@contextmanager
def running_nodes(store_bytes: int, nodes: int = 2, head_timeout_s: int | None = None) -> Iterator[ClusterOfNodes]:
    """Run a cluster, with a token in the environment of this process, to which nobody is connected yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = ClusterOfNodes(store_bytes, nodes, head_timeout_s)
        try:
            yield cluster
        finally:
            ray_cluster.disconnect()
            cluster.shutdown()
