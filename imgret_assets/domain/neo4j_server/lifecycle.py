"""The life cycle of a home's embedded Neo4j: started once for all processes, found again, stopped.

Belongs here: which server a home has, starting and stopping it under a lock. Not here: its files
(`domain.neo4j_server.run_file`), its jars (`domain.neo4j_server.jars`), its process
(`domain.neo4j_server.server_process`), its passwords (`domain.neo4j_server.login`), statements
(`domain.graph.cypher`), the command line (`cli.db`). An import of this module loads neither the driver nor jgo.
"""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from imgret_assets.domain.neo4j_server import host
from imgret_assets.domain.neo4j_server.configuration import read_ports, write_configuration
from imgret_assets.domain.neo4j_server.jars import JarFolder, assemble
from imgret_assets.domain.neo4j_server.login import log_in, prepare_login, read_secret
from imgret_assets.domain.neo4j_server.run_file import (
    BOLT_PORT,
    HTTP_PORT,
    Connection,
    RunFile,
    ServerFolder,
    read_run_file,
)
from imgret_assets.domain.neo4j_server.server_process import (
    disk_full_error,
    end_process,
    find_servers,
    is_server_of,
    spawn,
    wait_until_ended,
    wait_until_listening,
)
from imgret_assets.domain.storage import locks, permissions
from imgret_assets.errors import DiskFullError, HomeError, ServerError
from imgret_assets.settings import Settings

# A machine that is busy with other work has taken two minutes over what takes four seconds alone.
READY_WITHIN_S = 300.0
STOP_WITHIN_S = 60.0
# Another process can take a port between our check and the server's start: then other ports are tried.
START_TRIES = 3

Log = Callable[[str], None]
_log = logging.getLogger(__name__)


def connection(settings: Settings, *, log: Log | None = None) -> Connection:
    """Return the server to use: the one that NEO4J_URI names, else the home's embedded one, started if necessary.

    Raises:
        ServerError: the embedded server can't be started.
    """
    return external_server(settings) or ensure_running(settings, log=log)


def external_server(settings: Settings) -> Connection | None:
    """Return the server that NEO4J_URI names; None where imgret runs its own."""
    neo4j = settings.neo4j
    if neo4j.uri is None:
        return None
    return Connection(uri=neo4j.uri, username=neo4j.username, password=neo4j.password or "", ca=neo4j.ca)


def status(settings: Settings) -> Connection | None:
    """Return the embedded server if it runs, else None; start nothing and wait for nothing."""
    folder = ServerFolder(settings)
    server = read_run_file(folder)
    if server is None or server.state != "running" or not host.is_listening(server.bolt_port):
        return None
    password = read_secret(folder).get("password")
    return server.connection(password) if password else None


def versions(settings: Settings) -> tuple[str | None, str | None]:
    """Return the recorded versions of the running embedded server and its Graph Data Science library."""
    server = read_run_file(ServerFolder(settings))
    return (server.version, server.gds_version) if server else (None, None)


def ensure_running(
    settings: Settings,
    *,
    ready_within_s: float = READY_WITHIN_S,
    log: Log | None = None,
    jvm_flags: Sequence[str] = (),
) -> Connection:
    """Return the home's server once it answers under our password; start it if it does not run.

    Any number of processes may call this at once: one starts the server, the others wait for it. A running server
    costs a few file reads. Downloads are not part of the deadline.

    Args:
        settings: of the home; they have the server's memory too.
        ready_within_s: deadline for the server to answer, in seconds.
        log: receives a line about every wait.
        jvm_flags: further options of Java (`server_process.spawn`).

    Raises:
        ServerError: it can't be downloaded or started, or did not answer in time; has the end of its log.
        LockTimeoutError: another process has been starting or stopping it for too long.
    """
    if running := status(settings):
        return running
    log = log or _log.info
    permissions.restrict(settings.readable_by)
    jars = assemble(settings, log=log)
    folder = ServerFolder(settings)
    folder.make()
    with server_lock(folder, settings, "starting Neo4j"):
        if running := status(settings):
            return running
        deadline = time.monotonic() + ready_within_s
        server = read_run_file(folder)
        if server is None and (server := _unrecorded(folder, jars.version, jars.gds_version)):
            folder.record(server)
        if server is not None and server.state == "stopping":
            log("Neo4j is stopping; waiting for its end")
            wait_until_ended(server, STOP_WITHIN_S)
        elif server is not None:
            log("Neo4j is starting already; waiting for it")
            if running := _wait_until_running(folder, server, deadline):
                return running
        # Servers that nothing records, such as those of a disk that was full: they would hold the store's lock.
        for pid in find_servers(folder):
            log(f"Neo4j, process {pid}, serves this home without a record; ending it")
            _end(pid, STOP_WITHIN_S)
        return _start(settings, folder, jars, deadline, log, jvm_flags)


def stop(settings: Settings, *, within_s: float = STOP_WITHIN_S) -> bool:
    """Stop the embedded server; kill it where it does not end by itself.

    Whatever serves the home is ended, recorded or not. Nothing of it depends on writing: the disk may be full.

    Args:
        settings: of the home.
        within_s: how long a clean stop may take before the process is killed, in seconds.

    Returns:
        False where none ran.

    Raises:
        ServerError: it can't be ended.
        LockTimeoutError: another process has been starting or stopping it for too long.
    """
    folder = ServerFolder(settings)
    if not folder.path.is_dir():
        return False
    with ExitStack() as stack:
        # Where the lock's file can't be written, nothing can start a server either.
        with suppress(OSError, DiskFullError, HomeError):
            stack.enter_context(server_lock(folder, settings, "stopping Neo4j"))
        server = read_run_file(folder) or _unrecorded(folder, "", "")
        if server is not None:
            _record_as_stopping(folder, server)
        pids = [*([server.pid] if server else []), *find_servers(folder)]
        for pid in dict.fromkeys(pids):
            _end(pid, within_s)
        with suppress(OSError):
            folder.remove_record()
        return bool(pids)


