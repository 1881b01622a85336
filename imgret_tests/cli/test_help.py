"""The help texts of all commands, reviewed like code: `pytest imgret_tests/cli/test_help.py --snapshot-update`."""

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
    """Yield the names of the command and of all its subcommands."""
    yield names
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            assert subcommand is not None
            yield from every_command(subcommand, *names, name)


def all_helps() -> dict[str, list[str]]:
    """Return the help of each command as lines."""
    os.environ["COLUMNS"] = "80"
    helps = {}
    for names in every_command(imgret):
        done = CliRunner().invoke(imgret, [*names, "--help"], prog_name="imgret", catch_exceptions=False)
        assert done.exit_code == 0, names
        assert done.stderr == ""
        helps[" ".join(["imgret", *names])] = done.stdout.splitlines()
    return helps


def test_help_of_every_command(snapshot: SnapshotAssertion) -> None:
    # In a new process, because click stores how the help of a command was first shown, and other tests call single
    # commands.
    done = subprocess.run([sys.executable, "-c", PRINT_HELPS], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == snapshot
