"""Addresses that can't be connected to; connections are tested in `imgret_tests/cluster`."""

import importlib.util
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from imgret_assets import locations
from imgret_assets.domain.cluster.ray_cluster import RayCluster, connect
from imgret_assets.errors import ClusterError, SettingError


def test_no_address_is_no_cluster() -> None:
    assert connect(None) is None


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", ":6379", "head:port"])
def test_an_address_of_another_kind_is_a_setting_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    with pytest.raises(SettingError, match=r"host:port of the cluster's head, auto, or local"):
        connect(address)


def test_without_the_extra_its_name_is_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ClusterError, match=rf"ray is not installed.*{re.escape(locations.install_command('ray'))}"):
        connect("local")


def test_outside_a_checkout_the_extra_is_installed_with_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(locations, "PROJECT", tmp_path)
    with pytest.raises(ClusterError, match=r"`pip install 'imgret\[ray\]'`, in the version of the cluster"):
        connect("local")


def test_a_port_where_nothing_listens_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    with socket.socket() as taken:
        # Bound but not listening: nobody else takes the port meanwhile.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=rf"The cluster 127\.0\.0\.1:{port} \(IMGRET_CLUSTER\) can't be reached"):
            connect(f"127.0.0.1:{port}")


class RayWithoutHead(ModuleType):
    """What ray does in a process whose node has died."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def broken(*_: Any, **__: Any) -> Any:
            raise BrokenPipeError(32, "Broken pipe")

        return broken


@pytest.mark.parametrize(
    "use",
    [lambda cluster: cluster.nodes(), lambda cluster: cluster.put(1), lambda cluster: cluster.first_done([1], 0.1)],
)
def test_a_cluster_that_has_died_is_named(use: Callable[[RayCluster], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", RayWithoutHead("ray"))
    with pytest.raises(ClusterError, match=r"The cluster head:6379 \(IMGRET_CLUSTER\) has gone: Broken pipe"):
        use(RayCluster("head:6379"))
