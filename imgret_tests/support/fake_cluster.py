"""A cluster in this process: tasks run when somebody waits for them, and can be lost."""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from imgret_assets.domain.cluster.ray_cluster import Node, RayCluster, Resources
from imgret_assets.errors import LostWorkError


class Reference:
    """A reference to a result.

    Attributes:
        node: id of the node that was asked for.
        name: name of the function.
        takes: what it takes of the node.
    """

    def __init__(
        self, node: str, function: Callable[..., Any], arguments: Sequence[Any], takes: Resources | None = None
    ) -> None:
        self.node, self.name, self.takes = node, getattr(function, "__name__", ""), takes
        self._function, self._arguments = function, arguments
        self._result: Any = None
        self._error: Exception | None = None
        self.done = False

    def run(self) -> None:
        if self.done:
            return
        self.done = True
        try:
            self._result = self._function(
                *(each.get() if isinstance(each, Reference) else each for each in self._arguments)
            )
        except Exception as error:
            self._error = error

    def lose(self) -> None:
        self.done, self._error = True, LostWorkError("The node died")

    def get(self) -> Any:
        self.run()
        if self._error is not None:
            raise self._error
        return self._result


class FakeCluster(RayCluster):
    """What the code under test uses of a `RayCluster`.

    Args:
        cpus: number of CPUs of each node, by id.

    Attributes:
        gpus: number of GPUs of nodes that have some, by id.
        memory_bytes: of each node.
        held: what others hold of a node, by id.
        taken: what each started object has taken, in their order.
        sent: all references, in the order in which their tasks were sent.
        loses: returns whether the result of a task is lost.
        cancelled: references that were cancelled.
        actors: objects that were started, with the id of their node.
    """

    def __init__(self, cpus: dict[str, int]) -> None:
        self.address = "fake"
        self.cpus = cpus
        self.gpus: dict[str, float] = {}
        self.memory_bytes = 1 << 40
        self.held: dict[str, Resources] = {}
        self.taken: list[Resources] = []
        self.sent: list[Reference] = []
        self.loses: Callable[[Reference], bool] = lambda _: False
        self.cancelled: list[Reference] = []
        self.actors: list[tuple[str, Any]] = []
        self.stopped: list[Any] = []
        self.paused = 0

    def nodes(self) -> list[Node]:
        return [
            Node(name, "host", cpus, 1 << 30, self.gpus.get(name, 0.0), self.memory_bytes)
            for name, cpus in self.cpus.items()
        ]

    def free(self) -> Mapping[str, Resources]:
        nothing = Resources(cpus=0)
        held = {node.id: self.held.get(node.id, nothing) for node in self.nodes()}
        return {
            node.id: Resources(
                node.cpus - held[node.id].cpus,
                node.gpus - held[node.id].gpus,
                node.memory_bytes - held[node.id].memory_bytes,
            )
            for node in self.nodes()
        }

    def put(self, value: Any) -> Any:
        return value

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        node: str,
        only_there: bool = False,
        takes: Resources = Resources(),  # noqa: B008
    ) -> Reference:
        return self._sent(Reference(node, function, arguments, takes))

    def start_actor(self, kind: type, *arguments: Any, node: Node, takes: Resources) -> Any:
        self.taken.append(takes)
        self.actors.append((node.id, kind(*arguments)))
        return self.actors[-1][1]

    def call(self, actor: Any, method: str, *arguments: Any) -> Reference:
        (node,) = [node for node, each in self.actors if each is actor]
        return self._sent(Reference(node, getattr(actor, method), arguments))

    def stop(self, actor: Any) -> None:
        self.stopped.append(actor)

    def first_done(self, references: Collection[Reference], timeout_s: float) -> Sequence[Reference]:
        waiting = deque(references)
        # The youngest first: the order of results is not that of tasks.
        reference = waiting.pop()
        if self.loses(reference):
            reference.lose()
        reference.run()
        return [reference]

    def result(self, reference: Reference) -> Any:
        return reference.get()

    def cancel(self, references: Collection[Reference]) -> None:
        self.cancelled += references

    def pause(self, seconds: float) -> None:
        self.paused += 1

    def _sent(self, reference: Reference) -> Reference:
        self.sent.append(reference)
        return reference
