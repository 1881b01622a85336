"""`imgret db` against a real server."""

import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from neo4j import Driver

from imgret_assets.cli import db as db_commands
from imgret_assets.errors import DatabaseError, SettingError
from imgret_tests.support.neo4j_server import TestedServer, clean_environment
from imgret_tests.support.terminals import controls_in, shown_on_a_terminal

pytestmark = pytest.mark.server

KEYS = ["running", "uri", "username", "version", "gds", "home"]
Imgret = Callable[..., Result]


@pytest.fixture
def imgret(tested_server: TestedServer, database: Driver) -> Imgret:
    """Runs `imgret db …` on the emptied server under test."""
    env: dict[str, str | None] = {name: None for name in os.environ if name.startswith("NEO4J_")}
    env |= {"IMGRET_ENV_FILE": os.devnull} | tested_server.env

    def run(*arguments: str, text: str | None = None) -> Result:
        return CliRunner().invoke(db_commands.db, arguments, input=text, env=env)

    return run


def test_status_says_what_runs_and_hides_the_password(imgret: Imgret, tested_server: TestedServer) -> None:
    said = json.loads(imgret("status", "--json").stdout)
    assert list(said) == KEYS
    assert said["running"] is True
    assert said["uri"] == tested_server.connection.uri
    assert said["gds"].startswith("2.")
    shown = json.loads(imgret("status", "--json", "--show-password").stdout)
    assert list(shown) == [*KEYS, "password"]
    assert shown["password"] == tested_server.connection.password
    assert tested_server.connection.password not in imgret("status").output


def test_status_of_a_given_server_asks_it(tested_server: TestedServer, tmp_path: Path) -> None:
    found = tested_server.connection
    env = {"NEO4J_URI": found.uri, "NEO4J_PASSWORD": found.password, "IMGRET_ENV_FILE": os.devnull}
    env["IMGRET_HOME"] = str(tmp_path)
    said = CliRunner().invoke(db_commands.db, ["status", "--json"], env=env)
    report = json.loads(said.stdout)
    assert (report["running"], report["version"][:4], report["gds"][:2]) == (True, "2026", "2.")
    assert report["home"] == str(tmp_path)
    wrong = CliRunner().invoke(db_commands.db, ["status"], env=env | {"NEO4J_PASSWORD": "wrong-password"})
    assert isinstance(wrong.exception, DatabaseError)


def test_a_given_server_that_does_not_answer_is_not_running(tmp_path: Path) -> None:
    env = {"NEO4J_URI": "bolt://127.0.0.1:1", "IMGRET_ENV_FILE": os.devnull, "IMGRET_HOME": str(tmp_path)}
    said = CliRunner().invoke(db_commands.db, ["status", "--json"], env=env)
    assert json.loads(said.stdout)["running"] is False


def test_shell_runs_a_file(imgret: Imgret, tmp_path: Path, database: Driver) -> None:
    script = tmp_path / "a script.cypher"
    script.write_text(
        "// two; nodes\n:param name 'a;b'\n:param numbers [1, 2.5]\n"
        "CREATE (:Image {path: $name, embeddings: [x IN range(1, 2048) | 0.5]});\n"
        "MATCH (n:Image) RETURN n, $numbers AS numbers"
    )
    said = imgret("shell", "--file", str(script))
    assert said.exit_code == 0, said.output
    assert '(:Image {embeddings: [0.5, 0.5, … 2048 numbers], path: "a;b"}) | [1, 2.5]' in said.output
    assert "1 node created" in said.output
    assert database.execute_query("MATCH (n) RETURN n.path AS path").records[0]["path"] == "a;b"


def test_shell_reads_stdin_and_stops_at_the_first_failure(imgret: Imgret) -> None:
    said = imgret("shell", text="RETURN 41 + 1 AS answer; RETURN oops; CREATE (:Never)")
    assert said.exit_code == 1
    assert isinstance(said.exception, DatabaseError)
    assert "Variable `oops` not defined" in str(said.exception)
    assert "42" in said.output
    assert "0" in imgret("shell", text="MATCH (n:Never) RETURN count(n) AS n").output


def test_shell_shows_no_control_characters_on_a_terminal(tested_server: TestedServer, tmp_path: Path) -> None:
    statements = 'RETURN "a\\u001b[2J\\u009bb" AS `x\\u001b]0;y\\u0007`; :param p "\x1b[2J"\n:none\x1b[2J'
    command = [sys.executable, "-m", "imgret_assets.cli.main", "db", "shell"]
    shown = shown_on_a_terminal(command, clean_environment() | tested_server.env, tmp_path, text=statements)
    assert r"a\x1b[2J\x9bb" in shown, shown
    assert r":none\x1b[2j is not a command" in shown, shown
    assert controls_in(shown) == set()


def test_shell_refuses_half_a_parameter(imgret: Imgret) -> None:
    assert isinstance(imgret("shell", text=":param k").exception, SettingError)


def test_shell_stops_at_exit(imgret: Imgret) -> None:
    said = imgret("shell", text=":help\n:exit\nRETURN 'unreached';")
    assert said.exit_code == 0
    assert ":embed NAME IMAGE" in said.output
    assert "unreached" not in said.output


def test_shell_puts_a_pictures_vector_into_a_parameter(
    imgret: Imgret, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The model is not what is tested here.
    search = types.ModuleType("imgret_assets.domain.search.query_embedding")
    search.embed_query = lambda settings, path: np.full(4, 0.5, np.float32)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "imgret_assets.domain.search.query_embedding", search)
    (tmp_path / "a photo.jpg").write_bytes(b"")
    said = imgret("shell", text=f":embed v {tmp_path}/a photo.jpg\nRETURN size($v) AS numbers, $v[0] AS first;")
    assert said.exit_code == 0, said.output
    assert "$v = [0.5, 0.5, 0.5, 0.5]" in said.output
    assert "      4 |   0.5" in said.output


def test_browse_prints_the_address_and_no_password(
    imgret: Imgret, tested_server: TestedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tested_server.connection.http_port is None:
        pytest.skip("the Browser of a given server is not ours to open")
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    said = imgret("browse")
    assert said.exit_code == 0, said.output
    assert opened[0] in said.output
    assert "SIMILAR_TO" in opened[0]
    assert tested_server.connection.password not in said.output
    imgret("browse", "--no-open")
    assert len(opened) == 1


def test_start_finds_the_running_one(imgret: Imgret, tested_server: TestedServer) -> None:
    said = imgret("start")
    assert said.exit_code == 0
    assert tested_server.connection.uri in said.output
