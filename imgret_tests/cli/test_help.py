"""What every command says of itself, reviewed like code: `pytest imgret_tests/cli/test_help.py --snapshot-update`."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from syrupy.assertion import SnapshotAssertion

from imgret_assets.cli.main import imgret


def every_command(command: click.Command, *names: str) -> Iterator[tuple[str, ...]]:
    """Names of the command and of all beneath it."""
    yield names
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            beneath = command.get_command(context, name)
            assert beneath is not None
            yield from every_command(beneath, *names, name)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_help_of_every_command(snapshot: SnapshotAssertion) -> None:
    helps = {}
    for names in every_command(imgret):
        done = CliRunner().invoke(imgret, [*names, "--help"], prog_name="imgret", catch_exceptions=False)
        assert done.exit_code == 0, names
        assert done.stderr == ""
        helps[" ".join(["imgret", *names])] = done.stdout.splitlines()
    assert helps == snapshot
