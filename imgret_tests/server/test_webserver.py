"""`imgret dev` for real, once: Dagster's UI launches runs, and neither it nor the page obeys other web sites.

With the real small model, since the runs are in processes of their own: six pictures, `imgret run` first.
"""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from neo4j import Driver

from imgret_assets.domain.neo4j_server.host import LOCALHOST, unused_port
from imgret_assets.samples.folders import sample_query
from imgret_tests.support.neo4j_server import TestedServer, clean_environment
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.web_attacks import ATTACKS, MUTATION, send, websocket_opens

pytestmark = pytest.mark.server

PICTURES = 6
READY_WITHIN_S = 120.0
RUN_WITHIN_S = 150.0
SELECTOR = {"repositoryLocationName": "imgret", "repositoryName": "__repository__"}
LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
    __typename ... on PythonError { message } } } } } }"""
ASSETS = "{ assetNodes { assetKey { path } groupName isPartitioned description hasAssetChecks } }"
PREFILLED = """query($selector: PipelineSelector!) { runConfigSchemaOrError(selector: $selector) {
    __typename ... on RunConfigSchema { rootDefaultYaml } } }"""
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } } }"""
BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
RUNS = "{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }"
JOB = """query($selector: PipelineSelector!) { pipelineOrError(params: $selector) {
    __typename ... on Pipeline { runs { runId tags { key value } repositoryOrigin { repositoryLocationName } } } } }"""
OVERVIEW = """query($filter: RunsFilter!, $selector: RepositorySelector!) {
    repositoryOrError(repositorySelector: $selector) {
        ... on Repository { pipelines { name runs(limit: 10) { runId } } } }
    runsOrError(filter: $filter) { ... on Runs { results { runId } } } }"""
EVENTS = """query($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
    ... on ExecutionStepOutputEvent { metadataEntries { label ... on MarkdownMetadataEntry { mdStr }
    ... on TextMetadataEntry { text } } } ... on MessageEvent { message } } } } }"""


@dataclass(frozen=True)
class Webserver:
    """`imgret dev` over one home.

    Attributes:
        dagster: address of Dagster's UI.
        page: address of the page.
        home: the home.
        first_run: what `imgret run --json` said before.
    """

    dagster: str
    page: str
    home: Path
    first_run: dict[str, Any]

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.dagster}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            said = json.load(answer)
        assert "errors" not in said, said["errors"]
        return said["data"]

    def runs(self, job: str, status: str | None = None) -> list[dict[str, Any]]:
        found = self.ask(RUNS)["runsOrError"]["results"]
        return [run for run in found if run["jobName"] == job and status in (None, run["status"])]


