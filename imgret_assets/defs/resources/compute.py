"""The resource that says where vectors are computed and compared: on this machine, or on a cluster.

Belongs here: configuration, connecting before a run's first step. Not here: the connection
(`domain.cluster.ray_cluster`), what runs on a cluster.
"""

import dagster as dg
from pydantic import Field

from imgret_assets.defs.environment import started_environment
from imgret_assets.domain.cluster.ray_cluster import RayCluster, connect
from imgret_assets.settings import load_settings


class ComputeResource(dg.ConfigurableResource):
    """Where images are embedded and vectors compared; the results are the same everywhere."""

    cluster: str | None = Field(
        default=None,
        description="Ray cluster: host:port, auto, or local. If empty: IMGRET_CLUSTER, else this machine alone.",
    )

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Connect, so that a cluster that can't be reached fails the run before it writes anything.

        Raises:
            ClusterError: the cluster can't be reached.
        """
        self.connect()

    def connect(self) -> RayCluster | None:
        """Return the connection of this process to the cluster; None where this machine works alone.

        Raises:
            ClusterError: the cluster can't be reached.
        """
        return connect(load_settings({"cluster": self.cluster}, env=started_environment()).cluster)
