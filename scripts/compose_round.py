#!/usr/bin/env python
"""The round on the containers of docker-compose.yml: they start, work, are killed, come back and lose nothing.

Belongs here: the steps and what each must show. Not here: the engine, compose commands, Dagster's answers
(`imgret_tests.support.compose_project`).

The round has a project, volumes, ports and an image of its own, and removes them at the end: containers that are in
use stay as they are. It ends at the first step that fails, with the last lines of the logs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from imgret_assets.domain.operations.compose_secrets import API_TOKEN
from imgret_assets.errors import ImgretError
from imgret_assets.locations import PROJECT
from imgret_assets.samples.folders import draw_catalogue
from imgret_assets.wording import counted
from imgret_tests.support.compose_project import (
    RUNNING,
    ComposeProject,
    RoundError,
    compose_project,
    missing,
    unnamed_images,
)
from imgret_tests.support.pictures import write_pictures

FAMILIES = 6
# Enough for a run that can be cut off while it works.
NEW_PICTURES = 150
QUERY = "query_similar_images"
REFRESH = "refresh"
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
RUN_WITHIN_S = 600.0
FAILED_WITHIN_S = 240.0
LOG_LINES = 40

SELECTOR = {"repositoryLocationName": "imgret", "repositoryName": "__repository__", "pipelineName": QUERY}
ASSETS = "{ assetNodes { assetKey { path } } }"
PREFILLED = """query($selector: PipelineSelector!) { runConfigSchemaOrError(selector: $selector) {
    __typename ... on RunConfigSchema { rootDefaultYaml } } }"""
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL_STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
    __typename ... on PartitionBackfill { status numPartitions } } }"""
RUNS = "{ runsOrError { ... on Runs { results { runId jobName status } } } }"
MESSAGES = """query($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
    ... on RunFailureEvent { message } } } } }"""


def main() -> int:
    """Do the round; return 1 if a step fails or something is missing."""
    if cause := missing():
        click.echo(f"test-compose: no containers can be started here: {cause}", err=True)
        return 1
    # Not the system's folder for temporary files, which an engine in a virtual machine or a snap does not see.
    folder = Path(tempfile.mkdtemp(prefix=".compose-round-", dir=os.environ.get("TMPDIR") or PROJECT / "data"))
    try:
        with compose_project(folder) as project:
            return 0 if do_round(Round(project)) else 1
    except RoundError as error:
        click.echo(f"test-compose: {error}", err=True)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Round:
    """What the steps share: the project, and what an earlier step found.

    Attributes:
        project: the containers.
        answer: answer of the query that is asked again and again.
        pictures: number of pictures written beside the samples.
        unnamed_before: images without a name before the round.
    """

    project: ComposeProject
    answer: str = ""
    pictures: int = 0
    unnamed_before: set[str] = field(default_factory=set)

    def runs(self, *statuses: str) -> dict[str, dict[str, Any]]:
        """Return the runs that Dagster knows by their ids, those of these statuses where any is given."""
        found = self.project.ask(RUNS)["runsOrError"]["results"]
        return {run["runId"]: run for run in found if not statuses or run["status"] in statuses}

    def status(self, run: str) -> str:
        """Return the status of a run."""
        return self.runs()[run]["status"]

    def end_of(self, run: str, expected: str, within_s: float = RUN_WITHIN_S) -> None:
        """Wait until a run ends, and check how."""
        found = self.project.wait(
            lambda: status if (status := self.status(run)) in ENDED else None,
            within_s,
            f"the end of run {run}",
            lambda: self.status(run),
        )
        expect(found == expected, f"run {run} is {found} and not {expected}: {self.messages(run)}")

    def messages(self, run: str) -> str:
        """Return what Dagster says of a failed run."""
        events = self.project.ask(MESSAGES, run=run)["logsForRun"]["events"]
        return " ".join(event["message"] for event in events if "message" in event)

    def launch(self, job: str, configuration: str = "{}") -> str:
        """Launch a run in the webserver and return its id."""
        selector = SELECTOR | {"pipelineName": job}
        tags = [
            {"key": "dagster/asset_partition_range_start", "value": "00"},
            {"key": "dagster/asset_partition_range_end", "value": "0f"},
        ]
        asked: dict[str, Any] = {"selector": selector, "runConfigData": configuration, "mode": "default"}
        if job == REFRESH:
            asked["executionMetadata"] = {"tags": tags}
        said = self.project.ask(LAUNCH, params=asked)["launchRun"]
        expect(said["__typename"] == "LaunchRunSuccess", f"{job} was not launched: {said}")
        return said["run"]["runId"]

    def add_pictures(self) -> None:
        """Write new pictures, so that the next run has something to do."""
        folder = self.project.images / f"new-{self.pictures}"
        write_pictures(folder, NEW_PICTURES, start=self.pictures)
        self.pictures += NEW_PICTURES
        open_to_all(self.project.images)

    def new_runs_in_progress(self, known: set[str], count: int) -> list[str]:
        """Wait until there are so many new runs in progress, and return their ids."""
        return self.project.wait(
            lambda: new if len(new := sorted(set(self.runs("STARTED")) - known)) == count else None,
            RUN_WITHIN_S,
            f"{counted(count, 'new run')} in progress",
            self.runs,
        )