def wait_for(look: Callable[[], Any], within_s: float, what: str) -> Any:
    """What `look` gives as soon as it is true."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:g} s"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def environment(
    tested_server: TestedServer, shared_database: Driver, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """A home, its pictures and a sample query; the server under test given as a user gives one."""
    del shared_database
    folder = tmp_path_factory.mktemp("webserver")
    found = tested_server.connection
    write_pictures(folder / "images", PICTURES, families=2)
    query = sample_query(folder / "home" / "samples")
    query.parent.mkdir(parents=True)
    query.write_bytes(picture_bytes(77, family=1, form="JPEG" if query.suffix == ".jpg" else "PNG"))
    return clean_environment() | {
        "IMGRET_HOME": str(folder / "home"),
        "IMGRET_IMAGES": str(folder / "images"),
        "IMGRET_MODEL": "efficientnet_lite0",
        "IMGRET_DEVICE": "cpu",
        "IMGRET_SHARDS": "4",
        "DAGSTER_HOME": str(folder / "home" / "dagster"),
        "NEO4J_URI": found.uri,
        "NEO4J_USERNAME": found.username,
        "NEO4J_PASSWORD": found.password,
    }


@pytest.fixture(scope="module")
def webserver(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webserver]:
    """`imgret run --json`, then `imgret dev` over what it made; all stopped at the end."""
    folder = tmp_path_factory.mktemp("started")
    command = [sys.executable, "-m", "imgret_assets.cli.main", "run", "--json"]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    ports = unused_port(), unused_port()
    command = [sys.executable, "-m", "imgret_assets.cli.main", "dev"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(ports[0]), "--page-port", str(ports[1])],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    dagster, page = (f"http://{LOCALHOST}:{port}" for port in ports)
    started = Webserver(dagster, page, Path(environment["IMGRET_HOME"]), json.loads(done.stdout))
    try:

        def answers() -> bool:
            assert process.poll() is None, (folder / "log").read_text()[-4000:]
            with suppress(urllib.error.URLError, ConnectionError):
                return bool(started.ask("{ version }")) and send(page, "GET", "/_stcore/health", {}).status == 200
            return False

        wait_for(answers, READY_WITHIN_S, "an answer of both servers")
        yield started
    finally:
        # One signal to the parent, which stops its children; then whatever is left of them.
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=40)
        process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.wait(timeout=10)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_of_a_web_site_gets_through(webserver: Webserver, attack: str) -> None:
    assert not ATTACKS[attack](webserver.dagster, webserver.page)


def test_own_pages_of_both_servers_are_answered(webserver: Webserver) -> None:
    """What is refused above is refused for its origin alone."""
    assert websocket_opens(webserver.dagster, "/graphql", "graphql-ws", origin=webserver.dagster)
    assert websocket_opens(webserver.page, "/_stcore/stream", "streamlit", origin=webserver.page)
    headers = {"Content-Type": "application/json", "Origin": webserver.dagster, "Sec-Fetch-Site": "same-origin"}
    assert send(webserver.dagster, "POST", "/graphql", headers, json.dumps({"query": MUTATION})).executed


def test_imgret_run_says_its_totals_as_one_json_document(webserver: Webserver) -> None:
    said = webserver.first_run
    assert list(said) == ["images", "usable", "embedded", "nodes", "pairs", "relationships", "model", "seconds"]
    assert [said[name] for name in ("images", "usable", "embedded", "nodes")] == [PICTURES] * 4
    assert said["pairs"] == said["relationships"]
    assert said["model"].startswith("efficientnet_lite0-")


def test_the_code_location_is_loaded(webserver: Webserver) -> None:
    [entry] = webserver.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
    assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry


def test_the_ui_knows_the_assets(webserver: Webserver) -> None:
    found = {node["assetKey"]["path"][0]: node for node in webserver.ask(ASSETS)["assetNodes"]}
    assert {name: (node["groupName"], node["isPartitioned"]) for name, node in found.items()} == {
        "raw_images": ("raw", True),
        "embeddings": ("vectors", True),
        "similarity_pairs": ("vectors", False),
        "nearest_neighbours": ("vectors", False),
        "duplicates": ("vectors", False),
        "image_groups": ("vectors", False),
        "image_map": ("vectors", False),
        "similarity_report": ("vectors", False),
        "image_nodes": ("graph", True),
        "similar_to": ("graph", False),
        "duplicate_of": ("graph", False),
        "decided": ("graph", False),
        "image_node_groups": ("graph", False),
    }
    assert all(node["description"] for node in found.values())
    checked = {name for name, node in found.items() if node["hasAssetChecks"]}
    of_tables = {"raw_images", "embeddings", "similarity_pairs", "nearest_neighbours"}
    assert checked == of_tables | {"image_nodes", "similar_to", "duplicate_of", "decided"}


def test_the_ui_shows_what_the_command_line_ran(webserver: Webserver) -> None:
    [run] = webserver.runs("refresh")
    assert run["status"] == "SUCCESS"


def test_a_run_of_the_command_line_is_one_of_its_jobs_runs(webserver: Webserver) -> None:
    """As Overview, the list of jobs and the page of the job ask for runs."""
    [first] = webserver.runs("refresh")
    found = webserver.ask(JOB, selector=SELECTOR | {"pipelineName": "refresh"})["pipelineOrError"]["runs"]
    assert [run["runId"] for run in found] == [first["runId"]]
    assert found[0]["repositoryOrigin"] == {"repositoryLocationName": "imgret"}
    tags = {tag["key"]: tag["value"] for tag in found[0]["tags"]}
    assert (tags["dagster/asset_partition_range_start"], tags["dagster/code_location"]) == ("00", "imgret")
    assert not [key for key in tags if "process" in key]
    label = [{"key": ".dagster/repository", "value": "__repository__@imgret"}]
    overview = webserver.ask(OVERVIEW, selector=SELECTOR, filter={"tags": label})
    assert {"runId": first["runId"]} in overview["runsOrError"]["results"]
    jobs = {job["name"]: job["runs"] for job in overview["repositoryOrError"]["pipelines"]}
    assert jobs["refresh"] == [{"runId": first["runId"]}]
    assert "nightly_refresh" not in jobs


def test_the_query_job_and_a_backfill_are_launched_in_the_ui(webserver: Webserver) -> None:
    """The query from its prefilled configuration, as it stands; a backfill of all shards, which is to be one run."""
    selector = SELECTOR | {"pipelineName": "query_similar_images"}
    prefilled = webserver.ask(PREFILLED, selector=selector)["runConfigSchemaOrError"]["rootDefaultYaml"]
    assert str(webserver.home) in prefilled
    launched = webserver.ask(LAUNCH, params={"selector": selector, "runConfigData": prefilled, "mode": "default"})
    assert launched["launchRun"]["__typename"] == "LaunchRunSuccess", launched
    query = launched["launchRun"]["run"]["runId"]

    shards = [f"{number:02x}" for number in range(4)]
    asked = {"assetSelection": [{"path": ["raw_images"]}], "partitionNames": shards, "fromFailure": False}
    backfilled = webserver.ask(BACKFILL, params=asked)["launchPartitionBackfill"]
    assert backfilled["__typename"] == "LaunchBackfillSuccess", backfilled

    [run] = wait_for(lambda: _ended(webserver, "query_similar_images"), RUN_WITHIN_S, "the end of the query")
    assert (run["runId"], run["status"]) == (query, "SUCCESS"), _messages(webserver, query)
    said = _output(webserver, query)
    assert said["model"] == webserver.first_run["model"]
    assert said["similar_images"].count("![hit](data:image/") == 5
    assert "family1/picture" in said["similar_images"].replace("\\", "")

    [run] = wait_for(lambda: _ended(webserver, "__ASSET_JOB"), RUN_WITHIN_S, "the end of the backfill")
    assert run["status"] == "SUCCESS", _messages(webserver, run["runId"])
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert (tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]) == ("00", "03")


def _ended(webserver: Webserver, job: str) -> list[dict[str, Any]]:
    return [run for run in webserver.runs(job) if run["status"] in ("SUCCESS", "FAILURE", "CANCELED")]


def _output(webserver: Webserver, run: str) -> dict[str, str]:
    events = webserver.ask(EVENTS, run=run)["logsForRun"]["events"]
    entries = [entry for event in events for entry in event.get("metadataEntries", [])]
    return {entry["label"]: entry.get("mdStr") or entry.get("text") or "" for entry in entries}


def _messages(webserver: Webserver, run: str) -> str:
    return "\n".join(event.get("message", "") for event in webserver.ask(EVENTS, run=run)["logsForRun"]["events"])
