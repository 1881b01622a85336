"""`make test-compose` where no containers can be started: what it says, which services it knows, what it asks the API.

The round itself needs an engine.
"""

import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from imgret_assets.domain.neo4j_server.host import LOCALHOST
from imgret_assets.image_roots import ImageRoots
from imgret_assets.locations import PROJECT
from imgret_tests.support.compose_project import (
    COMPOSE_AT_LEAST,
    ENGINE_AT_LEAST,
    OURS,
    PORTS,
    PROFILES,
    RUNNING,
    ComposeProject,
    RoundError,
    compose_project,
    missing,
)

NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
# What a client says, and its exit code, to: compose version, version, buildx version.
GOOD = {"compose": ("2.24.1", 0), "version": ("25.0.3", 0), "buildx": ("github.com/docker/buildx 0.13.1", 0)}
BAD = {
    "no compose": ({"compose": ("docker: 'compose' is not a docker command.", 1)}, "Docker Compose does not answer"),
    "old compose": ({"compose": ("v2.23.3", 0)}, r"Docker Compose v2\.23\.3 is too old; 2\.24 or newer is needed"),
    "no engine": ({"version": (NO_DAEMON, 1)}, "Docker Engine does not answer: Cannot connect to the Docker daemon"),
    "old engine": ({"version": ("24.0.9", 0)}, r"Docker Engine 24\.0\.9 is too old; 25\.0 or newer is needed"),
    "no version": ({"version": ("", 0)}, "Docker Engine without a version is too old"),
    "no buildx": ({"buildx": ("docker: 'buildx' is not a docker command.", 1)}, "Docker Buildx does not answer"),
    "silent": ({"version": ("", 3)}, "Docker Engine does not answer: exit code 3"),
}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH, empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compose_round", PROJECT / "scripts" / "compose_round.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_client(folder: Path, answers: dict[str, tuple[str, int]]) -> None:
    """A `docker` that gives these answers, on stdout where it succeeds."""
    cases = [
        f'{word}) echo "{text}" {"" if code == 0 else ">&2"}; exit {code};;' for word, (text, code) in answers.items()
    ]
    client = folder / "docker"
    client.write_text("\n".join(["#!/bin/sh", 'case "$1" in', *cases, "esac"]))
    client.chmod(0o755)


def test_nothing_is_missing_where_all_three_answer(path: Path) -> None:
    write_client(path, GOOD)
    assert missing() is None


@pytest.mark.parametrize("case", BAD)
def test_what_is_missing_is_named(path: Path, case: str) -> None:
    answers, said = BAD[case]
    write_client(path, GOOD | answers)
    assert re.match(said, missing() or "")


@pytest.mark.parametrize("client", [False, True])
def test_the_round_ends_with_one_line_where_something_is_missing(
    path: Path, script: ModuleType, capsys: pytest.CaptureFixture[str], client: bool
) -> None:
    if client:
        write_client(path, GOOD | BAD["no engine"][0])
    assert script.main() == 1
    [line] = capsys.readouterr().err.splitlines()
    expected = "Is the docker daemon running?" if client else "no command `docker` is on the PATH"
    assert line.startswith("test-compose: no containers can be started here: ")
    assert line.endswith(expected)


def test_the_image_of_a_round_that_was_killed_is_removed_before_the_next_build(path: Path, tmp_path: Path) -> None:
    # Otherwise the next build leaves it without a name, which is what the round reports as a fault.
    calls = tmp_path / "calls"
    client = path / "docker"
    client.write_text(f'#!/bin/sh\necho "$*" >> {calls}\ncase "$1 $2" in "image ls") echo 5890a2;; esac\n')
    client.chmod(0o755)
    folder = tmp_path / "round"
    folder.mkdir()
    with compose_project(folder):
        before = calls.read_text().splitlines()
    assert "down --volumes" in before[0]
    assert before[-1] == "image rm --force 5890a2"


