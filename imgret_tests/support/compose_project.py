"""A project of docker-compose.yml of its own, beside one that may be in use: other names, ports, image and volumes.

Belongs here: what a Docker engine must offer, compose commands, requests to Dagster's UI, waiting. Not here: what is
tried on the containers (`scripts/compose_round.py`).
"""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from imgret_assets.domain.neo4j_server.host import LOCALHOST, unused_port
from imgret_assets.domain.operations.compose_secrets import write_compose_env
from imgret_assets.locations import PROJECT

NAME = "imgret-round"
# `start_interval` of health checks, and its support by compose, as docs/operate/compose.md says.
ENGINE_AT_LEAST = (25, 0)
COMPOSE_AT_LEAST = (2, 24)
OURS = ("setup", "code", "webserver", "daemon", "page", "api")
RUNNING = ("neo4j", "postgres", "code", "webserver", "daemon", "page", "api")
# Services that start only when they are asked for.
PROFILES = ("api",)
PORTS = (
    "IMGRET_WEBSERVER_PORT",
    "IMGRET_PAGE_PORT",
    "IMGRET_API_PORT",
    "IMGRET_NEO4J_HTTP_PORT",
    "IMGRET_NEO4J_BOLT_PORT",
)
ANSWER_WITHIN_S = 30.0
COMMAND_WITHIN_S = 900.0
_LOOK_EVERY_S = 0.5
# Every process of the container but the first one, which ends with the process that it started.
_KILL_ALL = "kill -9 -1"


class RoundError(Exception):
    """Something in the containers is not as it is to be."""


def missing() -> str | None:
    """Return why no containers can be started here, in one line; None if nothing is missing."""
    if shutil.which("docker") is None:
        return "no command `docker` is on the PATH"
    for words, name, at_least in (
        (["compose", "version", "--short"], "Docker Compose", COMPOSE_AT_LEAST),
        (["version", "--format", "{{.Server.Version}}"], "Docker Engine", ENGINE_AT_LEAST),
        (["buildx", "version"], "Docker Buildx", (0, 0)),
    ):
        try:
            done = _run(["docker", *words], within_s=ANSWER_WITHIN_S)
        except subprocess.TimeoutExpired:
            return f"{name} does not answer `docker {words[0]} {words[1]}` within {ANSWER_WITHIN_S:g} s"
        said = f"{done.stderr}\n{done.stdout}".strip().splitlines()
        if done.returncode != 0:
            return f"{name} does not answer: {said[0] if said else f'exit code {done.returncode}'}"
        found = re.search(r"(\d+)\.(\d+)", done.stdout)
        if found is None or (int(found[1]), int(found[2])) < at_least:
            needed = ".".join(map(str, at_least))
            return f"{name} {done.stdout.strip() or 'without a version'} is too old; {needed} or newer is needed"
    return None