def do_round(state: Round) -> bool:
    """Do all steps, with a line for each; return False at the first that fails."""
    started = time.monotonic()
    for step in STEPS:
        step_started = time.monotonic()
        try:
            found = step(state)
        except (RoundError, ImgretError, OSError) as error:
            click.echo(f"FAILED  {_title(step)}: {error}\n{_logs(state.project)}", err=True)
            return False
        click.echo(f"{time.monotonic() - step_started:6.1f} s  {_title(step)}: {found}")
    click.echo(f"{time.monotonic() - started:6.1f} s  all {len(STEPS)} steps")
    return True


def up(state: Round) -> str:
    """Start everything from nothing: the image is built once, set-up ends well, all services get healthy."""
    draw_catalogue(state.project.images, families=FAMILIES)
    open_to_all(state.project.folder)
    state.unnamed_before = unnamed_images()
    state.project.compose("up", "--build", "--detach")
    state.project.wait_until_healthy()
    ended = state.project.states()["setup"][0]
    expect(ended == "exited", f"setup is {ended}")
    left = unnamed_images() - state.unnamed_before
    expect(not left, f"the build left images without a name: {sorted(left)}")
    return f"{counted(len(RUNNING), 'service')} healthy"


def neo4j_address(state: Round) -> str:
    """Ask Neo4j where browsers find it: at the published port."""
    port = state.project.ports["IMGRET_NEO4J_BOLT_PORT"]
    said = state.project.get("IMGRET_NEO4J_HTTP_PORT", "/").decode()
    expect(f'"bolt://127.0.0.1:{port}"' in said, f"bolt port {port} is published, and Neo4j says {said}")
    return f"bolt port {port}"


def page(state: Round) -> str:
    """Open the page."""
    expect(state.project.get("IMGRET_PAGE_PORT", "/_stcore/health") == b"ok", "the page is not well")
    expect(b"<html" in state.project.get("IMGRET_PAGE_PORT", "/").lower(), "the page has no document")
    return "answers"


def doctor(state: Round) -> str:
    """Execute `imgret doctor` in a container of its own."""
    said = state.project.compose("run", "--rm", "-T", "code", "imgret", "doctor").stdout
    expect("DagsterPostgresStorage" in said, f"doctor did not look at Postgres:\n{said}")
    return "exit code 0 in a new container"


