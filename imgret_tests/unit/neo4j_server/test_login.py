"""The server's passwords, with a shell script in the place of Neo4j's AdminTool."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from neo4j.exceptions import AuthError, ClientError

from imgret_assets.domain.neo4j_server import login
from imgret_assets.domain.neo4j_server.run_file import ServerFolder, read_run_file
from imgret_assets.errors import ServerError
from imgret_tests.unit.neo4j_server.conftest import Record

SECRET = "not-to-be-seen"


def replace_java(script: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script.write_text(f"#!/bin/sh\nfor last; do :; done\n{text}\n")
    script.chmod(0o755)
    monkeypatch.setattr(login, "java_command", lambda: [str(script)])


def test_a_database_without_its_password_file_is_an_error_with_the_remedy(folder: ServerFolder) -> None:
    (folder.data / "databases" / "system").mkdir(parents=True)
    with pytest.raises(ServerError, match=r"password.json is missing.*imgret run"):
        login.prepare_login(folder)


def test_both_passwords_are_written_for_the_owner_only_before_either_is_used(
    folder: ServerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_java(tmp_path / "java", 'echo "refused $last"\nexit 1', monkeypatch)
    with pytest.raises(ServerError, match="refused …") as raised:
        login.prepare_login(folder)
    secret = json.loads(folder.secret.read_text())
    assert set(secret) == {"password", "initial"}
    assert folder.secret.stat().st_mode & 0o777 == 0o600
    assert not any(word in f"{raised.value!r} {raised.value}" for word in secret.values())


def test_a_first_password_is_never_taken_for_an_option(
    folder: ServerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = tmp_path / "received"
    replace_java(tmp_path / "java", f"printf %s \"$last\" > '{received}'", monkeypatch)
    # An earlier version may have made such a password, which the tool refuses every time.
    folder.secret.write_text(json.dumps({"password": SECRET, "initial": "-begins-like-an-option"}))
    login.prepare_login(folder)
    secret = json.loads(folder.secret.read_text())
    assert received.read_text() == secret["initial"]
    assert secret["initial"].isalnum()
    login.prepare_login(folder)
    assert json.loads(folder.secret.read_text()) == secret, "a password that may be set already is kept"


class Server:
    """Stands for `try_passwords`: raises these errors, then accepts; notes the pauses between the tries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
        self.errors = list(errors)
        self.pauses: list[float] = []
        monkeypatch.setattr(login, "try_passwords", self.answer)
        monkeypatch.setattr(login, "wait_until_ended", lambda _, within_s: self.pauses.append(within_s))

    def answer(self, *_: object) -> None:
        if self.errors:
            raise self.errors.pop(0)


def test_after_a_login_the_first_password_is_forgotten_and_the_server_is_running(
    folder: ServerFolder, record: Record, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    Server(monkeypatch)
    folder.secret.write_text(json.dumps({"password": SECRET, "initial": "first"}))
    connection = login.log_in(folder, record(process.pid, state="starting"), time.monotonic() + 60)
    assert connection is not None
    assert connection.password == SECRET
    assert login.read_secret(folder) == {"password": SECRET}
    assert folder.secret.stat().st_mode & 0o777 == 0o600
    recorded = read_run_file(folder)
    assert recorded is not None
    assert recorded.state == "running"


def test_a_server_that_limits_logins_is_left_alone_for_its_pause(
    folder: ServerFolder, record: Record, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.secret.write_text(json.dumps({"password": SECRET}))
    monkeypatch.setattr(ClientError, "code", "Neo.ClientError.Security.AuthenticationRateLimit")
    # More often than a wrong password is tried: the server has not looked at ours.
    count = login.LOGIN_TRIES + 1
    server = Server(monkeypatch, *[ClientError() for _ in range(count)])
    assert login.log_in(folder, record(process.pid, state="starting"), time.monotonic() + 60)
    assert server.pauses == [login.AUTH_PAUSE_S] * count


def test_a_refused_password_is_tried_three_times(
    folder: ServerFolder, record: Record, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.secret.write_text(json.dumps({"password": SECRET}))
    server = Server(monkeypatch, *[AuthError() for _ in range(login.LOGIN_TRIES)])
    with pytest.raises(ServerError, match=r"refuses the password of .*password\.json") as raised:
        login.log_in(folder, record(process.pid, state="starting"), time.monotonic() + 60)
    assert len(server.pauses) == login.LOGIN_TRIES - 1
    assert SECRET not in str(raised.value)


def test_a_server_that_ends_meanwhile_is_no_error_of_the_login(
    folder: ServerFolder, record: Record, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.secret.write_text(json.dumps({"password": SECRET}))
    server = record(process.pid, state="starting")
    Server(monkeypatch, ClientError())
    process.kill()
    process.wait()
    assert login.log_in(folder, server, time.monotonic() + 60) is None


@pytest.mark.parametrize("text", ["", "{"])
def test_a_damaged_password_file_has_no_passwords(folder: ServerFolder, text: str) -> None:
    folder.secret.write_text(text)
    assert login.read_secret(folder) == {}


def test_a_refused_first_password_is_not_tried_again(
    folder: ServerFolder, record: Record, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where others' wrong logins have shut the server, one more with every try would keep it shut."""
    folder.secret.write_text(json.dumps({"password": SECRET, "initial": "first"}))
    logins: list[str] = []
    limited = ClientError()
    monkeypatch.setattr(ClientError, "code", "Neo.ClientError.Security.AuthenticationRateLimit")
    answers: list[Exception | None] = [AuthError(), limited, limited, None]

    class Driver:
        def __init__(self, _uri: str, *, auth: tuple[str, str], **_: object) -> None:
            logins.append(auth[1])

        def __enter__(self) -> "Driver":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def execute_query(self, *_: object, **__: object) -> None:
            if error := answers.pop(0):
                raise error

    monkeypatch.setattr("neo4j.GraphDatabase.driver", Driver)
    monkeypatch.setattr(login, "wait_until_ended", lambda *_: None)
    assert login.log_in(folder, record(process.pid, state="starting"), time.monotonic() + 60)
    assert logins == ["first", SECRET, SECRET, SECRET]
    assert login.read_secret(folder) == {"password": SECRET}
