"""The secrets of docker-compose.yml, written once for `docker compose --env-file compose.env`.

Belongs here: the variables and their values. Not here: how the containers use them (`docker-compose.yml`), the settings
of imgret (`imgret_assets.settings`).

The variables have other names than those that imgret, Neo4j and Postgres read: a NEO4J_PASSWORD that a shell or `.env`
has for another server must not become the password of this one.
"""

import contextlib
import os
import secrets
from pathlib import Path

from imgret_assets.errors import ImgretError

NEO4J_PASSWORD = "IMGRET_COMPOSE_NEO4J_PASSWORD"  # noqa: S105
POSTGRES_PASSWORD = "IMGRET_COMPOSE_POSTGRES_PASSWORD"  # noqa: S105
VARIABLES = (NEO4J_PASSWORD, POSTGRES_PASSWORD)
# Of the service `api`, which runs only with its profile; files of earlier versions don't have it.
API_TOKEN = "IMGRET_COMPOSE_API_TOKEN"  # noqa: S105
PASSWORD_BYTES = 24

_HEADER = """\
# Passwords of the databases in docker-compose.yml, written by `imgret setup`, which never overwrites them.
# Each is fixed when its volume is first used; docs/operate/compose.md describes how to start over.
# The token is what clients of the HTTP API send; it may be changed at any time.
"""


def write_compose_env(path: Path) -> bool:
    """Write new random passwords and a token, readable by their owner only, unless `path` exists.

    Args:
        path: the file, usually `compose.env` in the folder of docker-compose.yml.

    Returns:
        True if the file was written; False if it, or anything else of that name, exists and stays as it is.

    Raises:
        ImgretError: the file can't be written.
    """
    # Hexadecimal: the Neo4j image passes the password to a program, which would take a leading "-" for an option.
    lines = [f"{name}={secrets.token_hex(PASSWORD_BYTES)}\n" for name in (*VARIABLES, API_TOKEN)]
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(_HEADER + "".join(lines))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # Half a file would count as existing, and never be completed.
        with contextlib.suppress(OSError):
            path.unlink()
        raise _unwritable(path, error) from error
    return True


def _unwritable(path: Path, error: OSError) -> ImgretError:
    return ImgretError(
        f"{path} can't be written: {error.strerror}",
        remedy="make its folder writable, or do without Docker: nothing else needs this file",
    )
