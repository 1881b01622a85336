"""The `imgret` command without its imports: forked from a process that has made them, so that it starts at once.

Starting Python and importing Dagster, the driver and OpenVINO takes a small command most of its time. Here a small
client takes the place of the program `imgret`: it hands its arguments, folder, environment and standard streams to the
process that forks, passes signals on, and ends as the command has ended.

Belongs here: the client, the process that forks, the fixture. Not here: tests of the start itself, such as of imports
that a command must not make (`cli/test_main.py`, `cli/test_installed_wheel.py`, those of the page): they start Python.
"""

import atexit
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

import pytest

from imgret_assets.cli import main as command_line
from imgret_assets.locations import PROJECT
from imgret_tests.support.neo4j_server import clean_environment

# What `imgret run` and `imgret query` import besides the modules of the commands.
_PRELOADED = (
    *("neo4j", "openvino", "openTSNE", "matplotlib.backends.backend_agg", "matplotlib.figure"),
    *("imgret_assets.definitions", "imgret_assets.defs.execute_refresh"),
    *("imgret_assets.domain.duplicates.hash_kernels", "imgret_assets.domain.similarity.cascade.kernels"),
    *("imgret_assets.domain.inference.openvino_engine", "imgret_assets.domain.search.find_similar"),
)
_READY_WITHIN_S = 300
# A started client that is killed ends its command, as if it were the command itself.
_POLL_S = 0.02

# `-I -S`: it needs nothing but the standard library, and starts in a few hundredths of a second.
_CLIENT = """#!{python} -IS
import json, os, signal, socket, struct, sys

connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(connection, [struct.pack("!I", len(request))], [0, 1, 2])
connection.sendall(request)
answer = connection.makefile("rb")
command = int(answer.readline())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda received, _: os.kill(command, received))
code = int(answer.readline())
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@pytest.fixture(scope="session")
def imgret_program() -> Iterator[Path]:
    """The program `imgret`, alone in a folder for a PATH; where a process can't safely be forked, the installed one."""
    # A path of a socket may have a hundred characters only, and pytest's folders are longer.
    with tempfile.TemporaryDirectory(prefix="imgret-commands-", ignore_cleanup_errors=True) as folder:
        program = Path(folder) / "imgret"
        if sys.platform != "linux":
            program.symlink_to(Path(sys.executable).parent / "imgret")
            yield program
            return
        address = f"{folder}/socket"
        program.write_text(_CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
        program.chmod(0o700)
        server = subprocess.Popen(
            [sys.executable, "-m", __name__, address],
            cwd=PROJECT,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert server.stdout is not None
        try:
            readable, _, _ = select.select([server.stdout], [], [], _READY_WITHIN_S)
            assert readable
            assert server.stdout.readline() == b"ready\n", "the process that forks commands has ended"
            yield program
        finally:
            server.kill()
            server.communicate()


def serve(address: str) -> None:
    """Fork a command for each client, until killed; return in each command."""
    for module in (*(module for module, _ in command_line.COMMANDS.values()), *_PRELOADED):
        importlib.import_module(module)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        # Keepers are not waited for.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.write(1, b"ready\n")
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    _keep(connection)


def _keep(connection: socket.socket) -> None:
    """Fork the command of a client and tell it how the command ends; return in the command alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    (length,) = struct.unpack("!I", head)
    arguments, folder, environment = json.loads(connection.recv(length, socket.MSG_WAITALL))
    command = os.fork()
    if command == 0:
        connection.close()
        _become(arguments, folder, environment, streams)
        return
    # A reader of the command's output shall find its end as soon as the command has ended.
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    for stream in streams:
        os.close(stream)
    connection.sendall(b"%d\n" % command)
    while not (ended := os.waitpid(command, os.WNOHANG))[0]:
        if select.select([connection], [], [], _POLL_S)[0]:
            os.kill(command, signal.SIGKILL)
            os._exit(1)
    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(ended[1]))
    os._exit(0)


def _become(arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Make this process one that was started with these arguments in this folder, environment and streams."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = arguments
    # Those of the parent know of their files whether one can seek in them.
    sys.stdin = _reopened(sys.stdin, "r", line_buffering=False)
    sys.stdout = _reopened(sys.stdout, "w", line_buffering=os.isatty(1))
    sys.stderr = _reopened(sys.stderr, "w", line_buffering=True)


def _reopened(stream: TextIO, mode: str, *, line_buffering: bool) -> IO[Any]:
    return open(
        stream.fileno(),
        mode,
        buffering=1 if line_buffering else -1,
        encoding=stream.encoding,
        errors=stream.errors,
        closefd=False,
    )


def _run() -> None:
    """Run the command and end as Python ends, but for the seconds in which it takes the imported modules apart."""
    code = None
    try:
        command_line.main()
    except SystemExit as end:
        code = end.code
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue] - waits for threads, as the end of Python does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    serve(sys.argv[1])
    _run()
