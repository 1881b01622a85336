"""How long a run waits where nothing happens on the cluster."""

import logging

import pytest

from imgret_assets.domain.cluster import patience
from imgret_assets.domain.cluster.patience import Patience
from imgret_assets.domain.cluster.ray_cluster import Resources
from imgret_assets.errors import ClusterError
from imgret_tests.support.fake_cluster import FakeCluster


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster({"a": 2})
    cluster.memory_bytes = 4 << 30
    cluster.held = {"a": Resources(cpus=2, memory_bytes=1 << 30)}
    return cluster


def test_what_is_waited_for_is_logged_once(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = Patience(cluster)
    with caplog.at_level(logging.WARNING):
        waiting.check()
        assert caplog.messages == []
        monkeypatch.setattr(patience, "WARN_AFTER_S", -1.0)
        waiting.check()
        waiting.check()
        assert len(caplog.messages) == 1
        assert caplog.messages[0].endswith("free are 0 of 2 CPUs and 3.0 of 4.0 GB of host (a).")
        waiting.renew()
        waiting.check()
    assert len(caplog.messages) == 2


def test_in_the_end_it_is_an_error_that_says_what_is_free(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = Patience(cluster)
    monkeypatch.setattr(patience, "GIVE_UP_AFTER_S", -1.0)
    with pytest.raises(ClusterError, match=r"Nothing has come back from the cluster fake .* free are 0 of 2 CPUs"):
        waiting.check()
