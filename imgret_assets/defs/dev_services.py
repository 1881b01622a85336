"""The services of `dagster dev`, with a guarded webserver: `python -m imgret_assets.defs.dev_services`.

Belongs here: code servers, daemon and webserver of one machine, started and stopped together. Not here: the webserver
itself (`defs.webserver`), the web page and the command (`cli.dev`).
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import dagster as dg
from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._core.workspace.load_target import ModuleTarget, WorkspaceFileTarget
from dagster._utils.log import configure_loggers

from imgret_assets.defs.instance.code_location import LOCATION, MODULE
from imgret_assets.defs.webserver import serve

STOP_TIMEOUT_S = 20.0


@contextmanager
def code_servers(instance: dg.DagsterInstance, workspace_file: str | None) -> Iterator[str]:
    """Run a code server for each code location, and provide a workspace file that leads to them.

    Args:
        instance: Dagster's storage.
        workspace_file: names the code locations; imgret's own where None.
    """
    target = (
        WorkspaceFileTarget([workspace_file])
        if workspace_file
        else ModuleTarget(MODULE, attribute=None, working_directory=None, location_name=LOCATION)
    )
    with (
        ProxyServerManager(instance, target, code_server_log_level="warning") as servers,
        tempfile.TemporaryDirectory(prefix="imgret-dev-") as folder,
    ):
        file = Path(folder) / "workspace.yaml"
        # JSON is YAML, too.
        file.write_text(json.dumps({"load_from": servers.get_code_server_specs()}), encoding="utf-8")
        yield str(file)


@contextmanager
def daemon(workspace_file: str) -> Iterator[None]:
    """Run Dagster's daemon; if it ends by itself, this process is interrupted."""
    command = [sys.executable, "-m", "dagster._daemon", "run", "--workspace", workspace_file]
    process = subprocess.Popen(command)
    stopping = threading.Event()

    def interrupt_at_its_end() -> None:
        status = process.wait()
        if not stopping.is_set():
            click.echo(f"Dagster's daemon has ended with status {status}", err=True)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_at_its_end, daemon=True).start()
    try:
        yield
    finally:
        stopping.set()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


@click.command()
@click.option("--host", "address", default="127.0.0.1", show_default=True, help="Address of the webserver.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the webserver.")
@click.option("--workspace", help="File that names the code locations (default: imgret's own).")
def main(address: str, port: int, workspace: str | None) -> None:
    """Run code servers, daemon and guarded webserver until a signal arrives."""
    # As `dagster dev` does: errors of a code location are printed.
    os.environ["DAGSTER_IS_DEV_CLI"] = "1"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    configure_loggers(log_level="INFO")
    with (
        dg.DagsterInstance.get() as instance,
        code_servers(instance, workspace) as workspace_file,
        daemon(workspace_file),
    ):
        serve(instance, workspace_file, address, port)


if __name__ == "__main__":
    main()
