"""A refresh in a process of its own that can stop at a named point and wait to be killed.

It is what `imgret run` does, or the same functions in the same order without Dagster, which takes most of a small run's
time and has no part in what a killed write leaves behind.

Belongs here: what the other process executes, and starting it. Not here: which points, and what must be true afterwards
(`test_kill.py`).

The processes are forked from one that has imported everything, so that each starts at once.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import openTSNE  # noqa: F401 - takes seconds, once for all processes

from imgret_assets.defs import execute_refresh
from imgret_assets.domain.duplicates import hash_kernels as _hashes  # noqa: F401 - for the same reason
from imgret_assets.domain.embeddings import embeddings_table
from imgret_assets.domain.graph import graph_state, image_nodes, node_groups, relationship_sync, similar_to
from imgret_assets.domain.similarity.cascade import kernels as _cascade  # noqa: F401 - for the same reason
from imgret_assets.settings import load_settings
from imgret_tests.support.fake_model import fake_embedder
from imgret_tests.support.fakes import FakeEmbedderResource
from imgret_tests.support.graph_fixtures import refresh_all

ANSWERS_WITHIN_S = 120.0
# Audit events of the interpreter that change files, take locks, or write elsewhere.
FILE_EVENTS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.utime", "os.link"}
) | {"fcntl.flock", "sqlite3.connect", "shutil.rmtree", "shutil.copyfile", "socket.connect"}


@dataclass(frozen=True)
class Point:
    """A place in the code: the `nth` call of a function, counting those whose arguments print with `says`."""

    function: str
    nth: int = 1
    says: str = ""


class RefreshProcess:
    """A started refresh; what it does is asked over a pipe."""

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        model: str = "fake",
        stop_at: Point | None = None,
        lasting: bool = False,
        die_at_event: int | None = None,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_refresh, args=(theirs, dict(env), model, stop_at, lasting, die_at_event), daemon=True
        )
        self.process.start()
        theirs.close()
        self.expect("ready")

    def go(self) -> None:
        """Let it begin."""
        self.pipe.send("go")

    def expect(self, what: str) -> Any:
        """Wait until it says that, with what it has to say about it.

        Raises:
            AssertionError: it says something else, ends, or is silent for too long.
        """
        assert self.pipe.poll(ANSWERS_WITHIN_S), f"silent while {what!r} was waited for"
        try:
            said, value = self.pipe.recv()
        except EOFError:
            self.process.join(10)
            raise AssertionError(f"ended with {self.process.exitcode} before {what!r}") from None
        assert said == what, (said, value)
        return value

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.join(10)
        assert self.process.exitcode == -9


def _refresh(
    pipe: Connection,
    env: dict[str, str],
    model: str,
    stop_at: Point | None,
    lasting: bool,
    die_at_event: int | None,
) -> None:
    """The other process: refresh as the environment says, telling through the pipe how far it is.

    Args:
        pipe: to the test.
        env: replaces everything imgret reads.
        model: name of the fake model.
        stop_at: where to stop for good; nowhere where None.
        lasting: as `imgret run` does it, with Dagster's records in the home; else by the functions alone.
        die_at_event: kill itself, as `kill -9` does, at this event of the file system (`FILE_EVENTS`), from 1. With any
            number it tells after its end how many there were.
    """
    for name in [name for name in os.environ if name.startswith(("IMGRET_", "NEO4J_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ.update({"IMGRET_ENV_FILE": os.devnull, **env})
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - Dagster's log, for as long as the process lives
    setattr(execute_refresh, "EmbedderResource", lambda **_: FakeEmbedderResource(name=model))  # noqa: B010
    # Small steps, so that there is something before and after each.
    (
        embeddings_table.CHECKPOINT_IMAGES,
        image_nodes.NODE_ROWS,
        similar_to.RELATIONSHIP_ROWS,
        graph_state.DELETED_ROWS,
    ) = 8, 5, 20, 20
    relationship_sync.ROWS, node_groups.GROUP_ROWS = 1, 5
    if stop_at is not None:
        _stop(stop_at, lambda: pipe.send(("stopped", None)))
    pipe.send(("ready", None))
    pipe.recv()
    events = None if die_at_event is None else _die_at(die_at_event)
    try:
        settings = load_settings()
        if lasting:
            done = execute_refresh.refresh(settings).totals.as_json()
        else:
            done = refresh_all(settings, fake_embedder(model))
    except Exception as error:
        pipe.send(("failed", f"{type(error).__name__}: {error}"))
    else:
        pipe.send(("done", done))
    if events is not None:
        pipe.send(("events", events()))


def _die_at(number: int) -> Callable[[], int]:
    """Kill this process at that event of the file system; return a function that returns how many there were."""
    counting = threading.Lock()
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in FILE_EVENTS and not (event == "open" and arguments[1] in ("r", "rb")):
            with counting:
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: count


def _stop(point: Point, tell: Callable[[], None]) -> None:
    """Replace the function at the point by one that, at the nth fitting call, tells and never returns."""
    module_name, _, path = point.function.partition(":")
    owner: Any = importlib.import_module(module_name)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    function = getattr(owner, name)
    counting = threading.Lock()
    calls = 0

    def stopping(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        if point.says in repr(arguments):
            with counting:
                calls += 1
                here = calls == point.nth
            if here:
                tell()
                threading.Event().wait()
        return function(*arguments, **named)

    setattr(owner, name, stopping)