def test_the_round_asks_for_the_versions_that_the_page_names() -> None:
    page = (PROJECT / "docs" / "operate" / "compose.md").read_text(encoding="utf-8")
    engine, compose = ENGINE_AT_LEAST[0], ".".join(map(str, COMPOSE_AT_LEAST))
    assert f"Docker Engine {engine} and Compose {compose}, or newer" in page


def test_the_round_starts_every_service_and_gives_each_a_port_of_its_own(tmp_path: Path) -> None:
    text = (PROJECT / "docker-compose.yml").read_text(encoding="utf-8")
    services = yaml.safe_load(text)["services"]
    assert set(RUNNING) == set(services) - {"setup"}
    assert set(OURS) == {name for name, service in services.items() if service["image"].startswith("imgret:")}
    assert set(PROFILES) == {profile for service in services.values() for profile in service.get("profiles", [])}
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert set(PORTS) == {found[1] for port in published if (found := re.search(r"\$\{(\w+_PORT):-", port))}
    project = ComposeProject(tmp_path, "image", dict.fromkeys(PORTS, 1), 1000)
    words = project.command("up", "--detach")
    assert words[-4:] == ["--profile", "api", "up", "--detach"]


class _Api(BaseHTTPRequestHandler):
    """An API that needs the token "right", if anything."""

    needs_token = True

    def do_GET(self) -> None:
        open_to_all = self.path == "/readyz" or not self.needs_token
        is_allowed = open_to_all or self.headers.get("Authorization") == "Bearer right"
        self.send_response(200 if is_allowed else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"path": self.path.removeprefix("/v1/images/")}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""


@pytest.fixture
def api_round(tmp_path: Path, script: ModuleType) -> Iterator[Any]:
    """A round whose only service is a small API."""
    (tmp_path / "images" / "mugs").mkdir(parents=True)
    (tmp_path / "images" / "mugs" / "one.png").touch()
    (tmp_path / "compose.env").write_text("# secrets\nIMGRET_COMPOSE_API_TOKEN=right\n")
    with ThreadingHTTPServer((LOCALHOST, 0), _Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield script.Round(ComposeProject(tmp_path, "image", {"IMGRET_API_PORT": server.server_port}, 1000))
        server.shutdown()


def test_the_api_must_answer_with_its_token_and_refuse_without(
    api_round: Any, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script.api(api_round) == "ready; mugs/one.png with the token, 401 without"
    monkeypatch.setattr(_Api, "needs_token", False)
    with pytest.raises(RoundError, match="answers with 200 and must refuse"):
        script.api(api_round)
    monkeypatch.setattr(_Api, "needs_token", True)
    (api_round.project.folder / "compose.env").write_text("IMGRET_COMPOSE_API_TOKEN=other\n")
    with pytest.raises(RoundError, match="answers with 401"):
        script.api(api_round)


def test_the_documented_override_mounts_what_its_roots_name() -> None:
    base = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    page = (PROJECT / "docs" / "operate" / "compose.md").read_text()
    [override] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    services = override["services"]
    # Those that open images; `setup` draws the samples and lists none.
    assert set(services) == {name for name in base if _mounts(base[name]).get("/images")} - {"setup"}
    for name, service in services.items():
        assert set(service) <= {"environment", "volumes"}
        assert set(service["environment"]) == {"IMGRET_IMAGES"}
        roots = ImageRoots.parse(service["environment"]["IMGRET_IMAGES"])
        mounts = _mounts(base[name]) | _mounts(service)
        assert roots.names == ["archive", "photos"]
        for _, folder in roots.folders:
            mount = mounts[str(folder)]
            assert (mount["type"], mount["read_only"], mount["bind"]) == ("bind", True, {"create_host_path": False})


def _mounts(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The bind mounts of a service by their place in the container."""
    return {volume["target"]: volume for volume in service.get("volumes", []) if isinstance(volume, dict)}
