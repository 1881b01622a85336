"""The nodes of a cluster that may work: those that compute to the last bit what this machine computes.

Belongs here: what has to be equal, asking a node, refusing it by name. Not here: the connection
(`domain.cluster.ray_cluster`), what the nodes compute.
"""

import hashlib
import logging
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import metadata
from typing import Any

from imgret_assets.domain.cluster.ray_cluster import Node, RayCluster, Resources
from imgret_assets.errors import ClusterError, ImgretError, LostWorkError, UnfitWorkerError, first_line
from imgret_assets.locations import PACKAGE

_log = logging.getLogger(__name__)

# Their versions decide what a vector or a score is, to the last bit.
_LIBRARIES = ("numpy", "numba", "pillow", "imagecodecs", "pi-heif", "rawpy", "tifffile", "openvino", "torch", "timm")
# Nodes that join are seen after so many seconds.
LOOK_EVERY_S = 1.0
# A cluster without a node that may work is given up after so many seconds: one may be starting.
NO_NODE_TIMEOUT_S = 60.0

Check = Callable[..., None]


@cache
def versions() -> Mapping[str, str]:
    """Return what has to be equal on all machines: versions, and a hash of imgret's own source."""
    source = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        source.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode() + file.read_bytes())
    return {
        "imgret": source.hexdigest()[:12],
        "Python": ".".join(platform.python_version_tuple()[:2]),
        **{name: _version(name) for name in _LIBRARIES},
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def require_versions(expected: Mapping[str, str]) -> None:
    """Raise an error if this process has other versions than the driver.

    Raises:
        UnfitWorkerError: it names what differs.
    """
    found = versions()
    different = [f"{name} {found[name]}, not {value}" for name, value in expected.items() if found[name] != value]
    if different:
        raise UnfitWorkerError("it has " + "; ".join(different))


def _make_probe() -> Callable[..., str]:
    # A function within a function is sent whole: it runs, and can say what is missing, where imgret is not installed.
    def probe(check_module: str, check_name: str, expected: Any, arguments: tuple[Any, ...]) -> str:
        import importlib

        try:
            from imgret_assets.domain.cluster.workers import require_versions as compare
            from imgret_assets.errors import ImgretError as NamedError
        except ImportError as error:
            return f"imgret can't be imported there ({error})"
        try:
            compare(expected)
            getattr(importlib.import_module(check_module), check_name)(*arguments)
        except NamedError as error:
            return error.found
        return ""

    return probe


class Workers:
    """The nodes that may work, with those that join later.

    Args:
        cluster: the cluster.
        check: raises an `UnfitWorkerError` on a node that can't do the work; a function of a module.
        arguments: of `check`.
        needs: what a node must have for a single task; a node with less would let it wait for ever.
    """

    def __init__(
        self,
        cluster: RayCluster,
        check: Check,
        *arguments: Any,
        needs: Resources = Resources(),  # noqa: B008 - it can't be changed
    ) -> None:
        self._cluster = cluster
        self._needs = needs
        self._probe = _make_probe()
        self._arguments = (check.__module__, check.__name__, dict(versions()), arguments)
        self._asked: dict[Any, Node] = {}
        self._fit: set[str] = set()
        self._refused: dict[str, str] = {}
        self._nodes: list[Node] = []
        self._looked_at = float("-inf")
        self._last_fit_at = time.monotonic()

    def fit(self) -> list[Node]:
        """Return the nodes that are alive and may work, by name; nodes that have joined are asked meanwhile.

        Raises:
            ClusterError: there was none for a minute, or all are refused.
        """
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._look()
        for reference in self._cluster.first_done(self._asked, 0.0) if self._asked else ():
            self._add(self._asked.pop(reference), reference)
        fit = [node for node in self._nodes if node.id in self._fit]
        if fit:
            self._last_fit_at = time.monotonic()
        # After a loss of the last one, another may join.
        elif (self._refused and not self._asked and not self._fit) or self._waited_s() > NO_NODE_TIMEOUT_S:
            raise self._no_node()
        return fit

    def _waited_s(self) -> float:
        return time.monotonic() - self._last_fit_at

    def refuse(self, node: Node, reason: str) -> None:
        """Give a node no more work."""
        self._fit.discard(node.id)
        if node.id not in self._refused:
            self._refused[node.id] = f"{node.name}: {reason.rstrip('.')}"
            _log.warning("The node %s gets no work: %s.", node.name, reason.rstrip("."))

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        self._nodes = sorted(self._cluster.nodes(), key=lambda node: node.id)
        known = {*self._fit, *self._refused, *(node.id for node in self._asked.values())}
        for node in self._nodes:
            if node.id in known:
                continue
            if lack := node.lack_of(self._needs):
                self.refuse(node, lack)
                continue
            # Without a CPU: others may hold all of them for hours.
            reference = self._cluster.submit(
                self._probe, *self._arguments, node=node.id, only_there=True, takes=Resources(cpus=0)
            )
            self._asked[reference] = node

    def _add(self, node: Node, reference: Any) -> None:
        try:
            problem = self._cluster.result(reference)
        except LostWorkError:
            # It has died; if it has not, it is asked again.
            return
        except Exception as error:
            problem = error.found if isinstance(error, ImgretError) else f"{type(error).__name__}: {first_line(error)}"
        if problem:
            self.refuse(node, problem)
        else:
            self._fit.add(node.id)

    def _no_node(self) -> ClusterError:
        silent = [f"{node.name}: it has not answered" for node in self._asked.values()]
        reasons: Iterable[str] = sorted([*self._refused.values(), *silent]) or ["there is no node with a CPU"]
        return ClusterError(
            f"No node of the cluster {self._cluster.address} (IMGRET_CLUSTER) can work. " + ". ".join(reasons),
            expected="nodes with the same installation as this machine, that see the same folders",
            remedy="install the same versions there, mount the folders, or unset IMGRET_CLUSTER",
        )
