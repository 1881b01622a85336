"""`imgret dev`: Dagster's webserver and daemon, and the web page, over one home.

Belongs here: starting and stopping the processes. Not here: Dagster's home (`defs.instance.dagster_home`), what is
served (`definitions`, `app.main`).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from imgret_assets.cli.app import DEFAULT_PORT
from imgret_assets.cli.support.free_port import free_port
from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.defs.instance.process_runs import end_dead_runs
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import PROJECT, load_settings

ADDRESS, PORT = "127.0.0.1", 3000
_STOP_WITHIN_S = 30.0


@click.command()
@click.option("--port", type=int, help=f"Port of the webserver; {PORT} or the next free one where not given.")
@click.option("--page-port", type=int, help=f"Port of the web page; {DEFAULT_PORT} or the next free one.")
@click.option("--no-page", is_flag=True, help="Dagster alone.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def dev(port: int | None, page_port: int | None, no_page: bool, home: Path | None) -> None:
    """Start Dagster's webserver and daemon, and the web page; Ctrl-C stops all of them, the database runs on."""
    settings = load_settings({"home": home})
    open_home(settings)
    with open_instance(settings) as instance:
        end_dead_runs(instance)
    chosen = free_port(ADDRESS, PORT, asked=port)
    os.environ["IMGRET_HOME"] = str(settings.home)
    commands = [_dagster(chosen)]
    click.echo(f"Dagster's UI: http://{ADDRESS}:{chosen}", err=True)
    if not no_page:
        page = free_port(ADDRESS, DEFAULT_PORT, asked=page_port)
        # The query job links to the page: it must know where this one is.
        os.environ["IMGRET_APP_URL"] = f"http://{ADDRESS}:{page}"
        commands.append([sys.executable, "-m", "imgret_assets.cli.main", "app", "--port", str(page)])
    sys.exit(supervise(commands))


def _dagster(port: int) -> list[str]:
    command = [sys.executable, "-m", "dagster", "dev", "-h", ADDRESS, "-p", str(port)]
    workspace = PROJECT / "workspace.yaml"
    if workspace.is_file():
        os.chdir(PROJECT)
        return [*command, "-w", str(workspace)]
    return [*command, "-m", "imgret_assets.definitions"]


def supervise(commands: Sequence[Sequence[str]]) -> int:
    """Run commands until one of them ends or this process is told to stop; then stop the others.

    Returns:
        The exit status of the command that ended by itself; 130 after Ctrl-C, 143 after SIGTERM.
    """
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: told.append(received))
    # Sessions of their own: Ctrl-C reaches this process alone, which then stops each of them once.
    children = [subprocess.Popen(command, start_new_session=True) for command in commands]
    ended: list[int] = []
    try:
        while not told and not ended:
            time.sleep(0.2)
            ended = [status for child in children if (status := child.poll()) is not None]
    finally:
        _stop(children)
    return 128 + told[0] if told else ended[0]


def _stop(children: Sequence["subprocess.Popen[bytes]"]) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _STOP_WITHIN_S
    for child in children:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            # All of its session: Dagster has processes of its own.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