@dataclass(frozen=True)
class ComposeProject:
    """The services of docker-compose.yml under another name.

    Attributes:
        folder: secrets, images and the file that gives our image another name; removed at the end.
        image: name of the built image.
        ports: the variables of the published ports, and the ports.
        user: user and group id of the processes.
    """

    folder: Path
    image: str
    ports: Mapping[str, int]
    user: int

    @property
    def images(self) -> Path:
        """The folder that the containers have as /images."""
        return self.folder / "images"

    def address(self, variable: str) -> str:
        """Return the address of a published port by its variable."""
        return f"http://{LOCALHOST}:{self.ports[variable]}"

    def command(self, *words: str) -> list[str]:
        """Return the words of a compose command for this project."""
        files = ["--file", str(PROJECT / "docker-compose.yml"), "--file", str(self.folder / "round.yml")]
        where = ["--project-directory", str(PROJECT), "--env-file", str(self.folder / "compose.env")]
        profiles = [word for profile in PROFILES for word in ("--profile", profile)]
        return ["docker", "compose", "--project-name", NAME, *files, *where, *profiles, *words]

    def environment(self, changes: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of compose commands: without settings of the caller, which would change the round."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMGRET_", "COMPOSE_"))}
        if extra := os.environ.get("IMGRET_PIP_EXTRA_INDEX_URL"):
            kept["IMGRET_PIP_EXTRA_INDEX_URL"] = extra
        own = {"IMGRET_IMAGES_DIR": str(self.images), "IMGRET_UID": str(self.user), "IMGRET_GID": str(self.user)}
        ports = {name: str(port) for name, port in self.ports.items()}
        return kept | own | ports | {"ROUND_IMAGE": self.image} | dict(changes or {})

    def compose(
        self, *words: str, check: bool = True, changes: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Execute a compose command, with changes of its environment.

        Raises:
            RoundError: it failed, and `check` is True; or it did not end in time.
        """
        said = f"`docker compose {' '.join(words)}`"
        try:
            done = _run(self.command(*words), env=self.environment(changes))
        except subprocess.TimeoutExpired as error:
            raise RoundError(f"{said} did not end within {error.timeout:g} s") from error
        if check and done.returncode != 0:
            raise RoundError(f"{said} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
        return done

    def begin(self, service: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a command in a container and return the process of the client."""
        return subprocess.Popen(
            self.command("exec", "-T", service, *words),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def states(self) -> dict[str, tuple[str, str]]:
        """Return each service's state with its health, such as `running healthy`, and the start of its container."""
        found: dict[str, tuple[str, str]] = {}
        ids = self.compose("ps", "--all", "--quiet").stdout.split()
        if not ids:
            return found
        for container in json.loads(_docker("container", "inspect", *ids)):
            state = container["State"]
            health = state.get("Health", {}).get("Status", "")
            service = container["Config"]["Labels"]["com.docker.compose.service"]
            found[service] = (f"{state['Status']} {health}".strip(), state["StartedAt"])
        return found

    def wait_until_healthy(self, services: tuple[str, ...] = RUNNING, within_s: float = 600.0) -> None:
        """Return as soon as all these services are healthy.

        Raises:
            RoundError: they are not in time; says which.
        """

        def look() -> str | None:
            states = self.states()
            ill = [f"{name}: {states.get(name, ('absent',))[0]}" for name in services]
            return ", ".join(line for line in ill if not line.endswith(": running healthy")) or None

        self.wait(lambda: look() is None, within_s, f"{', '.join(services)} healthy", look)

    def kill_processes(self, service: str) -> None:
        """Kill the processes of a service as the kernel does without memory, and wait for its next container start."""
        before = self.states()[service][1]
        self.compose("exec", "-T", service, "sh", "-c", _KILL_ALL, check=False)
        self.wait(lambda: self.states()[service][1] != before, 120.0, f"a restart of {service}")
        self.wait_until_healthy((service,))

    def ask(self, query: str, **variables: Any) -> Any:
        """Return the data of an answer of Dagster's GraphQL.

        Raises:
            RoundError: it names an error, or does not answer.
        """
        body = json.dumps({"query": query, "variables": variables}).encode()
        address = f"{self.address('IMGRET_WEBSERVER_PORT')}/graphql"
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310 - our own
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:  # noqa: S310
                said = json.load(answer)
        except (OSError, ValueError) as error:
            raise RoundError(f"{address} does not answer: {error}") from error
        if "errors" in said:
            raise RoundError(f"{address}: {said['errors']}")
        return said["data"]

    def secret(self, name: str) -> str:
        """Return a secret of this project by its variable."""
        lines = (self.folder / "compose.env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)[name]

    def get(self, variable: str, path: str, *, token: str | None = None, refused: bool = False) -> bytes:
        """Return what a published port answers to GET.

        Args:
            variable: of the port.
            path: of the address.
            token: sent as the bearer's.
            refused: the answer must be 401 instead of a good one.

        Raises:
            RoundError: it does not answer, or otherwise than it must.
        """
        address = f"{self.address(variable)}{path}"
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(address, headers=headers)  # noqa: S310 - our own
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:  # noqa: S310
                if refused:
                    raise RoundError(f"{address} answers with {answer.status} and must refuse")
                return answer.read()
        except urllib.error.HTTPError as error:
            if refused and error.code == HTTPStatus.UNAUTHORIZED:
                return error.read()
            raise RoundError(f"{address} answers with {error.code}: {error.read()[:1000]!r}") from error
        except OSError as error:
            raise RoundError(f"{address} does not answer: {error}") from error

    def wait(
        self, look: Callable[[], Any], within_s: float, what: str, found: Callable[[], object] | None = None
    ) -> Any:
        """Return what `look` gives as soon as it is true.

        Raises:
            RoundError: it never was in time; says `what` was waited for, and what `found` gives.
        """
        deadline = time.monotonic() + within_s
        while not (seen := look()):
            if time.monotonic() > deadline:
                state = f"; found {found()}" if found else ""
                raise RoundError(f"waited {within_s:g} s for: {what}{state}")
            time.sleep(_LOOK_EVERY_S)
        return seen


@contextmanager
def compose_project(folder: Path) -> Iterator[ComposeProject]:
    """Provide a project in an empty folder; its containers, volumes and images are removed at the end.

    What an earlier round left behind, because it was killed, is removed first.
    """
    # Containers never run as root; another user gives its own id, with which they can read its files.
    user = os.getuid() or 1000
    project = ComposeProject(folder, f"{NAME}:built", {name: unused_port() for name in PORTS}, user)
    write_compose_env(folder / "compose.env")
    lines = "".join(f"  {name}:\n    image: ${{ROUND_IMAGE}}\n" for name in OURS)
    (folder / "round.yml").write_text(f"services:\n{lines}", encoding="utf-8")
    project.images.mkdir()
    try:
        _remove(project)
        yield project
    finally:
        _remove(project, check=False)


def unnamed_images() -> set[str]:
    """Return the ids of all images without a name."""
    return set(_docker("image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true").split())


def _remove(project: ComposeProject, check: bool = True) -> None:
    """Remove containers, volumes and images of all rounds; with `check`, RoundError if containers stay."""
    project.compose("down", "--volumes", "--remove-orphans", check=check)
    if names := _docker("image", "ls", "--quiet", NAME).split():
        _docker("image", "rm", "--force", *sorted(set(names)))


def _docker(*words: str) -> str:
    done = _run(["docker", *words])
    if done.returncode != 0:
        raise RoundError(f"`docker {' '.join(words)}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _run(
    command: list[str], env: Mapping[str, str] | None = None, within_s: float = COMMAND_WITHIN_S
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=within_s,
        check=False,
    )
