import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
from click.testing import CliRunner

from imgret_assets.cli import app as command
from imgret_assets.cli.support.free_port import free_port
from imgret_assets.errors import SettingError

READY_WITHIN_S = 90.0


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    ports: list[int] = []
    monkeypatch.setattr(command, "serve", ports.append)
    # The command writes its environment for Streamlit; what a test set here is put back afterwards.
    for name in ("STREAMLIT_SERVER_ADDRESS", "STREAMLIT_SERVER_HEADLESS"):
        monkeypatch.setenv(name, "")
    return ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def any_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_address_is_said_on_stderr_and_the_home_passed_on(served: list[int], tmp_path: Path) -> None:
    port = any_port()
    done = CliRunner().invoke(command.app, ["--port", str(port), "--home", str(tmp_path / "h")], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout == ""
    assert f"http://127.0.0.1:{port} " in done.stderr
    assert served == [port]
    assert os.environ["IMGRET_HOME"] == str(tmp_path / "h")
    assert os.environ["STREAMLIT_SERVER_ADDRESS"] == "127.0.0.1"
    assert os.environ["STREAMLIT_SERVER_HEADLESS"] == "true"


def test_a_containers_address_is_honoured(served: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", "0.0.0.0")  # noqa: S104 - what a container sets
    monkeypatch.setenv("STREAMLIT_SERVER_HEADLESS", "false")
    port = any_port()
    done = CliRunner().invoke(command.app, ["--port", str(port)], catch_exceptions=False)
    assert f"http://127.0.0.1:{port} " in done.stderr
    assert os.environ["STREAMLIT_SERVER_ADDRESS"] == "0.0.0.0"  # noqa: S104
    assert os.environ["STREAMLIT_SERVER_HEADLESS"] == "false"


def test_a_taken_port_is_refused_when_asked_for(taken: int, served: list[int]) -> None:
    with pytest.raises(SettingError, match=f"Port {taken} is taken"):
        CliRunner().invoke(command.app, ["--port", str(taken)], catch_exceptions=False)
    assert served == []


def test_the_next_free_port_is_taken_otherwise(taken: int) -> None:
    assert taken < free_port("127.0.0.1", taken) < taken + 100


def test_the_page_comes_up_and_stops(tmp_path: Path) -> None:
    port = any_port()
    environment = {**os.environ, "IMGRET_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    environment.pop("STREAMLIT_SERVER_ADDRESS", None)
    log = tmp_path / "log"
    with log.open("wb") as output:
        page = subprocess.Popen(
            [sys.executable, "-m", "imgret_assets.cli.main", "app", "--port", str(port)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        assert answers(f"http://127.0.0.1:{port}/_stcore/health", page) == b"ok", log.read_text()
        with socket.socket() as elsewhere:
            # Every address of 127/8 is this machine: only the one asked for is listened on.
            assert elsewhere.connect_ex(("127.0.0.2", port)) != 0
        page.send_signal(signal.SIGTERM)
        page.wait(timeout=30)
    finally:
        page.kill()
        page.wait()
    said = log.read_text()
    assert f"http://127.0.0.1:{port} " in said
    assert "Traceback" not in said


def answers(address: str, page: subprocess.Popen[bytes]) -> bytes | None:
    """What the address says, once it says something; None if the page ended or took too long."""
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and page.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as response:  # noqa: S310 - an address made here
                return response.read()
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    return None
