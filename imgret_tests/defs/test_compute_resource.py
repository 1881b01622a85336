"""The compute resource: a cluster that is away fails a run before its first step."""

import dagster as dg
import pytest

from imgret_assets.defs.resources.compute import ComputeResource
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import SettingError
from imgret_assets.settings import Settings
from imgret_tests.support.chain import Chain
from imgret_tests.support.tree import put_pictures

OUTSIDE = "ray://head:10001"


class ClusterChain(Chain):
    """A chain that is told to use a cluster that can't be used."""

    @property
    def resources(self) -> dict[str, object]:
        return {**super().resources, "compute": ComputeResource(cluster=OUTSIDE)}


def test_without_the_setting_there_is_no_cluster() -> None:
    assert ComputeResource().connect() is None


def test_the_setting_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGRET_CLUSTER", OUTSIDE)
    with pytest.raises(SettingError, match="run imgret on a node of the cluster"):
        ComputeResource().connect()


def test_a_run_that_needs_the_cluster_writes_nothing_without_it(settings: Settings, home: Home) -> None:
    put_pictures(home.images.folder, range(3))
    with pytest.raises((SettingError, dg.DagsterResourceFunctionError)):
        ClusterChain(settings).run(assets=["raw_images", "embeddings"])
    assert not list(home.warehouse.rglob("*.parquet"))
