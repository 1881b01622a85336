"""Which nodes of a cluster may work."""

import logging

import pytest

from imgret_assets.domain.cluster import workers
from imgret_assets.domain.cluster.ray_cluster import Resources
from imgret_assets.domain.cluster.workers import Workers, require_versions, versions
from imgret_assets.errors import ClusterError, UnfitWorkerError
from imgret_tests.support.fake_cluster import FakeCluster, Reference


def accept(_: str) -> None:
    """Find nothing wrong."""


def refuse_missing(folder: str) -> None:
    raise UnfitWorkerError(f"it does not see {folder}")


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LOOK_EVERY_S", 0.0)


def names(found: Workers) -> list[str]:
    return [node.name for node in found.fit()]


def test_a_node_works_once_it_has_answered_and_one_that_joins_later_too() -> None:
    cluster = FakeCluster({"a": 1})
    found = Workers(cluster, accept, "/home")
    assert names(found) == ["host (a)"]
    cluster.cpus = {"b": 2, "a": 1}
    while len(names(found)) < 2:
        pass
    assert names(found) == ["host (a)", "host (b)"]
    assert [reference.node for reference in cluster.sent] == ["a", "b"]
    cluster.cpus = {"b": 2}
    assert names(found) == ["host (b)"]


def test_a_node_that_lacks_something_is_refused_by_name(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ClusterError, match=r"host \(a\): it does not see /srv/home\."),
    ):
        names(Workers(FakeCluster({"a": 1}), refuse_missing, "/srv/home"))
    assert "The node host (a) gets no work: it does not see /srv/home." in caplog.text


def test_a_node_that_dies_while_it_is_asked_is_asked_again() -> None:
    cluster = FakeCluster({"a": 1})
    lost: list[Reference] = []

    def loses_first(reference: Reference) -> bool:
        lost.append(reference)
        return len(lost) == 1

    cluster.loses = loses_first
    found = Workers(cluster, accept, "/home")
    assert names(found) == []
    assert names(found) == ["host (a)"]


def test_a_cluster_without_nodes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Workers(FakeCluster({}), accept, "/home")
    assert names(found) == []
    monkeypatch.setattr(workers, "NO_NODE_TIMEOUT_S", -1.0)
    with pytest.raises(ClusterError, match="there is no node with a CPU"):
        names(found)


def test_other_versions_are_named() -> None:
    require_versions(versions())
    with pytest.raises(UnfitWorkerError, match=rf"it has numpy {versions()['numpy']}, not 1\.0"):
        require_versions({**versions(), "numpy": "1.0"})


def test_after_the_last_fit_node_has_died_another_may_join() -> None:
    cluster = FakeCluster({"a": 1})
    found = Workers(cluster, accept, "/home")
    (node,) = found.fit()
    found.refuse(cluster.nodes()[0], "its processes ended")
    with pytest.raises(ClusterError, match="its processes ended"):
        found.fit()
    assert node.id == "a"
    cluster = FakeCluster({"a": 1, "b": 1})
    found = Workers(cluster, accept, "/home")
    while len(found.fit()) < 2:
        pass
    found.refuse(cluster.nodes()[0], "its processes ended")
    cluster.cpus = {"a": 1}
    assert names(found) == []
    cluster.cpus = {"a": 1, "c": 1}
    while not found.fit():
        pass
    assert names(found) == ["host (c)"]


def test_a_node_that_is_too_small_for_one_task_is_refused_by_name_and_not_waited_for() -> None:
    cluster = FakeCluster({"a": 1})
    cluster.memory_bytes = 1 << 28
    found = Workers(cluster, accept, "/home", needs=Resources(memory_bytes=3 << 28))
    with pytest.raises(ClusterError, match=r"host \(a\): it has 0\.2 GB of memory for tasks, and each needs 0\.8 GB\."):
        found.fit()
    assert cluster.sent == []


def test_a_node_whose_cpus_others_hold_is_asked_all_the_same() -> None:
    cluster = FakeCluster({"a": 1})
    assert names(Workers(cluster, accept, "/home", needs=Resources(cpus=1))) == ["host (a)"]
    assert [reference.takes for reference in cluster.sent] == [Resources(cpus=0)]
