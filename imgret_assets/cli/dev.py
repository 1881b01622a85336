"""`imgret dev`: Dagster's webserver and daemon over this home.

Belongs here: the command. Not here: Dagster's home (`defs.instance`), what is served (`definitions`).
"""

import os
import socket
import sys
from pathlib import Path

import click

from imgret_assets.defs.instance import prepare
from imgret_assets.domain.home import open_home
from imgret_assets.errors import SettingError
from imgret_assets.settings import PROJECT, load_settings

PORT = 3000
_TRIES = 50


@click.command()
@click.option("--port", type=int, help=f"Port of the webserver; {PORT} or the next free one where not given.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def dev(port: int | None, home: Path | None) -> None:
    """Start Dagster's webserver and daemon; Ctrl-C stops both, the database runs on."""
    settings = load_settings({"home": home})
    open_home(settings)
    prepare(settings)
    chosen = port or free_port(PORT)
    os.environ["IMGRET_HOME"] = str(settings.home)
    click.echo(f"Dagster's UI: http://127.0.0.1:{chosen}", err=True)
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(chosen)]
    workspace = PROJECT / "workspace.yaml"
    if workspace.is_file():
        os.chdir(PROJECT)
        command += ["-w", str(workspace)]
    else:
        command += ["-m", "imgret_assets.definitions"]
    os.execv(command[0], command)  # noqa: S606


def free_port(first: int) -> int:
    """The first free port of 127.0.0.1 from `first` on.

    Raises:
        SettingError: none of fifty is free.
    """
    for port in range(first, first + _TRIES):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise SettingError(f"No port from {first} to {first + _TRIES - 1} is free", remedy="give one with --port")
