"""Other Python processes under a test's control: each says when it is ready and goes on when it is told.

Belongs here: starting, talking to and ending them. Not here: what they do.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from imgret_assets.locations import PROJECT

# `say` answers the test, `wait` blocks until it says `go`, or ends (then the pipe is closed).
_PRELUDE = """
import sys
def say(text): print(text, flush=True)
def wait(): sys.stdin.readline()
"""


class Process:
    """A Python process that runs `code` with `say(text)`, `wait()` and its arguments in `sys.argv[1:]`."""

    def __init__(self, code: str, arguments: Sequence[object] = ()) -> None:
        command = [sys.executable, "-c", _PRELUDE + code, *map(str, arguments)]
        self.popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT
        )

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def hear(self) -> str:
        """The next line it says; fails with its complaints where it has ended."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            assert self.popen.stderr is not None
            raise AssertionError(f"the process ended: {self.popen.stderr.read()}")
        return line.rstrip("\n")

    def go(self) -> None:
        """Let it go on."""
        assert self.popen.stdin is not None
        self.popen.stdin.write("go\n")
        self.popen.stdin.flush()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.popen.kill()
        self.popen.communicate()


@contextmanager
def processes(count: int, code: str, arguments: Sequence[object] = ()) -> Iterator[list[Process]]:
    """Several of the same, ended when the block ends."""
    started = [Process(code, arguments) for _ in range(count)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
