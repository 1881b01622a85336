"""A home's server folder, and a process and a port that stand for those of a server."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imgret_assets.domain.neo4j_server import host
from imgret_assets.domain.neo4j_server.run_file import RunFile, ServerFolder
from imgret_assets.settings import Settings, load_settings

Record = Callable[..., RunFile]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"home": tmp_path / "home", "cache": tmp_path / "cache"}, env={"IMGRET_ENV_FILE": os.devnull})


@pytest.fixture
def folder(settings: Settings) -> ServerFolder:
    made = ServerFolder(settings)
    made.make()
    return made


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A living process that stands for the server's."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    yield started
    started.kill()
    started.wait()


@pytest.fixture
def listening_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((host.LOCALHOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def record(folder: ServerFolder) -> Record:
    """A function that records a process as the folder's server."""

    def write(pid: int, *, port: int = 1, state: str = "running") -> RunFile:
        server = RunFile(pid, host.process_start(pid) or "ended", port, port, "1.2", "3.4", folder.identity, state)
        folder.record(server)
        return server

    return write
