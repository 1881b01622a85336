"""How long a run waits where nothing happens on the cluster, as where others hold all of its CPUs.

Belongs here: noticing it, saying it, giving up. Not here: nodes that may not work (`domain.cluster.workers`), work that
was lost (`domain.cluster.ray_cluster`).
"""

import logging
import time

from imgret_assets.domain.cluster.ray_cluster import RayCluster
from imgret_assets.errors import ClusterError

_log = logging.getLogger(__name__)

# The longest that a part of the work takes is a minute or two, on a slow node.
WARN_AFTER_S, GIVE_UP_AFTER_S = 60.0, 900.0


class Patience:
    """The time since anything has come back from the cluster.

    Args:
        cluster: the cluster.
    """

    def __init__(self, cluster: RayCluster) -> None:
        self._cluster = cluster
        self._since = time.monotonic()
        self._has_warned = False

    def renew(self) -> None:
        """Start again: something has come back."""
        self._since = time.monotonic()
        self._has_warned = False

    def check(self) -> None:
        """Log once what is waited for; after a quarter of an hour, give up.

        Raises:
            ClusterError: nothing has come back for so long; it says what is free.
        """
        waited = time.monotonic() - self._since
        if waited > GIVE_UP_AFTER_S:
            raise ClusterError(
                f"Nothing has come back from the cluster {self._cluster.address} (IMGRET_CLUSTER) for {waited:.0f} s; "
                + self._free(),
                expected="CPUs, memory and GPUs of its nodes that become free",
                remedy="`ray status` shows what holds them, such as another run; wait for its end, and run again",
            )
        if waited > WARN_AFTER_S and not self._has_warned:
            self._has_warned = True
            _log.warning("Nothing has come back from the cluster for %.0f s; %s.", waited, self._free())

    def _free(self) -> str:
        free = self._cluster.free()
        nodes = [node for node in self._cluster.nodes() if node.id in free]
        return "free are " + (
            ", ".join(
                f"{free[node.id].cpus} of {node.cpus} CPUs and {free[node.id].memory_bytes / 2**30:.1f} of "
                f"{node.memory_bytes / 2**30:.1f} GB of {node.name}"
                for node in nodes
            )
            or "no nodes"
        )
