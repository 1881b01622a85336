"""The manifests of deploy/kuberay: valid by the schemas of Kubernetes, and in agreement with image, settings, compose.

Nothing is started: no Kubernetes is needed, and none has run them.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import click
import kubernetes_validate
import pytest
import yaml
from dagster._cli import create_dagster_cli
from dagster._core.instance.config import dagster_instance_config
from dagster._daemon.cli import create_dagster_daemon_cli
from dotenv import dotenv_values

from imgret_assets.defs import webserver
from imgret_assets.locations import PROJECT
from imgret_assets.request_guard import LOOPBACK_HOSTS
from imgret_assets.settings import KNOWN_VARIABLES, load_settings
from imgret_tests.support.docs_commands import parse_command

FOLDER = PROJECT / "deploy" / "kuberay"
KUBERNETES = "1.34"
SECRET = "imgret-secrets"
# Read by Dagster, Ray and Streamlit.
WORKSPACE = "/opt/dagster/workspace.yaml"
OTHER_VARIABLES = re.compile(
    r"DAGSTER_POSTGRES_(HOST|USER|DB|PASSWORD)|RAY_(AUTH_MODE|AUTH_TOKEN|USAGE_STATS_ENABLED)|STREAMLIT_\w+"
)
CODE_IN_IMAGE = re.compile(r"^COPY (?P<files>docker/\S+ (?:docker/\S+ )*)(?P<folder>/opt/dagster/)$", re.MULTILINE)


def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def documents() -> list[dict[str, Any]]:
    names = yaml.safe_load(read("kustomization.yaml"))["resources"]
    return [document for name in names for document in yaml.safe_load_all(read(name))]


@dataclass(frozen=True)
class Pod:
    """A pod template: of which object, its labels, its spec."""

    name: str
    labels: dict[str, str]
    spec: dict[str, Any]
    claims: frozenset[str] = frozenset()

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def ray_cluster() -> dict[str, Any]:
    (cluster,) = (each for each in documents() if each["kind"] == "RayCluster")
    return cluster


def pods() -> Iterator[Pod]:
    for document in documents():
        spec, name = document.get("spec", {}), document["metadata"]["name"]
        if document["kind"] == "RayCluster":
            for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
                template = group["template"]
                yield Pod(f"{name}-{group.get('groupName', 'head')}", template["metadata"]["labels"], template["spec"])
        elif "template" in spec:
            made = frozenset(claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", []))
            yield Pod(name, spec["template"]["metadata"]["labels"], spec["template"]["spec"], made)


PODS = {pod.name: pod for pod in pods()}
CONTAINERS = {f"{pod.name}/{container['name']}": container for pod in PODS.values() for container in pod.containers}
OURS = {name: container for name, container in CONTAINERS.items() if container["image"] == "imgret-ray"}


def environment(container: dict[str, Any]) -> dict[str, Any]:
    own = {each["name"]: each.get("value", each.get("valueFrom")) for each in container.get("env", [])}
    from_settings = dotenv_values(FOLDER / "settings.env") if "envFrom" in container else {}
    return {**from_settings, **own}


# Schemas


def validate(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_pods_are_those_of_compose_and_the_cluster() -> None:
    services = set(yaml.safe_load((PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))["services"])
    assert set(PODS) == services - {"setup", "api"} | {"imgret-head", "imgret-workers"}
    assert "code/setup" in OURS


def test_every_file_is_a_part_and_described() -> None:
    kustomization = yaml.safe_load(read("kustomization.yaml"))
    named = {*kustomization["resources"], "settings.env", "dagster-instance.yaml", "kustomization.yaml"}
    assert {file.name for file in FOLDER.iterdir()} == {*named, "Dockerfile", "README.md"}
    described = set(
        re.findall(r"`([\w-]+(?:\.\w+)?)`", "\n".join(re.findall(r"^\| `.*\| ", read("README.md"), re.MULTILINE)))
    )
    assert described == {*named, "Dockerfile"} - {"kustomization.yaml"}


@pytest.mark.parametrize(
    "document",
    [each for each in documents() if each["kind"] != "RayCluster"],
    ids=lambda each: f"{each['kind']} {each['metadata']['name']}",
)
def test_the_schema_of_kubernetes_accepts_it(document: dict[str, Any]) -> None:
    validate(document)


def test_the_templates_of_the_ray_cluster_are_pods_and_its_fields_those_of_kuberay() -> None:
    """Its own schema is not on the package index; by hand it was checked with the one of KubeRay's repository."""
    cluster = ray_cluster()
    assert cluster["apiVersion"] == "ray.io/v1"
    head, (workers,) = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert set(cluster["spec"]) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    assert set(head) == {"serviceType", "rayStartParams", "template"}
    assert set(workers) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (head, workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        metadata = {"name": "x", **group["template"]["metadata"]}
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": group["template"]["spec"]})
    assert head["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("place", ["spec", "containers"])
def test_a_field_that_does_not_exist_is_noticed(place: str) -> None:
    (document,) = (each for each in documents() if each["kind"] == "Deployment" and each["metadata"]["name"] == "page")
    spec = document["spec"]["template"]["spec"]
    (spec if place == "spec" else spec["containers"][0])["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="readOnlyRootFileSystem"):
        validate(document)


# Safety


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_no_pod_needs_more_than_the_restricted_standard(pod: Pod) -> None:
    security = pod.spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod.spec["automountServiceAccountToken"] is False
    for container in pod.containers:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        # Neo4j's image writes its configuration when it starts.
        assert own.get("readOnlyRootFilesystem", False) is (container["name"] != "neo4j")


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_no_pod_gets_the_variables_of_services(pod: Pod) -> None:
    """NEO4J_PORT ends Neo4j's image, and IMGRET_HEAD_SVC_PORT is an unknown setting."""
    assert pod.spec["enableServiceLinks"] is False


def test_secrets_are_in_no_file_and_the_readme_makes_each() -> None:
    assert not [each for each in documents() if each["kind"] == "Secret"]
    made = set(re.findall(r"--from-literal=([\w-]+)=\$\(openssl", read("README.md")))
    sources = [value for container in CONTAINERS.values() for value in environment(container).values()]
    references = [value["secretKeyRef"] for value in sources if isinstance(value, dict)]
    assert {reference["name"] for reference in references} == {SECRET}
    assert {reference["key"] for reference in references} == made
    for container in CONTAINERS.values():
        for name, value in environment(container).items():
            if re.search("PASSWORD|TOKEN", name):
                assert isinstance(value, dict), name
    assert not re.search("PASSWORD|TOKEN|SECRET", read("settings.env"))


def test_every_container_says_what_it_needs() -> None:
    for name, container in CONTAINERS.items():
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
        assert "memory" in container["resources"]["limits"], name


# Images and commands


def test_images_are_those_of_compose_or_built_with_the_versions_of_the_constraints() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    for name in ("neo4j", "postgres"):
        assert CONTAINERS[f"{name}/{name}"]["image"] == services[name]["image"]
    assert set(CONTAINERS) - set(OURS) == {"neo4j/neo4j", "postgres/postgres"}
    built = services["setup"]["image"]
    (image,) = yaml.safe_load(read("kustomization.yaml"))["images"]
    assert f"imgret:{image['newTag']}" == built
    assert f"\nFROM {built}\n" in read("Dockerfile")
    ray = re.search(r"^ray==(.+)$", (PROJECT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert ray is not None
    assert f'"ray[default]=={ray[1]}"' in read("Dockerfile")
    assert ray_cluster()["spec"]["rayVersion"] == ray[1]
    assert read("Dockerfile").rstrip().endswith("USER 1000:1000")


def parse_click(command: click.Command, words: Sequence[str]) -> None:
    context = command.make_context("x", list(words), resilient_parsing=False)
    rest = [*context._protected_args, *context.args]
    if isinstance(command, click.Group):
        _, inner, following = command.resolve_command(context, rest)
        assert inner is not None
        parse_click(inner, following)


def check_command(words: Sequence[str]) -> None:
    # Dagster's commands look for this file, which is there in the image.
    words = [str(PROJECT / "docker" / "workspace.yaml") if word == WORKSPACE else word for word in words]
    match words:
        case ["imgret", *rest]:
            parse_command(rest)
        case ["dagster", *rest]:
            parse_click(create_dagster_cli(), rest)
        case ["dagster-daemon", *rest]:
            parse_click(create_dagster_daemon_cli(), rest)
        case ["python", "-m", "imgret_assets.defs.webserver", *rest]:
            parse_click(webserver.main, rest)
        case ["python", "-c", code]:
            compile(code, "command", "exec")
        case ["python", file]:
            copied = CODE_IN_IMAGE.search((PROJECT / "Dockerfile").read_text(encoding="utf-8"))
            assert copied is not None
            assert f"docker/{PurePosixPath(file).name}" in copied["files"].split()
            assert str(PurePosixPath(file).parent) + "/" == copied["folder"]
        case ["sh", "-c", script]:
            waited = re.fullmatch(r"until (.+); do sleep \d+; done", script)
            assert waited is not None, script
            if not waited[1].startswith("test -f "):
                check_command(shlex.split(waited[1]))
        case _:
            pytest.fail(f"an unknown command: {words}")


@pytest.mark.parametrize("name", [name for name in OURS if not name.startswith("imgret-")])
def test_commands_exist_with_their_options(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_command(OURS[name]["command"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if (command := OURS[name].get(probe, {}).get("exec")) is not None:
            check_command(command["command"])


@pytest.mark.parametrize(
    "wrong", ["imgret app --prot 8501", "dagster-daemon runn", "dagster api grpc-health-check --hots x"]
)
def test_a_wrong_command_is_noticed(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        check_command(shlex.split(wrong))


def test_kuberay_starts_the_head_and_the_workers_itself() -> None:
    for name in ("imgret-head/head", "imgret-workers/worker"):
        assert "command" not in OURS[name]


# Settings


def test_variables_are_settings_with_good_values() -> None:
    for name, container in OURS.items():
        for variable in environment(container):
            assert variable in KNOWN_VARIABLES or OTHER_VARIABLES.fullmatch(variable), f"{name}: {variable}"
    values = {name: value or "" for name, value in dotenv_values(FOLDER / "settings.env").items()}
    settings = load_settings(env={**values, "NEO4J_PASSWORD": "x", "IMGRET_CLUSTER": "auto"})
    assert settings.shards is not None
    assert settings.model == "resnet50"
    assert f'"{settings.shards - 1:02x}"' in read("README.md")


def test_the_runs_know_the_cluster_and_what_it_asks_for() -> None:
    head = environment(OURS["imgret-head/head"])
    assert head["IMGRET_CLUSTER"] == "auto"
    for name in ("imgret-head/head", "imgret-workers/worker", "webserver/webserver", "daemon/daemon"):
        found = environment(OURS[name])
        assert found["RAY_AUTH_MODE"] == "token", name
        assert "secretKeyRef" in found["RAY_AUTH_TOKEN"], name
    assert not [name for name in set(OURS) - {"imgret-head/head"} if "IMGRET_CLUSTER" in environment(OURS[name])]


def instance(file: Path, folder: Path) -> dict[str, Any]:
    """Read a dagster.yaml as Dagster does, which refuses unknown fields."""
    (folder / "dagster.yaml").write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    found, _ = dagster_instance_config(str(folder))
    return dict(found)


def test_the_instance_is_that_of_compose_but_for_where_runs_are(tmp_path: Path) -> None:
    here, compose = (
        instance(FOLDER / "dagster-instance.yaml", tmp_path),
        instance(PROJECT / "docker/dagster.yaml", tmp_path),
    )
    assert here["run_launcher"]["module"] == "dagster_ray"
    assert here["run_launcher"]["class"] == "RayRunLauncher"
    monitoring = here.pop("run_monitoring")
    assert monitoring["enabled"] is True
    for section in ("run_launcher", "run_monitoring"):
        compose.pop(section)
        here.pop(section, None)
    assert here == compose


def test_the_launcher_asks_the_head_and_shows_no_secret() -> None:
    config = yaml.safe_load(read("dagster-instance.yaml"))["run_launcher"]["config"]["ray"]
    # Values of env_vars are shown by Ray's dashboard.
    assert set(config) == {"address"}
    address = urlsplit(config["address"])
    assert address.hostname == f"{ray_cluster()['metadata']['name']}-head-svc"
    ports = {port["name"]: port["containerPort"] for port in OURS["imgret-head/head"]["ports"]}
    assert address.port == ports["dashboard"]


def test_whoever_opens_the_instance_has_its_variables_and_its_file() -> None:
    login = yaml.safe_load(read("dagster-instance.yaml"))["storage"]["postgres"]["postgres_db"]
    named = {value["env"] for value in login.values() if isinstance(value, dict)}
    mount = {
        "name": "dagster-instance",
        "mountPath": "/opt/dagster/home/dagster.yaml",
        "subPath": "dagster.yaml",
        "readOnly": True,
    }
    for name in ("code/setup", "code/code", "webserver/webserver", "daemon/daemon", "imgret-head/head"):
        assert named <= set(environment(OURS[name])), name
        assert mount in OURS[name]["volumeMounts"], name
        assert {"name": "dagster-home", "mountPath": "/opt/dagster/home"} in OURS[name]["volumeMounts"], name
    assert "DAGSTER_HOME=/opt/dagster/home" in (PROJECT / "Dockerfile").read_text(encoding="utf-8")


# Volumes, services, probes


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_volumes_exist_and_are_used(pod: Pod) -> None:
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
    mounted = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])}
    assert mounted == set(volumes) | pod.claims
    claims = {each["metadata"]["name"] for each in documents() if each["kind"] == "PersistentVolumeClaim"}
    maps = {each["name"] for each in yaml.safe_load(read("kustomization.yaml"))["configMapGenerator"]}
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in claims
        if "configMap" in volume:
            assert volume["configMap"]["name"] in maps
    sources = [source["configMapRef"]["name"] for each in pod.containers for source in each.get("envFrom", [])]
    assert set(sources) <= maps


def test_folders_are_those_of_the_image() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    folders = dict(re.findall(r"\b(HOME|IMGRET_HOME|IMGRET_IMAGES|IMGRET_CACHE)=(\S+)", dockerfile))
    assert PurePosixPath(folders["IMGRET_CACHE"]).is_relative_to(folders["IMGRET_HOME"])
    for name in ("code/setup", "code/code", "page/page", "imgret-head/head", "imgret-workers/worker"):
        mounts = {mount["mountPath"]: mount for mount in OURS[name]["volumeMounts"]}
        assert mounts[folders["IMGRET_HOME"]]["name"] == "home", name
        assert mounts[folders["IMGRET_IMAGES"]] == {"name": "images", "mountPath": "/images", "readOnly": True}, name
        assert {"/tmp", folders["HOME"]} <= set(mounts), name  # noqa: S108
    logs = yaml.safe_load(read("dagster-instance.yaml"))["compute_logs"]["config"]["base_dir"]
    for name in ("webserver/webserver", "imgret-head/head"):
        (mount,) = (each for each in OURS[name]["volumeMounts"] if each["name"] == "dagster-files")
        assert PurePosixPath(logs).is_relative_to(mount["mountPath"]), name


def test_services_lead_to_the_ports_of_their_pods() -> None:
    for service in (each for each in documents() if each["kind"] == "Service"):
        (pod,) = (pod for pod in PODS.values() if service["spec"]["selector"].items() <= pod.labels.items())
        open_ports = {port["name"]: port["containerPort"] for each in pod.containers for port in each.get("ports", [])}
        assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == open_ports
        assert service["metadata"]["name"] == pod.name
    (location,) = yaml.safe_load((PROJECT / "docker/workspace.yaml").read_text(encoding="utf-8"))["load_from"]
    copied = CODE_IN_IMAGE.search((PROJECT / "Dockerfile").read_text(encoding="utf-8"))
    assert copied is not None
    assert "docker/workspace.yaml" in copied["files"].split()
    assert f"{copied['folder']}workspace.yaml" == WORKSPACE
    assert location["grpc_server"]["host"] == "code"
    assert location["grpc_server"]["port"] == OURS["code/code"]["ports"][0]["containerPort"]


def test_budgets_protect_pods_that_are_there() -> None:
    budgets = [each["spec"]["selector"]["matchLabels"] for each in documents() if each["kind"] == "PodDisruptionBudget"]
    protected = {pod.name for labels in budgets for pod in PODS.values() if labels.items() <= pod.labels.items()}
    assert protected == {"neo4j", "postgres", "imgret-head"}


def test_what_keeps_running_is_probed_and_the_guard_lets_probes_in() -> None:
    for pod in PODS.values():
        (container,) = pod.spec["containers"]
        assert {"startupProbe", "livenessProbe"} <= set(container), pod.name
        names = {port["name"] for port in container.get("ports", [])}
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(kind, {})
            for how in ("httpGet", "tcpSocket"):
                assert how not in probe or probe[how]["port"] in names, f"{pod.name}: {kind}"
            if pod.name in ("webserver", "page") and "httpGet" in probe:
                (header,) = probe["httpGet"]["httpHeaders"]
                assert header["name"] == "Host"
                assert header["value"] in LOOPBACK_HOSTS


# The page


def test_links_of_the_page_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", read("README.md")) if not link.startswith("https://")]
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        text = (FOLDER / file).resolve().read_text(encoding="utf-8")
        headings = {
            re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in re.findall(r"^#+ (.+)$", text, re.M)
        }
        assert not anchor or anchor in headings, link


def test_the_command_of_the_page_that_starts_a_run_can_be_called_so() -> None:
    (shown,) = re.findall(r"-- (dagster job launch .+?)\n\n", read("README.md"), re.DOTALL)
    check_command(shlex.split(shown.replace("\\\n", "")))