def imgret_run(state: Round) -> str:
    """Execute `imgret run` in `code`, which Dagster's UI is to know, and a query."""
    state.project.compose("exec", "-T", "code", "imgret", "run", "--json")
    statuses = [run["status"] for run in state.runs().values()]
    expect(statuses == ["SUCCESS"], f"the webserver knows runs of status {statuses}")
    state.answer = ask_a_sample(state)
    return f"SUCCESS; {counted(len(state.answer.splitlines()) - 1, 'hit')}"


def api(state: Round) -> str:
    """Ask the HTTP API: with a wrong token, and without one, it refuses; with its own, it answers as the command."""
    state.project.get("IMGRET_API_PORT", "/readyz")
    image = a_sample(state)
    path = f"/v1/images/{image}"
    for wrong in (None, "wrong"):
        state.project.get("IMGRET_API_PORT", path, token=wrong, refused=True)
    token = state.project.secret(API_TOKEN)
    facts = json.loads(state.project.get("IMGRET_API_PORT", path, token=token))
    expect(facts.get("path") == image, f"{path} answers {facts}")
    return f"ready; {image} with the token, 401 without"


def backfill(state: Round) -> str:
    """Launch a backfill of all assets over all shards in the webserver."""
    keys = [node["assetKey"] for node in state.project.ask(ASSETS)["assetNodes"]]
    asked = {"assetSelection": keys, "allPartitions": True}
    said = state.project.ask(BACKFILL, params=asked)["launchPartitionBackfill"]
    expect(said["__typename"] == "LaunchBackfillSuccess", f"the backfill was not launched: {said}")

    def status() -> dict[str, Any]:
        return state.project.ask(BACKFILL_STATUS, id=said["backfillId"])["partitionBackfillOrError"]

    found = state.project.wait(
        lambda: now if (now := status())["status"] not in ("REQUESTED", "COMPLETING") else None,
        RUN_WITHIN_S,
        "the end of the backfill",
        status,
    )
    expect(found["status"] == "COMPLETED_SUCCESS", f"the backfill is {found}")
    return f"{counted(len(keys), 'asset')}, {counted(found['numPartitions'], 'shard')}"


def prefilled_query(state: Round) -> str:
    """Launch the query job as Dagster's UI prefills it."""
    said = state.project.ask(PREFILLED, selector=SELECTOR)["runConfigSchemaOrError"]["rootDefaultYaml"]
    state.end_of(state.launch(QUERY, said), "SUCCESS")
    found = re.search(r"image_path: (\S+)", said)
    return found[1] if found else "no picture"


def kill_each(state: Round) -> str:
    """Kill the processes of each service, one service after the other: all get healthy again."""
    for service in RUNNING:
        state.project.kill_processes(service)
    state.project.wait_until_healthy()
    state.project.compose("exec", "-T", "code", "imgret", "run")
    same_answer(state)
    return f"{counted(len(RUNNING), 'service')} healthy again, the next run right"


def kill_in_a_run(state: Round) -> str:
    """Kill `code`, and Neo4j, while a run of the webserver works: it ends with a cause, and the next one is right."""
    for service in ("code", "neo4j"):
        state.add_pictures()
        run = state.launch(REFRESH)
        state.project.wait(lambda run=run: state.status(run) == "STARTED", RUN_WITHIN_S, f"the start of run {run}")
        state.project.kill_processes(service)
        # A run that Neo4j's return came in time for may be right.
        ended = state.project.wait(
            lambda run=run: status if (status := state.status(run)) in ENDED else None,
            RUN_WITHIN_S,
            f"the end of run {run} after {service} was killed",
        )
        expect(ended == "FAILURE" or service == "neo4j", f"run {run} is {ended} although {service} was killed")
        expect(ended != "FAILURE" or bool(state.messages(run)), f"run {run} failed without a cause")
        state.end_of(state.launch(REFRESH), "SUCCESS")
    return "FAILURE, then SUCCESS"


