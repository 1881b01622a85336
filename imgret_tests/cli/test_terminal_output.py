"""Names and arguments with control characters on a terminal: every command shows them escaped."""

import json
import os
import sys
from pathlib import Path

import pytest

from imgret_assets.domain.storage.home import open_home
from imgret_assets.locations import PROJECT
from imgret_assets.settings import load_settings
from imgret_tests.support.neo4j_server import clean_environment
from imgret_tests.support.terminals import controls_in, shown_on_a_terminal

# Colour, clearing the screen, a bell, a return, deletion, C1's introducer of sequences, right-to-left, no UTF-8.
CONTROLS = "\x1b[31m\x1b[2J\x07\r\x7f\x9b31m\u202e\udcfe"
# The byte that is no UTF-8 is shown by click in its own ways.
SHOWN = r"\x1b[31m\x1b[2J\x07\r\x7f\x9b31m\u202e"
NAME = f"a{CONTROLS}b\nimgret: all is well"
COMMANDS = {
    "a file that is missing": ["query", NAME],
    "an unknown option": ["query", f"--{NAME}"],
    "an unknown command": [NAME],
    "a choice": ["query", "x.png", "--mode", NAME],
    "a folder of images": ["samples", "--out", f"/dev/null/{NAME}"],
    "two paths": ["explain", NAME, NAME],
    "a file of Cypher": ["db", "shell", "--file", NAME],
    "a data set": ["samples", "--dataset", NAME],
}
# All in one process: only the first import takes time.
SCRIPT = """
import json, sys
from imgret_assets.cli.main import run_command
from imgret_assets.terminal import printable_streams
with printable_streams():
    for number, command in enumerate(json.loads(sys.argv[1])):
        print(f"== {number}")
        run_command(command)
    print("==")
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what each command shows."""
    folder = tmp_path_factory.mktemp("terminal")
    open_home(load_settings({"home": folder / "home"}))
    environment = clean_environment() | {"IMGRET_HOME": str(folder / "home"), "PYTHONPATH": str(PROJECT)}
    # As JSON with escapes: no argument of a process may be other than the bytes of a name.
    commands = json.dumps(list(COMMANDS.values()))
    output = shown_on_a_terminal([sys.executable, "-c", SCRIPT, commands], environment, folder)
    parts = output.split("== ")[1:]
    assert len(parts) == len(COMMANDS), output
    return dict(zip(COMMANDS, (part.split("\r\n", 1)[1].split("==\r\n")[0] for part in parts), strict=True))


@pytest.mark.parametrize("name", COMMANDS)
def test_no_control_character_reaches_the_terminal(shown: dict[str, str], name: str) -> None:
    assert SHOWN in shown[name].replace("\r\n", ""), "the command does not name what it was given"
    assert controls_in(shown[name]) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_no_name_looks_like_a_line_of_imgret(shown: dict[str, str], name: str) -> None:
    assert not any(line.startswith("imgret: all is well") for line in shown[name].splitlines())


def test_a_traceback_is_escaped_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(
        "import sys\nfrom imgret_assets.cli import main\n"
        "def fail(_): raise OSError(sys.argv[1])\nmain.run_command = fail\nmain.main()\n"
    )
    environment = clean_environment() | {"PYTHONPATH": str(PROJECT)}
    output = shown_on_a_terminal([sys.executable, "failing.py", os.fsencode(NAME)], environment, tmp_path)  # type: ignore[list-item]
    assert "OSError" in output
    assert SHOWN in output
    assert controls_in(output) == set()
