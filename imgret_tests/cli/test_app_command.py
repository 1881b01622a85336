"""`imgret app`: its address, its port, and a page that starts and stops."""

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
import streamlit
from click.testing import CliRunner

from imgret_assets.cli import app as command
from imgret_assets.cli.support.free_port import free_port
from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import SettingError
from imgret_assets.settings import load_settings

READY_TIMEOUT_S = 90.0
BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@pytest.fixture
def served_ports(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the ports that would be served."""
    ports: list[int] = []
    monkeypatch.setattr(command, "serve", ports.append)
    # The command changes the environment for Streamlit; monkeypatch restores these variables after the test.
    for name in ("STREAMLIT_SERVER_ADDRESS", "STREAMLIT_SERVER_HEADLESS", *BLAS_VARIABLES):
        monkeypatch.setenv(name, "")
    return ports


@pytest.fixture
def used_port() -> Iterator[int]:
    """A port in use."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_address_is_on_stderr_and_the_home_in_the_environment(served_ports: list[int], tmp_path: Path) -> None:
    open_home(load_settings({"home": tmp_path / "h"}))
    port = any_free_port()
    done = CliRunner().invoke(command.app, ["--port", str(port), "--home", str(tmp_path / "h")], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout == ""
    assert f"http://127.0.0.1:{port} " in done.stderr
    assert served_ports == [port]
    assert os.environ["IMGRET_HOME"] == str(tmp_path / "h")
    assert os.environ["STREAMLIT_SERVER_ADDRESS"] == "127.0.0.1"
    assert os.environ["STREAMLIT_SERVER_HEADLESS"] == "true"


def test_the_address_of_a_container_is_kept(served_ports: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", "0.0.0.0")  # noqa: S104 - what a container sets
    monkeypatch.setenv("STREAMLIT_SERVER_HEADLESS", "false")
    port = any_free_port()
    done = CliRunner().invoke(command.app, ["--port", str(port)], catch_exceptions=False)
    assert f"http://127.0.0.1:{port} " in done.stderr
    assert os.environ["STREAMLIT_SERVER_ADDRESS"] == "0.0.0.0"  # noqa: S104
    assert os.environ["STREAMLIT_SERVER_HEADLESS"] == "false"


def test_blas_gets_one_thread_before_numpy_loads_it(served_ports: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    CliRunner().invoke(command.app, ["--port", str(any_free_port())], catch_exceptions=False)
    assert {os.environ[name] for name in BLAS_VARIABLES} == {"1"}
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    CliRunner().invoke(command.app, ["--port", str(any_free_port())], catch_exceptions=False)
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
    loaded = "import sys, imgret_assets.cli.app; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_streamlit_collects_no_garbage_after_each_view(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr("streamlit.web.cli.main", lambda arguments, **_: given.append(arguments))
    command.serve(8501)
    assert "--runner.postScriptGC=false" in given[0]
    # By default it does: else the option would be of no use any more.
    assert streamlit.get_option("runner.postScriptGC") is True


def test_a_requested_port_in_use_is_an_error(used_port: int, served_ports: list[int]) -> None:
    with pytest.raises(SettingError, match=f"Port {used_port} is in use"):
        CliRunner().invoke(command.app, ["--port", str(used_port)], catch_exceptions=False)
    assert served_ports == []


def test_without_a_request_the_next_free_port_is_chosen(used_port: int) -> None:
    assert used_port < free_port("127.0.0.1", used_port) < used_port + 100


def test_the_page_starts_and_stops(tmp_path: Path) -> None:
    port = any_free_port()
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
        assert response_of(f"http://127.0.0.1:{port}/_stcore/health", page) == b"ok", log.read_text()
        with socket.socket() as client:
            # All addresses of 127/8 belong to this machine, but the page listens on one only.
            assert client.connect_ex(("127.0.0.2", port)) != 0
        page.send_signal(signal.SIGTERM)
        page.wait(timeout=30)
    finally:
        page.kill()
        page.wait()
    output = log.read_text()
    assert f"http://127.0.0.1:{port} " in output
    assert "Traceback" not in output


def response_of(address: str, page: subprocess.Popen[bytes]) -> bytes | None:
    """Return the first response of the address; None if the page ended or took too long."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and page.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as response:  # noqa: S310 - the address is made in this test
                return response.read()
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    return None
