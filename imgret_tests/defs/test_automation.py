"""The schedule, the sensor and its reasons to skip, and the end of runs whose process has died."""

import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external import RemoteRepository, RemoteSchedule
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._core.remote_representation.handle import RepositoryHandle
from dagster._core.storage.tags import TagType, get_tag_type

from imgret_assets.defs import sensors
from imgret_assets.defs.build import build_defs
from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.defs.instance.process_runs import FORMER_PROCESS_TAG, PROCESS_TAG, end_dead_runs, process_tag
from imgret_assets.defs.jobs import QUERY, REFRESH
from imgret_assets.defs.partitions import RANGE_END, RANGE_START
from imgret_assets.defs.schedules import NIGHTLY, NIGHTLY_REFRESH
from imgret_assets.defs.sensors import changed_images, dead_runs
from imgret_assets.domain.analysis.threshold_report import refresh_threshold_report
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_tests.support.caught_up import catch_up
from imgret_tests.support.chain import TABLES, Chain
from imgret_tests.support.graph_fixtures import refresh_all
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.processes import Process

# The origin of a run in the form that Dagster stores: queued runs need one, and Dagster exports no class for it.
ORIGIN = {
    "__class__": "ExternalPipelineOrigin",
    "external_repository_origin": {
        "__class__": "ExternalRepositoryOrigin",
        "repository_location_origin": {
            "__class__": "RegisteredRepositoryLocationOrigin",
            "location_name": "imgret",
        },
        "repository_name": "__repository__",
    },
    "pipeline_name": REFRESH,
}
Tick = Callable[..., dg.SensorResult | dg.SkipReason]


