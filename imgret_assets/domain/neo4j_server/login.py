"""The login of the embedded server: its generated passwords.

Belongs here: making, setting and trying passwords. Not here: starting and stopping the server
(`domain.neo4j_server.lifecycle`).
"""

import json
import secrets
import subprocess
import time
from dataclasses import replace
from typing import Any

from imgret_assets.domain.neo4j_server.configuration import write_configuration
from imgret_assets.domain.neo4j_server.host import SMALLEST_MEMORY_MB
from imgret_assets.domain.neo4j_server.run_file import (
    BOLT_PORT,
    HTTP_PORT,
    USERNAME,
    Connection,
    RunFile,
    ServerFolder,
)
from imgret_assets.domain.neo4j_server.server_process import (
    disk_full_error,
    java_command,
    java_environment,
    not_ready_error,
    wait_until_ended,
)
from imgret_assets.domain.neo4j_server.time_limits import DRIVER_LIMITS
from imgret_assets.domain.storage.atomic_files import write_json
from imgret_assets.errors import ServerError

ADMIN_TOOL_WITHIN_S = 120.0
# After three wrong passwords in a row Neo4j refuses every password for five seconds.
AUTH_PAUSE_S = 5.5
LOGIN_TRIES = 3
# The caller tries again, and looks at the process between two tries.
_NO_RETRY: dict[str, Any] = {**DRIVER_LIMITS, "max_transaction_retry_time": 0.0}
_CHANGE_PASSWORD = "ALTER CURRENT USER SET PASSWORD FROM $old TO $new"  # noqa: S105 - a statement


def read_secret(folder: ServerFolder) -> dict[str, str]:
    """Return the passwords of the server's password file; none where it is missing or damaged."""
    try:
        return json.loads(folder.secret.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def prepare_login(folder: ServerFolder) -> None:
    """Make the passwords and set the first one, before the server's first start; check them before every later one.

    Every user of the machine can see a password on a command line. So the first password is temporary: `log_in`
    replaces it over Bolt by the permanent one. Both are written down before either is used, so that a process killed at
    any point leaves enough for the next one to go on.

    Raises:
        ServerError: the database has a password and the password file is missing, or the first one can't be set.
    """
    secret = read_secret(folder)
    if folder.has_started_before():
        if "password" not in secret:
            raise ServerError(
                f"{folder.secret} is missing or unreadable, and the database of this home has its password already",
                remedy=f"put the file back, or remove {folder.path} and run `imgret run`, "
                "which builds the graph again from the tables",
            )
        return
    # Hexadecimal, because the command would take a leading hyphen for an option.
    if secret.get("initial", "-").startswith("-"):
        secret = {"password": secrets.token_hex(24), "initial": secrets.token_hex(24)}
        write_json(folder.secret, secret, mode=0o600)
    _set_initial_password(folder, secret["initial"])


def _set_initial_password(folder: ServerFolder, password: str) -> None:
    # The tool reads the configuration too, and that of another version may have a line it does not know.
    write_configuration(folder, bolt_port=BOLT_PORT, http_port=HTTP_PORT, pagecache_mb=SMALLEST_MEMORY_MB)
    command = [*java_command(), "-cp", "lib/*", "org.neo4j.cli.AdminTool", "dbms", "set-initial-password", password]
    environment = java_environment() | {"NEO4J_HOME": str(folder.path), "NEO4J_CONF": str(folder.path / "conf")}
    try:
        done = subprocess.run(
            command,
            cwd=folder.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=ADMIN_TOOL_WITHIN_S,
        )
        output, failed = done.stdout + done.stderr, done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        output, failed = str(error), True
    if failed and (full := disk_full_error(folder, output)):
        raise full from None
    if failed:
        output = output.replace(password, "…").strip()
        # Not from the cause: its message may have the whole command.
        raise ServerError(
            f"Neo4j's AdminTool did not set the first password:\n{output[-2000:]}", remedy="start again"
        ) from None


def log_in(folder: ServerFolder, server: RunFile, deadline: float) -> Connection | None:
    """Wait until the server answers under our password, and record it as running; None where its process has ended.

    Args:
        folder: the server's files.
        server: the started server.
        deadline: a time of `time.monotonic`.

    Raises:
        ServerError: it refused the password, or did not answer before the deadline.
    """
    from neo4j.exceptions import AuthError, DriverError, Neo4jError  # the driver is not loaded where none is started

    secret = read_secret(folder)
    passwords = dict(secret)
    refusals = 0
    while True:
        try:
            try_passwords(server, passwords)
            break
        except AuthError as error:
            refusals += 1
            cause, pause_s = error.code, AUTH_PAUSE_S
        except (DriverError, Neo4jError) as error:
            # The server refuses every login for a while after wrong passwords, such as those of another home's process
            # that took this server for its own. Trying again at once would prolong it.
            limited = isinstance(error, Neo4jError) and "RateLimit" in (error.code or "")
            cause, pause_s = type(error).__name__, AUTH_PAUSE_S if limited else 0.2
        if not server.is_alive():
            return None
        if refusals == LOGIN_TRIES:
            raise ServerError(
                f"Neo4j refuses the password of {folder.secret} ({cause})",
                remedy="put the file back that belongs to this database, or run `imgret db stop`, "
                f"remove {folder.path} and run `imgret run`, which builds the graph again",
            )
        if time.monotonic() > deadline:
            raise not_ready_error(folder, server)
        wait_until_ended(server, pause_s)
    if "initial" in secret:
        write_json(folder.secret, {"password": secret["password"]}, mode=0o600)
    running = replace(server, state="running")
    folder.record(running)
    return running.connection(secret["password"])


def try_passwords(server: RunFile, secret: dict[str, str]) -> None:
    """Send a query under the permanent password, after replacing the first one by it.

    The first one may have been replaced already, by a process that was killed before it could record that. Where the
    server refuses it, it is removed from `secret`: each wrong login makes the server refuse all of them for longer.

    Raises:
        neo4j.exceptions.AuthError: the server refuses the password.
        neo4j.exceptions.DriverError: the server can't be reached.
    """
    from neo4j import GraphDatabase  # the driver is not loaded where none is started
    from neo4j.exceptions import AuthError

    uri = server.connection("").uri
    if "initial" in secret:
        change = {"old": secret["initial"], "new": secret["password"]}
        try:
            with GraphDatabase.driver(uri, auth=(USERNAME, secret["initial"]), **_NO_RETRY) as driver:
                driver.execute_query(_CHANGE_PASSWORD, change, database_="system")
        except AuthError:
            del secret["initial"]
    with GraphDatabase.driver(uri, auth=(USERNAME, secret["password"]), **_NO_RETRY) as driver:
        driver.execute_query("RETURN 1")
