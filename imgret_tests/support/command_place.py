"""A working folder in which the `imgret` command is called as a user calls it, over a home with the bundled model.

Belongs here: the folder's home, the environment that leads to it and to the server under test, calling the command. Not
here: the images and files of each test, the program itself (`support/forked_commands.py`).
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from neo4j import Driver

from imgret_tests.support.neo4j_server import TestedServer, clean_environment

WITHIN_S = 600.0


@dataclass(frozen=True)
class Place:
    """A working folder, the environment that leads to the home, and the program `imgret`."""

    folder: Path
    environment: Mapping[str, str]
    program: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def run(self, *arguments: object, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
        """`imgret` with these arguments."""
        return subprocess.run(
            [self.program, *map(os.fsencode, map(str, arguments))],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            timeout=WITHIN_S,
            check=False,
        )

    def answer(self, *arguments: object) -> Any:
        """The JSON that a command prints, which has to end well."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def shell(self, line: str) -> subprocess.CompletedProcess[bytes]:
        """A line of the shell."""
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            timeout=WITHIN_S,
            check=False,
        )

    def with_environment(self, **changes: str | None) -> "Place":
        """The same place with variables set, or without those that are None."""
        changed = {**self.environment, **changes}
        return replace(self, environment={name: value for name, value in changed.items() if value is not None})


class NewPlace(Protocol):
    """Makes a place in a folder; its home is a new one in the folder, and variables come on top of its environment."""

    def __call__(self, folder: Path, /, *, home: str = "home", **variables: str) -> Place: ...


@pytest.fixture(scope="module")
def new_place(tested_server: TestedServer, shared_database: Driver, lite0_home: Path, imgret_program: Path) -> NewPlace:
    """Places over the database of the module, which is empty before its first test."""
    del shared_database
    found = tested_server.connection

    def new(folder: Path, /, *, home: str = "home", **variables: str) -> Place:
        (folder / home).mkdir()
        (folder / home / "models").symlink_to(lite0_home / "models")
        given = {
            "IMGRET_HOME": str(folder / home),
            "IMGRET_MODEL": "efficientnet_lite0",
            "NEO4J_URI": found.uri,
            "NEO4J_USERNAME": found.username,
            "NEO4J_PASSWORD": found.password,
            "PATH": os.pathsep.join(map(str, (imgret_program.parent, Path(sys.executable).parent, os.environ["PATH"]))),
        }
        return Place(folder, clean_environment() | given | variables, imgret_program)

    return new
