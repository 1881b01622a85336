"""The embedded Neo4j of a home: started once for all processes, found again, stopped.

Belongs here: the server's folder, its configuration, ports, login, process and life cycle. Not here: where its jars
come from (`domain.neo4j_server.jars`), what it must know of the machine (`domain.neo4j_server.host`), what is asked
of it (`domain.graph.cypher`, `domain.graph.image_nodes`), the command line (`cli.db`). Importing this module loads
neither the driver nor jgo; both are imported when used.
"""

import logging
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import quote

from imgret_assets.domain.neo4j_server import host as machine
from imgret_assets.domain.neo4j_server.host import LOCALHOST
from imgret_assets.domain.neo4j_server.jars import JarFolder, assemble
from imgret_assets.domain.neo4j_server.login import (
    READY_WITHIN_S,
    _environment,
    _java,
    _log_in,
    _not_ready,
    _prepare_login,
    _read_secret,
    _wait_until_gone,
    _write_configuration,
)
from imgret_assets.domain.neo4j_server.run_file import (
    BOLT_PORT,
    HTTP_PORT,
    Connection,
    RunFile,
    ServerFolder,
    _connection,
    _lives,
    read_run_file,
)
from imgret_assets.domain.storage import locks
from imgret_assets.domain.storage.atomic_files import write_json
from imgret_assets.errors import ServerError
from imgret_assets.settings import Settings

STOP_WITHIN_S = 60.0
# A port can be taken by somebody else between our look and the server's: then others are tried.
START_TRIES = 3

Progress = Callable[[str], None]
_log = logging.getLogger(__name__)

