"""`imgret serve`: what it refuses before it listens, and the server that it runs."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner, Result

from imgret_assets import locations
from imgret_assets.cli import serve as command
from imgret_assets.domain.neo4j_server.host import unused_port
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import HomeError, ImgretError, SettingError

TOKEN = "0123456789abcdef0123"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Record what would be served."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(uvicorn, "run", lambda application, **options: calls.append(options))
    # The command changes the environment for the server; monkeypatch restores these variables after the test.
    for name in ("IMGRET_API_HOST", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.setenv(name, "")
    return calls


def run(home: Home, *arguments: object) -> Result:
    words = [*map(str, arguments), "--home", str(home.path)]
    return CliRunner().invoke(command.serve, words, standalone_mode=False, catch_exceptions=False)


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def test_the_address_is_on_stderr_and_the_home_in_the_environment(home: Home, served: list[dict[str, Any]]) -> None:
    port = unused_port()
    done = run(home, "--port", port)
    assert f"http://127.0.0.1:{port} " in done.stderr
    [options] = served
    assert (options["host"], options["port"], options["access_log"]) == ("127.0.0.1", port, False)
    assert os.environ["IMGRET_HOME"] == str(home.path)


def test_the_port_is_also_a_setting(home: Home, served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    port = unused_port()
    monkeypatch.setenv("IMGRET_API_PORT", str(port))
    run(home)
    assert served[0]["port"] == port


def test_a_port_in_use_is_an_error(home: Home, served: list[dict[str, Any]], used_port: int) -> None:
    with pytest.raises(SettingError, match=f"Port {used_port} is in use"):
        run(home, "--port", used_port)
    assert served == []


def test_others_are_served_only_with_a_token(
    home: Home, served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = ("--host", "0.0.0.0", "--port", unused_port())  # noqa: S104
    with pytest.raises(SettingError, match="IMGRET_API_TOKEN"):
        run(home, *everywhere)
    assert served == []
    monkeypatch.setenv("IMGRET_API_TOKEN", TOKEN)
    done = run(home, *everywhere)
    assert served[0]["host"] == "0.0.0.0"  # noqa: S104
    assert TOKEN not in done.output


def test_a_home_that_is_not_there_is_an_error(home: Home, served: list[dict[str, Any]]) -> None:
    (home.path / "home.json").unlink()
    with pytest.raises(HomeError, match="There is no home"):
        run(home, "--port", unused_port())
    assert served == []


def test_missing_packages_are_named_with_the_extra(
    home: Home, served: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "fastapi" else name)
    monkeypatch.setattr(locations, "is_checkout", lambda: False)
    with pytest.raises(ImgretError, match=r"fastapi.*imgret\[api\]"):
        run(home)
    assert served == []
