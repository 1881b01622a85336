"""docker-compose.yml and its secrets: no engine needed, so only what the files themselves promise."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from imgret_assets.domain.operations.compose_secrets import API_TOKEN, VARIABLES, write_compose_env
from imgret_assets.errors import ImgretError

PROJECT = Path(__file__).resolve().parents[3]
COMPOSE = PROJECT / "docker-compose.yml"
SERVICES = {"neo4j", "postgres", "setup", "code", "webserver", "daemon", "page", "api"}
# ${NAME}, ${NAME:-default} or ${NAME:?message}, but not the $${…} that a container's shell gets.
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")
PINNED = re.compile(r"[\w./-]+:\d+(\.\d+){1,2}(-[a-z][a-z-]*)?")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]


def stage_sources(dockerfile: str) -> list[str]:
    """The image of every stage that is not an earlier stage of the same file."""
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", dockerfile, flags=re.MULTILINE)
    names = {name for _, name in stages}
    return [source for source, _ in stages if source not in names]


def test_the_services_are_those_the_page_names(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == SERVICES


def test_no_password_is_written_in_the_file(services: dict[str, dict[str, Any]]) -> None:
    secrets = [
        (name, key, value)
        for name, service in services.items()
        for key, value in service.get("environment", {}).items()
        if re.search("PASSWORD|AUTH|SECRET|TOKEN", key)
    ]
    assert {name for name, _, _ in secrets} == SERVICES
    for name, key, value in secrets:
        found = VARIABLE.fullmatch(value.removeprefix("neo4j/"))
        assert found, f"{name}: {key} is not from a variable alone"
        assert found["name"] in (*VARIABLES, API_TOKEN), f"{name}: {key}"


def test_a_missing_secret_stops_compose_and_says_what_to_do() -> None:
    used = [found for found in VARIABLE.finditer(COMPOSE.read_text(encoding="utf-8")) if found["name"] in VARIABLES]
    assert {found["name"] for found in used} == set(VARIABLES)
    for found in used:
        assert found["rest"].startswith(":?"), found[0]
        assert "imgret setup" in found["rest"]
        assert "--env-file compose.env" in found["rest"]


def test_every_other_variable_has_a_default() -> None:
    for found in VARIABLE.finditer(COMPOSE.read_text(encoding="utf-8")):
        assert found["name"] in VARIABLES or found["rest"].startswith(":-"), found[0]


def test_the_api_runs_only_by_its_profile_and_gets_its_token(services: dict[str, dict[str, Any]]) -> None:
    """Files of secrets that earlier versions wrote have no token: it must not be required of everybody."""
    assert {name for name, service in services.items() if "profiles" in service} == {"api"}
    assert services["api"]["command"][:4] == ["imgret", "serve", "--host", "0.0.0.0"]  # noqa: S104
    assert services["api"]["environment"]["IMGRET_API_TOKEN"] == f"${{{API_TOKEN}:-}}"
    assert "api" in (PROJECT / "docker/requirements.py").read_text(encoding="utf-8")


def test_ports_are_published_on_this_machine_only(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"neo4j", "webserver", "page", "api"}
    for name, ports in published.items():
        assert all(port.startswith("127.0.0.1:") for port in ports), name


def test_what_browsers_reach_refuses_other_sites(services: dict[str, dict[str, Any]]) -> None:
    assert services["webserver"]["command"][:3] == ["python", "-m", "imgret_assets.defs.webserver"]
    assert services["page"]["command"][:2] == ["imgret", "app"]
    for name in ("webserver", "page", "api"):
        assert services[name]["environment"]["IMGRET_ALLOWED_HOSTS"] == "${IMGRET_ALLOWED_HOSTS:-}", name


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_images_have_an_exact_version(services: dict[str, dict[str, Any]], service: str) -> None:
    assert PINNED.fullmatch(services[service]["image"]), services[service]["image"]


def test_the_dockerfile_starts_from_an_exact_version() -> None:
    sources = stage_sources((PROJECT / "Dockerfile").read_text(encoding="utf-8"))
    assert sources
    assert all(PINNED.fullmatch(source) for source in sources), sources


def test_our_image_has_the_version_of_the_project(services: dict[str, dict[str, Any]]) -> None:
    version = re.search(r'^version = "(.+)"$', (PROJECT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    built = {service["image"] for service in services.values() if "build" in service}
    assert built == {f"imgret:{version[1]}"}


def test_one_service_builds_our_image_and_no_registry_is_asked_for_it(services: dict[str, dict[str, Any]]) -> None:
    """Five builds under one tag leave four images without a name."""
    assert [name for name, service in services.items() if "build" in service] == ["setup"]
    ours = {name: service for name, service in services.items() if service["image"] == services["setup"]["image"]}
    assert set(ours) == SERVICES - {"neo4j", "postgres"}
    assert {service["pull_policy"] for name, service in ours.items() if name != "setup"} == {"never"}


def test_other_ids_do_not_install_the_packages_again() -> None:
    last_stage = (PROJECT / "Dockerfile").read_text(encoding="utf-8").rsplit("\nFROM ", 1)[1]
    assert last_stage.index("RUN pip install --no-deps") < last_stage.index("ARG UID")


def test_set_up_draws_the_queries_though_the_image_has_a_folder_of_images(services: dict[str, dict[str, Any]]) -> None:
    assert "IMGRET_IMAGES=/images" in (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    assert services["setup"]["command"] == ["imgret", "setup", "--samples"]


def test_neo4j_tells_browsers_the_ports_that_are_published(services: dict[str, dict[str, Any]]) -> None:
    neo4j = services["neo4j"]
    addresses = {
        f"{address}:{inner}"
        for address, inner in (
            (neo4j["environment"]["NEO4J_server_bolt_advertised__address"], 7687),
            (neo4j["environment"]["NEO4J_server_http_advertised__address"], 7474),
        )
    }
    assert addresses == set(neo4j["ports"])


@pytest.mark.parametrize("service", sorted(SERVICES - {"setup"}))
def test_what_keeps_running_says_whether_it_is_well(services: dict[str, dict[str, Any]], service: str) -> None:
    assert services[service]["healthcheck"]["test"]
    assert services[service]["restart"] == "unless-stopped"


def test_set_up_ends_and_is_waited_for(services: dict[str, dict[str, Any]]) -> None:
    assert services["setup"]["restart"] == "no"
    for name in ("code", "page", "api"):
        assert services[name]["depends_on"]["setup"] == {"condition": "service_completed_successfully"}


def test_nothing_starts_before_what_it_depends_on_is_well(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            ended = "service_completed_successfully"
            assert how["condition"] == (ended if needed == "setup" else "service_healthy"), f"{name} on {needed}"


def test_no_container_runs_as_root_or_gets_the_docker_socket(services: dict[str, dict[str, Any]]) -> None:
    users = re.findall(r"^USER (\S+)$", (PROJECT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert users == ["${UID}:${GID}"]
    for name, service in services.items():
        assert service["image"].startswith("imgret:") or service["user"] not in {"root", "0", "0:0"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert "privileged" not in service, name
    assert "docker.sock" not in COMPOSE.read_text(encoding="utf-8")


def test_images_are_mounted_read_only_and_never_created(services: dict[str, dict[str, Any]]) -> None:
    for name in ("setup", "code", "page", "api"):
        (mount,) = [volume for volume in services[name]["volumes"] if isinstance(volume, dict)]
        assert mount["target"] == "/images", name
        assert mount["read_only"] is True, name
        assert mount["bind"] == {"create_host_path": False}, name


def test_the_neo4j_container_gets_no_variable_that_is_no_setting(services: dict[str, dict[str, Any]]) -> None:
    """Its image writes any other NEO4J_… into neo4j.conf, and an unknown setting stops the server."""
    names = set(services["neo4j"]["environment"])
    assert all(name.startswith(("NEO4J_server_", "NEO4J_dbms_")) for name in names - {"NEO4J_AUTH", "NEO4J_PLUGINS"})


def test_dagster_names_its_driver_and_takes_its_login_from_the_environment(
    services: dict[str, dict[str, Any]],
) -> None:
    instance = yaml.safe_load((PROJECT / "docker" / "dagster.yaml").read_text(encoding="utf-8"))
    login = instance["storage"]["postgres"]["postgres_db"]
    assert login["scheme"] == "postgresql+psycopg2"
    named = {value["env"] for value in login.values() if isinstance(value, dict)}
    for name in ("code", "webserver", "daemon", "setup"):
        assert named <= set(services[name]["environment"]), name
    assert instance["telemetry"] == {"enabled": False}
    assert instance["run_monitoring"]["enabled"] is True
    assert instance["run_launcher"]["class"] == "DefaultRunLauncher"


@pytest.mark.parametrize("file", ["workspace.yaml", "docker/workspace.yaml"])
def test_the_code_location_has_one_name_everywhere(file: str) -> None:
    (location,) = yaml.safe_load((PROJECT / file).read_text(encoding="utf-8"))["load_from"]
    (how,) = location.values()
    assert how["location_name"] == "imgret"


def test_the_builder_gets_only_what_the_dockerfile_copies() -> None:
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    assert not {rule for rule in rules if rule.startswith("!") and re.search(r"env|data|\.git", rule)}


def test_secrets_are_made_once_and_only_for_their_owner(tmp_path: Path) -> None:
    path = tmp_path / "compose.env"
    assert write_compose_env(path) is True
    assert path.stat().st_mode & 0o777 == 0o600
    first = path.read_bytes()
    assert write_compose_env(path) is False
    assert path.read_bytes() == first


def test_secrets_are_long_different_and_plain(tmp_path: Path) -> None:
    values: list[str] = []
    for name in ("a.env", "b.env"):
        write_compose_env(tmp_path / name)
        made = dotenv_values(tmp_path / name)
        assert tuple(made) == (*VARIABLES, API_TOKEN)
        values += [value or "" for value in made.values()]
    assert len(set(values)) == len(values)
    # No first character that a program takes for an option, none that a URL, a shell or compose would change.
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in values), values


def test_what_is_there_already_stays_whatever_it_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.env"
    link = tmp_path / "compose.env"
    link.symlink_to(elsewhere)
    assert write_compose_env(link) is False
    assert not elsewhere.exists()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImgretError, match=r"absent/compose\.env can't be written"):
        write_compose_env(tmp_path / "absent" / "compose.env")


def test_half_a_file_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imgret_assets.domain.operations.compose_secrets.os.fsync", full)
    with pytest.raises(ImgretError, match="No space left"):
        write_compose_env(tmp_path / "compose.env")
    assert list(tmp_path.iterdir()) == []