JVM_FLAGS = (
    "-XX:+UseG1GC",
    "-XX:+ExitOnOutOfMemoryError",  # a server that answers no more would be taken for a running one
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
# `$!` is noted by the shell itself, which goes on when imgret is killed this very moment: a server that
# nobody has noted could not be found again. The shell ends at once, so the server is nobody's child here.
DETACH = 'noted="$1"; shift; "$@" & echo $! > "$noted.new" && mv "$noted.new" "$noted"'


def connection(settings: Settings, *, progress: Progress | None = None) -> Connection:
    """The server to use: the one that NEO4J_URI names, else the home's embedded one, started if need be.

    Raises:
        ServerError: the embedded server can't be had.
    """
    given = given_server(settings)
    return given or ensure_running(settings, progress=progress)


def given_server(settings: Settings) -> Connection | None:
    """The server that NEO4J_URI names; None when imgret runs its own."""
    neo4j = settings.neo4j
    if neo4j.uri is None:
        return None
    return Connection(uri=neo4j.uri, username=neo4j.username, password=neo4j.password or "")


def status(settings: Settings) -> Connection | None:
    """The embedded server if it runs, else None; starts nothing and waits for nothing."""
    folder = ServerFolder(settings)
    found = read_run_file(folder)
    if found is None or found.state != "running" or not machine.listens(found.bolt_port):
        return None
    password = _read_secret(folder).get("password")
    return _connection(found, password) if password else None


def versions(settings: Settings) -> tuple[str | None, str | None]:
    """Of the running embedded server and its Graph Data Science library, as recorded when it started."""
    found = read_run_file(ServerFolder(settings))
    return (found.version, found.gds_version) if found else (None, None)


def ensure_running(
    settings: Settings, *, ready_within_s: float = READY_WITHIN_S, progress: Progress | None = None
) -> Connection:
    """The home's server, started now if it does not run; returns when it answers with our password.

    Any number of processes may call this at once: one starts the server, the others wait for it. A running
    server costs a few file reads. What has to be fetched first is not part of the deadline.

    Args:
        settings: whose home, and how much memory.
        ready_within_s: deadline for the server to answer, in seconds.
        progress: is told what is waited for.

    Raises:
        ServerError: it can't be fetched or started, or did not answer in time; has the end of its log.
        LockTimeoutError: another process has been starting or stopping it for too long.
    """
    if running := status(settings):
        return running
    tell = progress or _log.info
    jars = assemble(settings, progress=progress)
    folder = ServerFolder(settings)
    folder.make()
    with _lock(folder, settings, "starting Neo4j"):
        if running := status(settings):
            return running
        deadline = time.monotonic() + ready_within_s
        found = read_run_file(folder) or _orphan(folder, jars.version, jars.gds_version)
        if found is not None and found.state == "stopping":
            tell("Neo4j is stopping; waiting for its end")
            _wait_until_gone(found, STOP_WITHIN_S)
        elif found is not None:
            tell("Neo4j is starting already; waiting for it")
            if _wait_until_listening(folder, found, deadline) and (there := _log_in(folder, found, deadline)):
                return there
        return _start(settings, folder, jars, deadline, tell)


def stop(settings: Settings, *, within_s: float = STOP_WITHIN_S) -> bool:
    """Stop the embedded server, cleanly if it lets us.

    Args:
        settings: whose home.
        within_s: how long a clean stop may take before the process is killed, in seconds.

    Returns:
        False when none ran.

    Raises:
        ServerError: it can't be ended.
        LockTimeoutError: another process has been starting or stopping it for too long.
    """
    folder = ServerFolder(settings)
    if not folder.path.is_dir():
        return False
    with _lock(folder, settings, "stopping Neo4j"):
        found = read_run_file(folder) or _orphan(folder, "", "")
        if found is None:
            return False
        # From now on nobody takes it for a running one, though its port still answers for a while.
        write_json(folder.run_file, asdict(replace(found, state="stopping")))
        for sent, patience_s in ((signal.SIGTERM, within_s), (signal.SIGKILL, 10.0)):
            with suppress(ProcessLookupError):
                os.kill(found.pid, sent)
            if _wait_until_gone(found, patience_s):
                folder.run_file.unlink(missing_ok=True)
                folder.pid_file.unlink(missing_ok=True)
                return True
    raise ServerError(f"Neo4j, process {found.pid}, did not end", remedy=f"end it with: kill -9 {found.pid}")


def browser_url(found: Connection, cypher: str) -> str:
    """Address of the Neo4j Browser with a query in its editor.

    Raises:
        ServerError: the server is not the embedded one.
    """
    if found.http_port is None:
        raise ServerError(
            f"The address of the Neo4j Browser of {found.uri} is not known",
            remedy="open that server's own Browser, usually its port 7474",
        )
    # With the name in it, the login form asks for the password only.
    server = found.uri.replace("://", f"://{found.username}@", 1)
    query = f"dbms={quote(server, safe='')}&cmd=edit&arg={quote(cypher, safe='')}"
    return f"http://{LOCALHOST}:{found.http_port}/browser/?{query}"


def _orphan(folder: ServerFolder, version: str, gds_version: str) -> RunFile | None:
    """A server whose starter was killed after the process began and before it was recorded."""
    try:
        pid = int(folder.pid_file.read_text(encoding="ascii"))
        configuration = folder.configuration.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    started = machine.process_start(pid)
    if started is None or not _is_server_of(folder, pid):
        return None
    ports = {name: int(port) for name, port in re.findall(r"server\.(\w+)\.listen_address=:(\d+)", configuration)}
    found = RunFile(pid, started, ports["bolt"], ports["http"], version, gds_version, folder.identity)
    write_json(folder.run_file, asdict(found))
    return found


def _is_server_of(folder: ServerFolder, pid: int) -> bool:
    # The number may belong to anything by now; the server was started with its folder's path.
    return f"--home-dir={folder.path} " in machine.command_line(pid)


def _start(settings: Settings, folder: ServerFolder, jars: JarFolder, deadline: float, tell: Progress) -> Connection:
    heap_mb, pagecache_mb = machine.memory_mb(settings.neo4j.heap, settings.neo4j.pagecache)
    _link(folder.path / "lib", jars.path / "lib")
    _link(folder.path / "plugins", jars.path / "plugins")
    _prepare_login(folder)
    logged = 0
    for _ in range(START_TRIES):
        # Gone before the configuration changes: a noted process always belongs to the ports that stand there.
        folder.run_file.unlink(missing_ok=True)
        folder.pid_file.unlink(missing_ok=True)
        bolt_port, http_port = free_ports()
        tell(f"starting Neo4j {jars.version} on port {bolt_port}")
        _write_configuration(folder, bolt_port, http_port, pagecache_mb)
        logged = machine.rotate(folder.log)
        pid = _spawn(folder, heap_mb)
        started = machine.process_start(pid) or "ended"
        found = RunFile(pid, started, bolt_port, http_port, jars.version, jars.gds_version, folder.identity)
        write_json(folder.run_file, asdict(found))
        # Another home's server may have taken the ports meanwhile: it listens and refuses, and ours ends.
        if _wait_until_listening(folder, found, deadline) and (there := _log_in(folder, found, deadline)):
            return there
        if "Address already in use" not in machine.log_tail(folder.log, lines=1000, since=logged):
            break
    folder.run_file.unlink(missing_ok=True)
    end = machine.log_tail(folder.log, since=logged)
    raise ServerError(
        f"Neo4j ended while it was starting. The end of its log {folder.log}:\n{end}",
        remedy="mend what the log says and start again",
    )


def free_ports() -> tuple[int, int]:
    """A port for Bolt and one for HTTP: the usual ones, or others where those are taken."""
    bolt_port = BOLT_PORT if machine.is_free(BOLT_PORT) else machine.any_port()
    http_port = HTTP_PORT if machine.is_free(HTTP_PORT) else machine.any_port()
    return bolt_port, http_port


def _spawn(folder: ServerFolder, heap_mb: int) -> int:
    """Start the server's process, detached from this one and its terminal; returns its number."""
    java = [*_java(), f"-Xms{heap_mb // 2}m", f"-Xmx{heap_mb}m", *JVM_FLAGS, "-cp", "plugins/*:lib/*"]
    server = ["org.neo4j.server.Neo4jCommunity", f"--home-dir={folder.path}", f"--config-dir={folder.path / 'conf'}"]
    command = ["/bin/sh", "-c", DETACH, "sh", str(folder.pid_file), *java, *server, "--console-mode"]
    with folder.log.open("ab") as log:
        subprocess.run(
            command,
            # The class path is relative to the folder: a colon in its path would end an entry.
            cwd=folder.path,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=True,
        )
    return int(folder.pid_file.read_text(encoding="ascii"))


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() or link.is_file():
        link.unlink()
    elif link.exists():
        shutil.rmtree(link)
    link.symlink_to(target, target_is_directory=True)


def _wait_until_listening(folder: ServerFolder, found: RunFile, deadline: float) -> bool:
    """True when both ports answer; False when the process has ended.

    Raises:
        ServerError: neither, to the deadline.
    """
    while _lives(found):
        if machine.listens(found.bolt_port) and machine.listens(found.http_port):
            return True
        if time.monotonic() > deadline:
            raise _not_ready(folder, found)
        time.sleep(0.1)
    return False


def _lock(folder: ServerFolder, settings: Settings, purpose: str) -> AbstractContextManager[None]:
    return locks.hold(folder.path, [folder.lock.stem], timeout_s=settings.lock_timeout_s, purpose=purpose)