def down_and_up(state: Round) -> str:
    """Remove the containers and make them again: runs, tables and graph are those of before."""
    before = set(state.runs())
    state.project.compose("exec", "-T", "code", "imgret", "run")
    state.answer = ask_a_sample(state)
    state.project.compose("down")
    state.project.compose("up", "--detach")
    state.project.wait_until_healthy()
    lost = before - set(state.runs())
    expect(not lost, f"runs are lost: {sorted(lost)}")
    same_answer(state)
    return f"{counted(len(before), 'run')} and the graph kept"


def cut_off(state: Round) -> str:
    """Remove the container under two `imgret run`: both are to fail, and the queue to take the next run."""
    state.add_pictures()
    known = set(state.runs())
    clients = [state.project.begin("code", "imgret", "run") for _ in range(2)]
    cut = state.new_runs_in_progress(known, len(clients))
    state.project.compose("kill", "code")
    state.project.compose("rm", "--force", "code")
    for client in clients:
        client.wait(timeout=60)
    began = time.monotonic()
    state.project.compose("up", "--detach")
    for run in cut:
        state.end_of(run, "FAILURE", within_s=FAILED_WITHIN_S)
    took = time.monotonic() - began
    state.project.wait_until_healthy()
    state.end_of(state.launch(REFRESH), "SUCCESS")
    state.answer = ask_a_sample(state)
    return f"{counted(len(cut), 'run')} FAILURE {took:.0f} s after `up`, the next run SUCCESS"


def other_ids(state: Round) -> str:
    """Build the image for another user: no package is installed again."""
    ids = {"IMGRET_UID": "4321", "IMGRET_GID": "4322", "ROUND_IMAGE": f"{state.project.image}-other"}
    began = time.monotonic()
    done = state.project.compose("build", "--progress", "plain", "setup", changes=ids)
    said = done.stdout + done.stderr
    step = re.search(r"^(#\d+) \[.*\] RUN pip install --requirement", said, re.MULTILINE)
    expect(step is not None, f"the build does not show the packages:\n{said[-2000:]}")
    expect(bool(step) and f"\n{step[1]} CACHED" in said, f"packages are installed again:\n{said[-2000:]}")
    return f"built in {time.monotonic() - began:.0f} s"


STEPS: tuple[Callable[[Round], str], ...] = (
    up,
    neo4j_address,
    page,
    doctor,
    imgret_run,
    api,
    backfill,
    prefilled_query,
    cut_off,
    doctor,
    other_ids,
    kill_each,
    kill_in_a_run,
    down_and_up,
)


def expect(holds: bool, otherwise: str) -> None:
    """Raise RoundError, with what was found, unless the condition holds."""
    if not holds:
        raise RoundError(otherwise)


def ask_a_sample(state: Round) -> str:
    """Return the answer of `imgret query` to the first image in the folder."""
    return state.project.compose("exec", "-T", "code", "imgret", "query", f"/images/{a_sample(state)}").stdout


def a_sample(state: Round) -> str:
    """Return the path of the first image in the folder, relative to it."""
    return min(state.project.images.glob("*/*.*")).relative_to(state.project.images).as_posix()


def same_answer(state: Round) -> None:
    """Check that the query has the answer of before."""
    said = ask_a_sample(state)
    expect(said == state.answer, f"the query answered\n{state.answer}\nand now\n{said}")


def open_to_all(folder: Path) -> None:
    """Let the user of the containers read a folder; the secrets stay closed."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if path.name != "compose.env":
            path.chmod(0o755 if path.is_dir() else 0o644)


def _title(step: Callable[[Round], str]) -> str:
    return step.__name__.replace("_", " ")


def _logs(project: ComposeProject) -> str:
    done = subprocess.run(
        project.command("logs", "--no-color", "--tail", str(LOG_LINES)),
        env=project.environment(),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return f"{project.compose('ps', '--all', check=False).stdout}\n{done.stdout}"


if __name__ == "__main__":
    sys.exit(main())
