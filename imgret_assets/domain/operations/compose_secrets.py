"""The secrets of docker-compose.yml: made once, for `docker compose --env-file compose.env`.

Belongs here: which variables there are, and how their values come about. Not here: what the containers do with
them (`docker-compose.yml`), and the settings of imgret itself (`imgret_assets.settings`). The names are none of
those that imgret, Neo4j or Postgres read: a NEO4J_PASSWORD that a shell or `.env` has for another server must not
become the password of this one.
"""

import contextlib
import os
import secrets
from pathlib import Path

from imgret_assets.errors import ImgretError

NEO4J_PASSWORD = "IMGRET_COMPOSE_NEO4J_PASSWORD"  # noqa: S105
POSTGRES_PASSWORD = "IMGRET_COMPOSE_POSTGRES_PASSWORD"  # noqa: S105
VARIABLES = (NEO4J_PASSWORD, POSTGRES_PASSWORD)
PASSWORD_BYTES = 24

_HEADER = """\
# Passwords of the databases in docker-compose.yml, made by `imgret setup` and never overwritten by it.
# Each is fixed when its volume is first used; docs/operate/compose.md says how to start anew.
"""


def write_compose_env(path: Path) -> bool:
    """Write new random passwords, readable by their owner only, unless there is something at `path`.

    Args:
        path: the file, usually `compose.env` beside docker-compose.yml.

    Returns:
        True when the file was written, False when it, or anything else of that name, was there and stays as it is.

    Raises:
        ImgretError: the file can't be written.
    """
    # Hex: a password that starts with "-" would be an option to the program that the Neo4j image gives it to.
    lines = [f"{name}={secrets.token_hex(PASSWORD_BYTES)}\n" for name in VARIABLES]
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
        # Half a file would count as there, and never be completed.
        with contextlib.suppress(OSError):
            path.unlink()
        raise _unwritable(path, error) from error
    return True


def _unwritable(path: Path, error: OSError) -> ImgretError:
    return ImgretError(
        f"{path} can't be written: {error.strerror}",
        remedy="make its folder writable, or go on without Docker: nothing else needs this file",
    )
