"""The jars of the embedded server: the committed list, downloads, the folder with all jars."""

from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.neo4j_server import jars as server_jars
from imgret_assets.domain.neo4j_server.jars import Jar, JarList
from imgret_assets.errors import ServerError
from imgret_assets.settings import Settings

CONTENT = b"a jar"


class FakeMaven:
    """A source of jars like a Maven repository; `answers` has bytes, or an exception to raise, for each try."""

    def __init__(self, folder: Path, *answers: bytes | Exception) -> None:
        self.folder = folder
        self.answers = answers
        self.requests: list[tuple[str, int]] = []
        folder.mkdir()

    def __call__(self, jar: Jar, attempt: int) -> Path:
        self.requests.append((jar.coordinate, attempt))
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


def test_the_committed_list_is_complete() -> None:
    listed = server_jars.read_list()
    assert (listed.version, listed.gds_version) == ("2026.01.4", "2.26.0")
    assert len(listed.jars) == len({jar.file_name for jar in listed.jars}) == 396
    assert len(listed.names("plugins")) == 128
    assert "neo4j-browser-5.24.0.jar" in listed.names("lib")
    assert "://" not in server_jars.LIST_FILE.read_text()


@pytest.mark.parametrize("line", ["a:b", "a:b:1 xyz", f"a:b:1 {'A' * 64}", f"a {'0' * 64}", f"a:b:1 {'0' * 64} more"])
def test_a_malformed_line_is_an_error_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "jars.txt"
    path.write_text(f"# a comment\n{line}\n")
    with pytest.raises(ServerError, match=r"Line 2 of jars\.txt"):
        server_jars.read_list(path)


def test_jars_go_to_lib_and_plugins_once(tmp_path: Path, jar_list: JarList) -> None:
    maven = FakeMaven(tmp_path / "maven", CONTENT)
    assembled = server_jars.assemble_listed(jar_list, tmp_path / "cache", fetch=maven)
    assert sorted(path.name for path in (assembled.path / "lib").iterdir()) == [
        "native-1.0-linux-x86_64.jar",
        "server-1.0.jar",
    ]
    assert [path.name for path in (assembled.path / "plugins").iterdir()] == ["proc-2.0.jar"]
    assert server_jars.assemble_listed(jar_list, tmp_path / "cache", fetch=maven) == assembled
    assert len(maven.requests) == 3
    assert [path.name for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")] == [
        assembled.path.name
    ]


def test_a_jar_removed_by_hand_is_downloaded_again(tmp_path: Path, jar_list: JarList) -> None:
    maven = FakeMaven(tmp_path / "maven", CONTENT)
    assembled = server_jars.assemble_listed(jar_list, tmp_path / "cache", fetch=maven)
    (assembled.path / "plugins" / "proc-2.0.jar").unlink()
    server_jars.assemble_listed(jar_list, tmp_path / "cache", fetch=maven)
    assert (assembled.path / "plugins" / "proc-2.0.jar").read_bytes() == CONTENT


@pytest.mark.parametrize("bad", [b"half-written", RuntimeError("not found"), OSError("no answer")])
def test_a_failed_download_is_tried_twice_more(tmp_path: Path, jar_list: JarList, bad: bytes | Exception) -> None:
    maven = FakeMaven(tmp_path / "maven", bad, bad, CONTENT)
    server_jars.assemble_listed(jar_list, tmp_path / "cache", fetch=maven)
    assert sorted({attempt for _, attempt in maven.requests}) == [1, 2, 3]


@pytest.mark.parametrize(
    ("bad", "cause"), [(b"another", "listed is"), (RuntimeError("no such artifact"), "no such artifact")]
)
def test_after_three_tries_the_coordinate_is_in_the_error(
    tmp_path: Path, jar_list: JarList, bad: bytes | Exception, cause: str
) -> None:
    single = replace(jar_list, jars=jar_list.jars[1:2])
    maven = FakeMaven(tmp_path / "maven", bad)
    with pytest.raises(ServerError, match=f"a.b:native:1.0:linux-x86_64.*3 tries.*{cause}"):
        server_jars.assemble_listed(single, tmp_path / "cache", fetch=maven)
    assert len(maven.requests) == 3
    assert not (tmp_path / "cache" / single.folder_name).exists()


def test_other_versions_are_resolved_once_with_a_warning(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved: list[list[str]] = []

    def resolve(coordinates: list[str], cache: Path) -> list[str]:
        resolved.append(coordinates)
        return ["org.neo4j:neo4j:9.9", "org.neo4j.gds:proc:8.8"]

    monkeypatch.setattr(server_jars, "resolve_coordinates", resolve)
    monkeypatch.setattr(server_jars, "MavenFetcher", lambda _: FakeMaven(tmp_path / "maven", CONTENT))
    monkeypatch.setattr(server_jars, "BROWSER", "none")
    other_versions = replace(settings, neo4j=replace(settings.neo4j, version="9.9", gds_version="8.8"))
    lines: list[str] = []
    folder = server_jars.assemble(other_versions, log=lines.append)
    assert server_jars.assemble(other_versions, log=lines.append) == folder
    assert (folder.version, folder.gds_version) == ("9.9", "8.8")
    assert resolved == [["org.neo4j:neo4j:9.9", "org.neo4j.gds:proc:8.8", "org.neo4j.gds:opengds-extension:8.8"]]
    assert [path.name for path in (folder.path / "plugins").iterdir()] == ["proc-8.8.jar"]
    assert "without checking their hashes" in lines[0]


def test_another_list_has_another_folder(jar_list: JarList) -> None:
    assert small_list().folder_name != jar_list.folder_name
    assert jar_list.folder_name.startswith("neo4j-1.0-")


@pytest.mark.parametrize(
    ("mirror_of", "used"),
    [("central", True), ("*", True), ("external:*", True), ("*,!central", False), ("other", False)],
)
def test_the_mirror_in_maven_s_settings_is_used(tmp_path: Path, mirror_of: str, used: bool) -> None:
    xml = tmp_path / "settings.xml"
    xml.write_text(
        '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0"><mirrors><mirror>'
        f"<mirrorOf>{mirror_of}</mirrorOf><url>https://mirror.test/maven/</url></mirror></mirrors></settings>"
    )
    repositories = server_jars.remote_repositories({"first": "https://first.test/"}, xml)
    assert list(repositories) == ["first", "central"]
    assert (repositories["central"] == "https://mirror.test/maven") is used