def _record_as_stopping(folder: ServerFolder, server: RunFile) -> None:
    """Record that from now on no process takes it for a running one, though its port answers for a while."""
    try:
        folder.record(replace(server, state="stopping"))
    except (OSError, DiskFullError, HomeError):
        # Without a record no process takes it for a running one either.
        with suppress(OSError):
            folder.run_file.unlink(missing_ok=True)


def _end(pid: int, within_s: float) -> None:
    """End a server's process.

    Raises:
        ServerError: it can't be ended.
    """
    try:
        ended = end_process(pid, within_s)
    except PermissionError:
        ended = False
    if not ended:
        raise ServerError(f"Neo4j, process {pid}, did not end", remedy=f"end it with: kill -9 {pid}")


def browser_url(server: Connection, cypher: str) -> str:
    """Return the address of the Neo4j Browser with a query in its editor.

    Raises:
        ServerError: the server is not the embedded one.
    """
    if server.http_port is None:
        raise ServerError(
            f"The address of the Neo4j Browser of {server.uri} is not known",
            remedy="open that server's own Browser, usually its port 7474",
        )
    # With the name in it, the login form requires the password only.
    uri = server.uri.replace("://", f"://{server.username}@", 1)
    query = f"dbms={quote(uri, safe='')}&cmd=edit&arg={quote(cypher, safe='')}"
    return f"http://{host.LOCALHOST}:{server.http_port}/browser/?{query}"


def _unrecorded(folder: ServerFolder, version: str, gds_version: str) -> RunFile | None:
    """Return a server whose starter was killed between the start of the process and its record."""
    try:
        pid = int(folder.pid_file.read_text(encoding="ascii"))
        bolt_port, http_port = read_ports(folder)
    except (OSError, ValueError):
        return None
    started = host.process_start(pid)
    if started is None or not is_server_of(folder, pid):
        return None
    return RunFile(pid, started, bolt_port, http_port, version, gds_version, folder.identity)


def _start(
    settings: Settings, folder: ServerFolder, jars: JarFolder, deadline: float, log: Log, jvm_flags: Sequence[str]
) -> Connection:
    heap_mb, pagecache_mb = host.server_memory_mb(settings.neo4j.heap, settings.neo4j.pagecache)
    link_jars(folder, jars)
    prepare_login(folder)
    log_start = 0
    for _ in range(START_TRIES):
        # Before the configuration changes: a recorded process always belongs to the ports of the configuration.
        folder.remove_record()
        bolt_port, http_port = free_ports()
        log(f"starting Neo4j {jars.version} on port {bolt_port}")
        write_configuration(folder, bolt_port=bolt_port, http_port=http_port, pagecache_mb=pagecache_mb)
        log_start = host.rotate_log(folder.log)
        pid = spawn(folder, heap_mb, jvm_flags)
        started = host.process_start(pid) or "ended"
        server = RunFile(pid, started, bolt_port, http_port, jars.version, jars.gds_version, folder.identity)
        try:
            folder.record(server)
        except Exception:
            # What can't be recorded must not go on: the next process would not find it.
            _end(pid, 0.0)
            folder.remove_record()
            raise
        # Another home's server may have taken the ports in the meantime: it listens and refuses, and ours ends.
        try:
            running = _wait_until_running(folder, server, deadline, log_start)
        except ServerError as error:
            # It listens, and can't write.
            raise _full(folder, log_start) or error from error
        except DiskFullError:
            _end(pid, 0.0)
            folder.remove_record()
            raise
        if running is not None:
            return running
        # The part for Bolt logs "Address already in use", the part for HTTP "Address … is already in use".
        if "already in use" not in host.log_tail(folder.log, lines=1000, since=log_start):
            break
    folder.remove_record()
    if full := _full(folder, log_start):
        raise full
    raise ServerError(
        f"Neo4j ended while it was starting. The end of its log {folder.log}:\n"
        f"{host.log_tail(folder.log, since=log_start)}",
        remedy="correct what the log names and start again",
    )


def _wait_until_running(
    folder: ServerFolder, server: RunFile, deadline: float, log_start: int | None = None
) -> Connection | None:
    listening = wait_until_listening(folder, server, deadline, log_start=log_start)
    return log_in(folder, server, deadline) if listening else None


def _full(folder: ServerFolder, log_start: int) -> DiskFullError | None:
    return disk_full_error(folder, host.log_tail(folder.log, lines=100_000, since=log_start))


def free_ports() -> tuple[int, int]:
    """Return a port for Bolt and one for HTTP: the usual ones, or others where those are taken."""
    bolt_port = BOLT_PORT if host.is_port_free(BOLT_PORT) else host.unused_port()
    http_port = HTTP_PORT if host.is_port_free(HTTP_PORT) else host.unused_port()
    return bolt_port, http_port


def link_jars(folder: ServerFolder, jars: JarFolder) -> None:
    """Link the jars into the server's folder."""
    for name in ("lib", "plugins"):
        _link(folder.path / name, jars.path / name)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() or link.is_file():
        link.unlink()
    elif link.exists():
        shutil.rmtree(link)
    link.symlink_to(target, target_is_directory=True)


def server_lock(folder: ServerFolder, settings: Settings, purpose: str) -> AbstractContextManager[None]:
    """Hold the lock of a home's server, without which it is neither started nor stopped."""
    return locks.hold(folder.path, [folder.lock.stem], timeout_s=settings.lock_timeout_s, purpose=purpose)
