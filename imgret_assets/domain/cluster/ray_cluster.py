"""The connection to a Ray cluster: the only module that imports ray, and only when it connects.

Belongs here: connecting within a time limit, tasks and actors on named nodes, results and losses. Not here: which nodes
may work (`domain.cluster.workers`), the order of work (`domain.cluster.tiles`), the work itself.
"""

import importlib.util
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.errors import ClusterError, LostWorkError, SettingError, first_line
from imgret_assets.locations import install_command

LOCAL = "local"
CONNECT_TIMEOUT_S = 25.0
# A port that answers at all does so at once.
_PORT_TIMEOUT_S = 4.0
# A piece that ends its worker would otherwise be tried for ever.
MAX_RETRIES = 8


@dataclass(frozen=True)
class Resources:
    """What a task or a process takes of its node, and keeps from others, as long as it runs.

    Attributes:
        cpus: number of CPUs.
        gpus: number of GPUs; below 1 a part of one, above it whole ones.
        memory_bytes: bytes of memory outside the object store.
    """

    cpus: int = 1
    gpus: float = 0.0
    memory_bytes: int = 0

    def options(self) -> dict[str, Any]:
        """Return the options of a task or an actor of ray."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory": self.memory_bytes or None}


@dataclass(frozen=True)
class Node:
    """A node of the cluster.

    Attributes:
        id: its id in the cluster.
        host: its host name.
        cpus: number of its CPUs.
        store_bytes: bytes of its object store.
        gpus: number of its GPUs.
        memory_bytes: bytes of memory that it has for tasks, outside the object store.
    """

    id: str
    host: str
    cpus: int
    store_bytes: int
    gpus: float = 0.0
    memory_bytes: int = 0

    @property
    def name(self) -> str:
        """Its host name and id, for messages."""
        return f"{self.host} ({self.id[:8]})"

    def lack_of(self, needed: Resources) -> str:
        """Return why a task can never run on this node, or nothing."""
        if needed.gpus > self.gpus:
            return f"it has {self.gpus:g} GPUs, and {needed.gpus:g} are needed"
        if needed.memory_bytes > self.memory_bytes:
            found, wanted = (number / 2**30 for number in (self.memory_bytes, needed.memory_bytes))
            return f"it has {found:.1f} GB of memory for tasks, and each needs {wanted:.1f} GB"
        return ""


class RayCluster:
    """A connection to a cluster. What it hands out, references and actors, is opaque to its users.

    Args:
        address: what was connected to.
    """

    def __init__(self, address: str) -> None:
        import ray

        self.address = address
        self._ray: Any = ray
        self._remote: dict[Callable[..., Any], Any] = {}

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive and have CPUs."""
        with self._reachable():
            listed = self._ray.nodes()
        return [
            Node(
                each["NodeID"],
                each["NodeManagerHostname"],
                int(each["Resources"]["CPU"]),
                int(each["Resources"].get("object_store_memory", 0)),
                each["Resources"].get("GPU", 0.0),
                int(each["Resources"].get("memory", 0)),
            )
            for each in listed
            if each["Alive"] and each["Resources"].get("CPU", 0) >= 1
        ]

    def free(self) -> Mapping[str, Resources]:
        """Return what no task and no process of any driver holds now, by the id of the node."""
        from ray._private.state import available_resources_per_node

        with self._reachable():
            available = available_resources_per_node()
        return {
            node: Resources(int(free.get("CPU", 0)), free.get("GPU", 0.0), int(free.get("memory", 0)))
            for node, free in available.items()
        }

    def put(self, value: Any) -> Any:
        """Store a value for tasks; return a reference. This process owns it."""
        with self._reachable():
            return self._ray.put(value)

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        node: str,
        only_there: bool = False,
        takes: Resources = Resources(),
    ) -> Any:
        """Start a task; return a reference to its result, which this process owns.

        A result that is lost with its node is computed again, and so is what it was computed from.

        Args:
            function: a function of a module; it is imported by its name where it runs.
            arguments: values, or references in place of values.
            node: id of the node that should run it.
            only_there: lose the task rather than run it on another node.
            takes: what it takes of the node; by default one CPU.
        """
        if function not in self._remote:
            self._remote[function] = self._ray.remote(function)
        where = self._on(node, soft=not only_there)
        task = self._remote[function].options(max_retries=MAX_RETRIES, scheduling_strategy=where, **takes.options())
        with self._reachable():
            return task.remote(*arguments)

    def start_actor(self, kind: type, *arguments: Any, node: Node, takes: Resources) -> Any:
        """Start an object of a class in a process of its own on a node, as soon as the node has what it takes."""
        options = {"max_restarts": 0, "scheduling_strategy": self._on(node.id, soft=False), **takes.options()}
        with self._reachable():
            return self._ray.remote(kind).options(**options).remote(*arguments)

    def call(self, actor: Any, method: str, *arguments: Any) -> Any:
        """Call a method of an actor; return a reference to its result."""
        with self._reachable():
            return getattr(actor, method).remote(*arguments)

    def stop(self, actor: Any) -> None:
        """End the process of an actor, unless it has ended."""
        from ray.exceptions import RayError

        with suppress(RayError, OSError):
            self._ray.kill(actor)

    def first_done(self, references: Collection[Any], timeout_s: float) -> Sequence[Any]:
        """Return those of the references whose tasks have ended, after the first one has or the time is over."""
        with self._reachable():
            done, _ = self._ray.wait(list(references), num_returns=1, timeout=timeout_s)
            more, _ = self._ray.wait(list(references), num_returns=len(references), timeout=0)
        return list({*done, *more})

    def pause(self, seconds: float) -> None:
        """Wait, as for a node that is about to join."""
        time.sleep(seconds)

    def result(self, reference: Any) -> Any:
        """Return the result of a task that has ended.

        Raises:
            LostWorkError: its process or node died too often, or an actor did once.
            ClusterError: the node of this process, or the head, has died.
            Exception: what the function raised, itself.
        """
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(reference)
        except RayTaskError as error:
            # A task whose argument was lost fails with that loss as its cause.
            if isinstance(error.cause, RayError):
                raise LostWorkError(first_line(error.cause)) from error
            raise error.cause from error
        except RayError as error:
            raise LostWorkError(first_line(error)) from error
        except OSError as error:
            raise self._gone(error) from error

    def cancel(self, references: Collection[Any]) -> None:
        """End tasks that run or wait, wherever they are. Calls of actors are not ended: `stop` does that."""
        from ray.exceptions import RayError

        for reference in references:
            try:
                self._ray.cancel(reference, force=True)
            except (RayError, ValueError, OSError):
                continue

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """Name the error of a connection to a node that has died."""
        try:
            yield
        except OSError as error:
            raise self._gone(error) from error

    def _gone(self, error: OSError) -> ClusterError:
        return ClusterError(
            f"The cluster {self.address} (IMGRET_CLUSTER) has gone: {error.strerror or error}",
            expected="its head, and the node of this process, alive until the end of the run",
            remedy="start the cluster, and run again: it goes on from what is in the files",
        )

    def _on(self, node: str, *, soft: bool) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=soft)


