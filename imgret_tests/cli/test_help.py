"""What every command says of itself, reviewed like code: `pytest imgret_tests/cli/test_help.py --snapshot-update`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import click
from click.testing import CliRunner
from syrupy.assertion import SnapshotAssertion

from imgret_assets.cli.main import imgret

PRINT_HELPS = f"import json; from {__name__} import all_helps; print(json.dumps(all_helps()))"


def every_command(command: click.Command, *names: str) -> Iterator[tuple[str, ...]]:
    """Names of the command and of all beneath it."""
    yield names
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            beneath = command.get_command(context, name)
            assert beneath is not None
            yield from every_command(beneath, *names, name)


def all_helps() -> dict[str, list[str]]:
    """What every command prints, line by line."""
    os.environ["COLUMNS"] = "80"
    helps = {}
    for names in every_command(imgret):
        done = CliRunner().invoke(imgret, [*names, "--help"], prog_name="imgret", catch_exceptions=False)
        assert done.exit_code == 0, names
        assert done.stderr == ""
        helps[" ".join(["imgret", *names])] = done.stdout.splitlines()
    return helps


def test_help_of_every_command(snapshot: SnapshotAssertion) -> None:
    # In a fresh process: click remembers how a command's help was first asked for, and other tests call commands alone.
    done = subprocess.run([sys.executable, "-c", PRINT_HELPS], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == snapshot
