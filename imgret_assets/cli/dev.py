"""`imgret dev`: Dagster's webserver and daemon and the web page, for one home.

Belongs here: starting and stopping the processes. Not here: Dagster's storage (`defs.instance.dagster_home`), the
programs themselves (`defs.dev_services`, `cli.app`).
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
from imgret_assets.cli.support.named_home import settings_of_home
from imgret_assets.cli.support.served_home import take_from_store
from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.defs.instance.process_runs import end_dead_runs
from imgret_assets.domain.storage.home import open_home
from imgret_assets.locations import PROJECT, is_checkout

ADDRESS, PORT = "127.0.0.1", 3000
STOP_TIMEOUT_S = 30.0


@click.command()
@click.option("--port", type=int, help=f"Port of the webserver (default: {PORT}, else the next free one).")
@click.option("--page-port", type=int, help=f"Port of the web page (default: {DEFAULT_PORT}, else the next free one).")
@click.option("--no-page", is_flag=True, help="Start Dagster only.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def dev(port: int | None, page_port: int | None, no_page: bool, home: Path | None) -> None:
    """Start Dagster's webserver and daemon, and the web page.

    Ctrl-C stops all of them; the database keeps running.
    """
    settings = settings_of_home(home)
    take_from_store(settings)
    opened_home = open_home(settings)
    with open_instance(settings) as instance:
        end_dead_runs(instance, opened_home)
    dagster_port = free_port(ADDRESS, PORT, requested=port)
    os.environ["IMGRET_HOME"] = str(settings.home)
    commands = [_dagster_command(dagster_port)]
    click.echo(f"Dagster's UI: http://{ADDRESS}:{dagster_port}", err=True)
    if not no_page:
        page_port = free_port(ADDRESS, DEFAULT_PORT, requested=page_port)
        # The query job links to the page, so Dagster needs its address.
        os.environ["IMGRET_APP_URL"] = f"http://{ADDRESS}:{page_port}"
        commands.append([sys.executable, "-m", "imgret_assets.cli.main", "app", "--port", str(page_port)])
    sys.exit(supervise(commands))


def _dagster_command(port: int) -> list[str]:
    # Not `dagster dev`: any web site can launch runs there.
    command = [sys.executable, "-m", "imgret_assets.defs.dev_services", "--host", ADDRESS, "--port", str(port)]
    workspace = PROJECT / "workspace.yaml"
    if is_checkout() and workspace.is_file():
        os.chdir(PROJECT)
        return [*command, "--workspace", str(workspace)]
    return command


def supervise(commands: Sequence[Sequence[str]]) -> int:
    """Run commands until one of them ends or this process receives a signal, then stop the others.

    Returns:
        The exit status of the command that ended first; 130 after Ctrl-C, 143 after SIGTERM.
    """
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: signals.append(received))
    # Each child has its own session: Ctrl-C reaches only this process, which then stops each child once.
    children = [subprocess.Popen(command, start_new_session=True) for command in commands]
    exit_codes: list[int] = []
    try:
        while not signals and not exit_codes:
            time.sleep(0.2)
            exit_codes = [status for child in children if (status := child.poll()) is not None]
    finally:
        _stop(children)
    return 128 + signals[0] if signals else exit_codes[0]


def _stop(children: Sequence["subprocess.Popen[bytes]"]) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for child in children:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            # The whole session, because Dagster starts processes itself.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