_connected: RayCluster | None = None
_lock = threading.Lock()


def connect(address: str | None, *, timeout_s: float = CONNECT_TIMEOUT_S) -> RayCluster | None:
    """Return the connection of this process to a cluster; connect if there is none yet.

    Args:
        address: value of IMGRET_CLUSTER: `host:port`, `auto`, or `local` for a cluster of this machine alone, which
            ends with this process; None for no cluster.
        timeout_s: seconds after which a cluster counts as unreachable.

    Raises:
        ClusterError: ray is not installed, the cluster can't be reached, or refuses the token.
        SettingError: the address is of a kind that can't be used.
    """
    global _connected
    if address is None:
        return None
    with _lock:
        if _connected is None or _connected.address != address:
            disconnect()
            _check_address(address)
            _init_within(address, timeout_s)
            _connected = RayCluster(address)
        return _connected


def disconnect() -> None:
    """Close the connection of this process, if there is one; a `local` cluster ends."""
    global _connected
    if _connected is not None:
        import ray

        _connected = None
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse what can't work before ray is loaded."""
    if "://" in address:
        raise SettingError(
            f"IMGRET_CLUSTER is {address!r}",
            expected="host:port of the cluster's head, auto, or local",
            remedy="run imgret on a node of the cluster: a client from outside loses its work with its connection",
        )
    if importlib.util.find_spec("ray") is None:
        raise ClusterError(
            f"IMGRET_CLUSTER is {address!r}, and ray is not installed",
            remedy=f"`{install_command('ray')}`, in the version of the cluster, or unset IMGRET_CLUSTER",
        )
    host, _, port = address.rpartition(":")
    if address in (LOCAL, "auto"):
        return
    if not host or not port.isdigit():
        raise SettingError(f"IMGRET_CLUSTER is {address!r}", expected="host:port of the cluster's head, auto, or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PORT_TIMEOUT_S).close()
    except OSError as error:
        raise _unreachable(address, error.strerror or str(error)) from error


def _init_within(address: str, timeout_s: float) -> None:
    """Connect; to another machine in a thread of its own: ray tries for minutes, and can't be told not to."""
    # Read by ray when it is loaded. The owner of a task counts its retries: without this, a task that needs too much
    # memory is killed and tried again for ever.
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {"num_cpus": usable_threads(), "include_dashboard": False}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Otherwise ray writes a token into the folder of the user.
        if "RAY_AUTH_MODE" not in os.environ:
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    errors: list[Exception] = []

    def init() -> None:
        import ray

        try:
            ray.init(**options)
        except Exception as error:  # noqa: BLE001, RUF100 - raised again below
            errors.append(error)

    if address == LOCAL:
        # The processes that it starts end with the thread that has started them.
        init()
    else:
        thread = threading.Thread(target=init, name="imgret-connect", daemon=True)
        thread.start()
        thread.join(timeout_s)
        if thread.is_alive():
            raise _unreachable(address, f"no answer within {timeout_s:.0f} s")
    if errors:
        raise _unreachable(address, first_line(errors[0])) from errors[0]


def _unreachable(address: str, reason: str) -> ClusterError:
    return ClusterError(
        f"The cluster {address} (IMGRET_CLUSTER) can't be reached: {reason}",
        expected="a Ray cluster of this version of ray, of which this machine is a node",
        remedy="check with `ray status` on this machine, set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH if the cluster asks "
        "for a token, or unset IMGRET_CLUSTER to work on this machine alone",
    )