@pytest.fixture
def tick(chain: Chain, instance: dg.DagsterInstance) -> Tick:
    """A function that evaluates the sensor once."""

    def evaluate(cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
        resources = {name: chain.resources[name] for name in ("warehouse", "embedder")}
        with dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
            evaluation = changed_images(context)
        assert isinstance(evaluation, dg.SensorResult | dg.SkipReason)
        return evaluation

    return evaluate


def request_of(evaluation: dg.SensorResult | dg.SkipReason) -> dg.RunRequest:
    assert isinstance(evaluation, dg.SensorResult), evaluation
    [request] = evaluation.run_requests or []
    assert request.run_key
    return request


def span_of(evaluation: dg.SensorResult | dg.SkipReason) -> tuple[str, str]:
    tags = request_of(evaluation).tags
    return tags[RANGE_START], tags[RANGE_END]


def reason_of(evaluation: dg.SensorResult | dg.SkipReason) -> str:
    if isinstance(evaluation, dg.SensorResult):
        assert not evaluation.run_requests
        reason = evaluation.skip_reason
        evaluation = reason if isinstance(reason, dg.SkipReason) else dg.SkipReason(reason)
    return evaluation.skip_message or ""


def refresh(chain: Chain) -> None:
    """Refresh everything without a run; of the graph only the record."""
    catch_up(chain.home, chain.embedder)


def names_in(chain: Chain, shard: str, count: int = 1) -> list[str]:
    """Return file names whose path belongs to a shard."""
    names = (f"name{number}.png" for number in range(10_000))
    return [name for name in names if shard_of(name, len(chain.home.shards)) == shard][:count]


def test_the_schedule_requests_all_shards_in_one_run(chain: Chain, instance: dg.DagsterInstance) -> None:
    schedule = chain.definitions.resolve_schedule_def(NIGHTLY_REFRESH)
    [request] = schedule.evaluate_tick(dg.build_schedule_context(instance)).run_requests or []
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == ("00", "03")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.execution_timezone == "UTC"


def test_the_run_of_the_schedule_refreshes_everything(chain: Chain, instance: dg.DagsterInstance) -> None:
    write_pictures(chain.root, 12)
    schedule = chain.definitions.resolve_schedule_def(NIGHTLY_REFRESH)
    [request] = schedule.evaluate_tick(dg.build_schedule_context(instance)).run_requests or []
    outcome = chain.run(assets=TABLES, shards=(request.tags[RANGE_START], request.tags[RANGE_END]))
    assert outcome.embedded == 12


def test_the_first_tick_requests_shards_that_were_never_listed(tick: Tick, chain: Chain) -> None:
    write_pictures(chain.root, 12)
    evaluation = tick()
    assert span_of(evaluation) == ("00", "03")
    assert request_of(evaluation).tags["imgret/changed_shards"] == "4"


def test_without_changes_the_sensor_skips(tick: Tick, chain: Chain) -> None:
    write_pictures(chain.root, 12)
    refresh(chain)
    assert reason_of(tick()) == "Nothing has changed: 12 files in 4 shards, all as recorded."


def test_the_range_is_the_smallest_with_all_changes(tick: Tick, chain: Chain) -> None:
    write_pictures(chain.root, 12)
    refresh(chain)
    for shard in ("01", "02"):
        (chain.root / names_in(chain, shard)[0]).write_bytes(picture_bytes(77))
    evaluation = tick()
    assert span_of(evaluation) == ("01", "02")
    assert request_of(evaluation).tags["imgret/changed_shards"] == "2"


@pytest.mark.parametrize("change", ["added", "rewritten", "deleted", "touched"])
def test_every_kind_of_change_is_noticed_until_a_refresh(tick: Tick, chain: Chain, change: str) -> None:
    write_pictures(chain.root, 12)
    [name, new_name] = names_in(chain, "02", 2)
    (chain.root / name).write_bytes(picture_bytes(1))
    refresh(chain)
    if change == "added":
        (chain.root / new_name).write_bytes(picture_bytes(2))
    elif change == "rewritten":
        (chain.root / name).write_bytes(picture_bytes(3))
    elif change == "deleted":
        (chain.root / name).unlink()
    else:
        os.utime(chain.root / name, (1, 1))
    evaluation = tick()
    assert span_of(evaluation) == ("02", "02")
    # As a run that ended after its first step.
    refresh_manifest(chain.home, ["02"])
    reason = request_of(tick()).tags["imgret/reason"]
    assert "Files have changed" not in reason
    refresh(chain)
    assert "Nothing has changed" in reason_of(tick())


def test_the_run_key_identifies_the_change(tick: Tick, chain: Chain) -> None:
    write_pictures(chain.root, 12)
    first = request_of(tick()).run_key
    assert request_of(tick()).run_key == first
    refresh(chain)
    [name] = names_in(chain, "02")
    (chain.root / name).write_bytes(picture_bytes(1))
    second = request_of(tick()).run_key
    assert request_of(tick()).run_key == second != first
    (chain.root / name).write_bytes(picture_bytes(2))
    assert request_of(tick()).run_key not in (first, second)


def test_the_same_change_again_has_another_run_key(tick: Tick, chain: Chain) -> None:
    """Dagster never starts a run key twice, but a file that is deleted, restored and deleted again must be noticed."""
    write_pictures(chain.root, 12)
    [name] = names_in(chain, "02")
    keys = []
    for number in range(2):
        (chain.root / name).write_bytes(picture_bytes(number))
        refresh(chain)
        (chain.root / name).unlink()
        keys.append(request_of(tick()).run_key)
        refresh(chain)
    assert keys[0] != keys[1]


def test_a_long_listing_continues_at_its_cursor(tick: Tick, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(chain.root, 24, families=6)
    run_key = request_of(tick()).run_key
    monkeypatch.setattr(sensors, "MAX_FILES", 5)
    evaluation = tick()
    ticks = 1
    while not (isinstance(evaluation, dg.SensorResult) and evaluation.run_requests):
        assert isinstance(evaluation, dg.SensorResult)
        assert "folders left; the next tick continues" in reason_of(evaluation)
        evaluation = tick(evaluation.cursor)
        ticks += 1
        assert ticks < 20
    # Folders are listed completely; each has four files, so that two folders reach the limit of five.
    assert ticks == 3
    assert request_of(evaluation).run_key == run_key
    assert span_of(evaluation) == ("00", "03")


def test_after_a_complete_listing_the_next_one_starts_again(tick: Tick, chain: Chain) -> None:
    write_pictures(chain.root, 12)
    refresh(chain)
    evaluation = tick()
    assert isinstance(evaluation, dg.SensorResult)
    [name] = names_in(chain, "03")
    (chain.root / name).write_bytes(picture_bytes(5))
    assert span_of(tick(evaluation.cursor)) == ("03", "03")


@pytest.mark.parametrize("cursor", ["", "no json", '{"root": "/elsewhere", "shards": 4, "files": 3}', '{"x": 1}'])
def test_an_unusable_cursor_is_ignored(tick: Tick, chain: Chain, cursor: str) -> None:
    write_pictures(chain.root, 12)
    refresh(chain)
    assert reason_of(tick(cursor)) == "Nothing has changed: 12 files in 4 shards, all as recorded."


def test_with_a_missing_root_the_sensor_skips(tick: Tick, chain: Chain) -> None:
    chain.root.rmdir()
    assert "does not exist" in reason_of(tick())


def test_the_sensor_is_stopped_by_default(chain: Chain) -> None:
    sensor = chain.definitions.resolve_sensor_def("changed_images")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert sensor.job_name == REFRESH


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
def test_the_sensor_skips_during_a_refresh(
    tick: Tick, chain: Chain, instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    write_pictures(chain.root, 4)
    job = chain.definitions.resolve_job_def(REFRESH)
    origin: Any = dg.deserialize_value(json.dumps(ORIGIN))
    run = instance.create_run_for_job(job, status=status, remote_job_origin=origin)
    assert reason_of(tick()).startswith(f"A refresh is {status.value.lower()} (run {run.run_id[:8]})")
    instance.report_run_failed(run)
    assert span_of(tick()) == ("00", "03")


def test_the_sensor_skips_during_a_materialisation_from_the_ui(
    tick: Tick, chain: Chain, instance: dg.DagsterInstance
) -> None:
    write_pictures(chain.root, 4)
    job = chain.definitions.resolve_implicit_global_asset_job_def()
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert reason_of(tick()).startswith("A refresh is started")


def test_the_sensor_does_not_skip_during_a_query(tick: Tick, chain: Chain, instance: dg.DagsterInstance) -> None:
    write_pictures(chain.root, 4)
    instance.create_run_for_job(chain.definitions.resolve_job_def(QUERY), status=dg.DagsterRunStatus.STARTED)
    assert span_of(tick()) == ("00", "03")


HOLD = """
from pathlib import Path
from imgret_assets.defs.instance.process_runs import PROCESS_TAG, process_tag
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings
say(process_tag(open_home(load_settings({"home": Path(sys.argv[1])})))[PROCESS_TAG])
wait()
"""


@pytest.fixture
def other_process(chain: Chain) -> Iterator[tuple[Process, str]]:
    """A process that executes runs for the home until the test ends it, and the value of its tag."""
    with Process(HOLD, [chain.home.path]) as process:
        yield process, process.hear()


def run_of(
    chain: Chain, instance: dg.DagsterInstance, tag: str, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED
) -> dg.DagsterRun:
    return instance.create_run_for_job(
        chain.definitions.resolve_job_def(REFRESH), status=status, tags={PROCESS_TAG: tag} if tag else {}
    )


def dead_tag(chain: Chain) -> str:
    return f"{chain.home.record.id} {uuid.uuid4().hex} 4711"


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.CANCELING]
)
def test_a_run_whose_process_died_is_ended_and_the_sensor_continues(
    tick: Tick,
    chain: Chain,
    instance: dg.DagsterInstance,
    other_process: tuple[Process, str],
    status: dg.DagsterRunStatus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_pictures(chain.root, 4)
    process, tag = other_process
    run = run_of(chain, instance, tag, status)
    assert "A refresh is" in reason_of(tick())
    process.kill()
    # As in a container that was made anew.
    monkeypatch.setattr(socket, "gethostname", lambda: "another-container")
    assert span_of(tick()) == ("00", "03")
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.FAILURE


def test_runs_of_living_processes_other_homes_or_unknown_ones_are_not_ended(
    chain: Chain, instance: dg.DagsterInstance
) -> None:
    run_of(chain, instance, process_tag(chain.home)[PROCESS_TAG])
    run_of(chain, instance, f"another-home {uuid.uuid4().hex} 1")
    run_of(chain, instance, "")
    run_of(chain, instance, "garbage")
    assert end_dead_runs(instance, chain.home) == []


def test_a_killed_run_is_ended_with_a_message(chain: Chain, instance: dg.DagsterInstance) -> None:
    run = run_of(chain, instance, dead_tag(chain))
    assert end_dead_runs(instance, chain.home) == [run.run_id]
    messages = [entry.message for entry in instance.all_logs(run.run_id)]
    assert any("Process 4711 of this run has died. Run again" in message for message in messages)


# The identifiers are given because the number of this process differs between the workers of pytest-xdist.
@pytest.mark.parametrize(
    ("pid", "start", "ended"),
    [(1, "another boot", 1), (os.getpid(), "long ago", 1), (0, "", 0)],
    ids=["ended", "another process", "another host"],
)
def test_runs_that_an_earlier_version_left_are_ended_by_host_and_process_id(
    chain: Chain, instance: dg.DagsterInstance, pid: int, start: str, ended: int
) -> None:
    host = socket.gethostname() if ended else "another-host"
    instance.create_run_for_job(
        chain.definitions.resolve_job_def(REFRESH),
        status=dg.DagsterRunStatus.STARTED,
        tags={FORMER_PROCESS_TAG: f"{host} {pid} {start}"},
    )
    assert len(end_dead_runs(instance, chain.home)) == ended


def test_a_run_of_dagster_itself_is_tagged_with_its_process(chain: Chain, instance: dg.DagsterInstance) -> None:
    """The webserver and the daemon start runs without a tag; the run's own process adds it, hidden in the UI."""
    write_pictures(chain.root, 4)
    chain.run(assets=TABLES, instance=instance)
    [run] = instance.get_runs()
    assert run.tags[PROCESS_TAG] == process_tag(chain.home)[PROCESS_TAG]
    assert get_tag_type(PROCESS_TAG) == TagType.HIDDEN


def test_two_dead_runs_do_not_block_the_queue(chain: Chain, instance: dg.DagsterInstance) -> None:
    """The sensor `dead_runs` is on by default and needs neither a command nor a restart."""
    dead = [run_of(chain, instance, dead_tag(chain)) for _ in range(2)]
    living = run_of(chain, instance, process_tag(chain.home)[PROCESS_TAG])
    resources = {"warehouse": chain.resources["warehouse"]}
    for expected in (
        f"2 runs of dead processes ended: {dead[1].run_id}, {dead[0].run_id}",
        "No process of a run has died",
    ):
        with dg.build_sensor_context(instance=instance, resources=resources) as context:
            skip = dead_runs(context)
        assert isinstance(skip, dg.SkipReason)
        assert expected in (skip.skip_message or "")
    unfinished = instance.get_runs(dg.RunsFilter(statuses=sensors.UNFINISHED))
    assert [run.run_id for run in unfinished] == [living.run_id]
    assert dead_runs.default_status == dg.DefaultSensorStatus.RUNNING


# A run of an earlier version can have left a slot of its pool, or a step that waits for one.


@pytest.fixture
def stored_instance(chain: Chain) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in the home, because instances in memory have no pools."""
    with open_instance(chain.settings) as instance:
        yield instance


def slots(instance: dg.DagsterInstance) -> tuple[set[str], set[str]]:
    """Return the runs that hold a slot of the pool, and the runs that wait for one."""
    info = instance.event_log_storage.get_concurrency_info("imgret_embedding")
    return {slot.run_id for slot in info.claimed_slots}, {step.run_id for step in info.pending_steps}


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE])
def test_slots_of_dead_and_of_ended_runs_are_freed(
    chain: Chain, stored_instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    storage = stored_instance.event_log_storage
    storage.set_concurrency_slots("imgret_embedding", 2)
    dead = run_of(chain, stored_instance, dead_tag(chain), status)
    living = run_of(chain, stored_instance, process_tag(chain.home)[PROCESS_TAG])
    for run in (dead, living):
        assert storage.claim_concurrency_slot("imgret_embedding", run.run_id, "embeddings").is_claimed
    assert not storage.claim_concurrency_slot("imgret_embedding", dead.run_id, "another").is_claimed
    assert slots(stored_instance)[0] == {dead.run_id, living.run_id}
    end_dead_runs(stored_instance, chain.home)
    assert slots(stored_instance) == ({living.run_id}, {living.run_id})


def test_slots_of_deleted_runs_are_freed(chain: Chain, stored_instance: dg.DagsterInstance) -> None:
    storage = stored_instance.event_log_storage
    storage.set_concurrency_slots("imgret_embedding", 1)
    assert storage.claim_concurrency_slot("imgret_embedding", "deleted", "embeddings").is_claimed
    assert end_dead_runs(stored_instance, chain.home) == []
    assert slots(stored_instance) == (set(), set())


def cursor_of(evaluation: dg.SensorResult | dg.SkipReason) -> str:
    assert isinstance(evaluation, dg.SensorResult)
    assert evaluation.cursor is not None
    return evaluation.cursor


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the sensor reads, in seconds; a test moves it."""
    now = [1_000_000.0]
    monkeypatch.setattr(sensors.time, "time", lambda: now[0])
    return now


def test_what_a_failed_run_left_behind_is_requested_again_after_growing_pauses(
    tick: Tick, chain: Chain, clock: list[float]
) -> None:
    write_pictures(chain.root, 12)
    refresh(chain)
    (chain.root / names_in(chain, "02")[0]).write_bytes(picture_bytes(77))
    refresh_manifest(chain.home, ["02"])
    evaluation = tick()
    keys, pauses = [request_of(evaluation).run_key], []
    for _ in range(4):
        asked = clock[0]
        while reason_is_pause(evaluation := tick(cursor_of(evaluation))):
            assert "embeddings (older in 1 of 4 shards)" in reason_of(evaluation)
            clock[0] += 10
        assert span_of(evaluation) == ("02", "02")
        keys.append(request_of(evaluation).run_key)
        pauses.append(clock[0] - asked)
    assert pauses == [60, 120, 240, 480]
    assert len(set(keys)) == 5, "Dagster starts no run key twice"
    refresh(chain)
    evaluation = tick(cursor_of(evaluation))
    assert "Nothing has changed" in reason_of(evaluation)
    # The same again later is a new failure, without the pause of the earlier one.
    tables.pairs_path(chain.home.warehouse, chain.space.id).unlink()
    evaluation = tick(cursor_of(evaluation))
    assert request_of(evaluation).run_key not in keys
    clock[0] += 60
    assert request_of(tick(cursor_of(evaluation))).run_key


def reason_is_pause(evaluation: dg.SensorResult | dg.SkipReason) -> bool:
    return isinstance(evaluation, dg.SensorResult) and not evaluation.run_requests


def test_a_run_that_fails_at_its_first_step_is_requested_again(tick: Tick, chain: Chain, clock: list[float]) -> None:
    write_pictures(chain.root, 4)
    evaluation = tick()
    first = request_of(evaluation).run_key
    evaluation = tick(cursor_of(evaluation))
    assert "Files have changed in 4 shards" in reason_of(evaluation)
    clock[0] += 60
    assert request_of(tick(cursor_of(evaluation))).run_key != first


def test_files_that_change_during_a_pause_are_requested_at_once(tick: Tick, chain: Chain, clock: list[float]) -> None:
    write_pictures(chain.root, 12)
    refresh_manifest(chain.home)
    evaluation = tick(cursor_of(tick()))
    assert reason_is_pause(evaluation)
    (chain.root / names_in(chain, "01")[0]).write_bytes(picture_bytes(78))
    assert request_of(tick(cursor_of(evaluation)))


def test_the_pause_starts_at_the_end_of_a_long_run(
    tick: Tick, chain: Chain, instance: dg.DagsterInstance, clock: list[float]
) -> None:
    write_pictures(chain.root, 4)
    evaluation = tick()
    run = run_of(chain, instance, process_tag(chain.home)[PROCESS_TAG])
    clock[0] += 7200
    evaluation = tick(cursor_of(evaluation))
    assert reason_of(evaluation).startswith("A refresh is started")
    instance.report_run_failed(run)
    evaluation = tick(cursor_of(evaluation))
    assert "The next one is requested in 60 s" in reason_of(evaluation)


def test_the_longest_pause_is_six_hours(tick: Tick, chain: Chain, clock: list[float]) -> None:
    write_pictures(chain.root, 4)
    evaluation = tick()
    for _ in range(12):
        clock[0] += 6 * 3600
        evaluation = tick(cursor_of(evaluation))
        assert request_of(evaluation)
    clock[0] += 6 * 3600 - 1
    evaluation = tick(cursor_of(evaluation))
    assert "13 requested runs have not changed that" in reason_of(evaluation)
    assert "requested in 1 s" in reason_of(evaluation)


def test_a_graph_that_was_not_written_is_requested_without_a_server(tick: Tick, chain: Chain) -> None:
    write_pictures(chain.root, 12)
    refresh(chain)
    (chain.root / "new.png").write_bytes(picture_bytes(79))
    refresh_all(chain.settings, chain.embedder, tables_only=True)
    refresh_threshold_report(chain.home, chain.space.id)
    request = request_of(tick())
    assert "image_nodes, similar_to" in request.tags["imgret/reason"]
    assert "similarity_pairs" not in request.tags["imgret/reason"]
    assert request.tags[RANGE_START] <= shard_of("new.png", 4) <= request.tags[RANGE_END]


def test_a_tick_without_changes_reads_no_rows(tick: Tick, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(chain.root, 12)
    refresh(chain)
    tick()

    def refuse(path: object, columns: object = None) -> None:
        raise AssertionError(f"{path} was read: {columns}")

    monkeypatch.setattr(tables, "read", refuse)
    assert "Nothing has changed" in reason_of(tick())


def test_a_schedule_that_was_turned_on_before_its_job_had_another_name_stays_on(chain: Chain) -> None:
    former_job = dg.define_asset_job("nightly_refresh")
    former = dg.Definitions(
        assets=[dg.AssetSpec("raw_images")],
        jobs=[former_job],
        schedules=[dg.ScheduleDefinition(name="nightly_refresh", job=former_job, cron_schedule=NIGHTLY)],
    )
    now = remote_schedule(build_defs(settings=chain.settings))
    with open_instance(chain.settings) as instance:
        instance.start_schedule(remote_schedule(former))
        state = instance.get_instigator_state(now.get_remote_origin_id(), now.selector_id)
    assert state is not None
    assert now.get_current_instigator_state(state).is_running
    assert now.job_name == REFRESH


def remote_schedule(definitions: dg.Definitions) -> RemoteSchedule:
    """The nightly schedule as webserver and daemon see it in the code location."""
    snapshot = RepositorySnap.from_def(definitions.get_repository_def())
    handle = RepositoryHandle.for_test(location_name="imgret", repository_name="__repository__")
    repository = RemoteRepository(snapshot, handle, auto_materialize_use_sensors=True)
    return repository.get_schedule("nightly_refresh")
