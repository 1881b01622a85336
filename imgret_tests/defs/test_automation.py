"""What starts runs: the schedule, the sensor and its reasons to wait, ending runs whose process has died."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest

from imgret_assets.defs import sensors
from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.defs.instance.process_runs import PROCESS_TAG, end_dead_runs, process_tag
from imgret_assets.defs.jobs import QUERY, REFRESH
from imgret_assets.defs.partitions import RANGE_END, RANGE_START
from imgret_assets.defs.sensors import changed_images
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.neo4j_server.host import process_start
from imgret_tests.support.chain import TABLES, Chain
from imgret_tests.support.pictures import picture_bytes, write_pictures

# Where a run comes from, as Dagster stores it: it records no queued run without, and exports no class for it.
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
    """One evaluation of the sensor."""

    def evaluate(cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
        resources = {"warehouse": chain.resources["warehouse"]}
        with dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
            found = changed_images(context)
        assert isinstance(found, dg.SensorResult | dg.SkipReason)
        return found

    return evaluate


def request_of(found: dg.SensorResult | dg.SkipReason) -> dg.RunRequest:
    assert isinstance(found, dg.SensorResult), found
    [request] = found.run_requests or []
    assert request.run_key
    return request


def span_of(found: dg.SensorResult | dg.SkipReason) -> tuple[str, str]:
    tags = request_of(found).tags
    return tags[RANGE_START], tags[RANGE_END]


def reason_of(found: dg.SensorResult | dg.SkipReason) -> str:
    if isinstance(found, dg.SensorResult):
        assert not found.run_requests
        found = found.skip_reason if isinstance(found.skip_reason, dg.SkipReason) else dg.SkipReason(found.skip_reason)
    return found.skip_message or ""


def list_files(chain: Chain) -> None:
    """What the asset `raw_images` does over all shards, without a run."""
    refresh_manifest(chain.home)


def names_in(chain: Chain, shard: str, count: int = 1) -> list[str]:
    """File names whose path falls into a shard."""
    names = (f"name{number}.png" for number in range(10_000))
    found = [name for name in names if shard_of(name, len(chain.home.shards)) == shard]
    return found[:count]


def test_the_schedule_asks_for_all_shards_in_one_run(chain: Chain, instance: dg.DagsterInstance) -> None:
    schedule = chain.definitions.resolve_schedule_def(REFRESH)
    [request] = schedule.evaluate_tick(dg.build_schedule_context(instance)).run_requests or []
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == ("00", "03")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.execution_timezone == "UTC"


def test_the_schedules_run_does_the_whole_refresh(chain: Chain, instance: dg.DagsterInstance) -> None:
    write_pictures(chain.root, 12)
    schedule = chain.definitions.resolve_schedule_def(REFRESH)
    [request] = schedule.evaluate_tick(dg.build_schedule_context(instance)).run_requests or []
    outcome = chain.run(assets=TABLES, shards=(request.tags[RANGE_START], request.tags[RANGE_END]))
    assert outcome.embedded == 12


def test_the_first_tick_finds_shards_that_were_never_listed(tick: Tick, chain: Chain) -> None:
    write_pictures(chain.root, 12)
    found = tick()
    assert span_of(found) == ("00", "03")
    assert request_of(found).tags["imgret/changed_shards"] == "4"


def test_nothing_changed_is_a_reason_to_skip(tick: Tick, chain: Chain) -> None:
    write_pictures(chain.root, 12)
    list_files(chain)
    assert reason_of(tick()) == "Nothing has changed: 12 files in 4 shards are as recorded."


def test_the_range_is_the_smallest_that_holds_all_changes(tick: Tick, chain: Chain) -> None:
    write_pictures(chain.root, 12)
    list_files(chain)
    for shard in ("01", "02"):
        (chain.root / names_in(chain, shard)[0]).write_bytes(picture_bytes(77))
    found = tick()
    assert span_of(found) == ("01", "02")
    assert request_of(found).tags["imgret/changed_shards"] == "2"


@pytest.mark.parametrize("change", ["added", "rewritten", "deleted", "touched"])
def test_every_kind_of_change_is_noticed_and_a_refresh_settles_it(tick: Tick, chain: Chain, change: str) -> None:
    write_pictures(chain.root, 12)
    [name, other] = names_in(chain, "02", 2)
    (chain.root / name).write_bytes(picture_bytes(1))
    list_files(chain)
    if change == "added":
        (chain.root / other).write_bytes(picture_bytes(2))
    elif change == "rewritten":
        (chain.root / name).write_bytes(picture_bytes(3))
    elif change == "deleted":
        (chain.root / name).unlink()
    else:
        os.utime(chain.root / name, (1, 1))
    found = tick()
    assert span_of(found) == ("02", "02")
    chain.run(assets=["raw_images", "embeddings"], shards=span_of(found))
    assert "Nothing has changed" in reason_of(tick())


def test_the_run_key_names_the_change(tick: Tick, chain: Chain) -> None:
    write_pictures(chain.root, 12)
    first = request_of(tick()).run_key
    assert request_of(tick()).run_key == first
    list_files(chain)
    [name] = names_in(chain, "02")
    (chain.root / name).write_bytes(picture_bytes(1))
    second = request_of(tick()).run_key
    assert request_of(tick()).run_key == second != first
    (chain.root / name).write_bytes(picture_bytes(2))
    assert request_of(tick()).run_key not in (first, second)


def test_the_same_change_a_second_time_has_another_run_key(tick: Tick, chain: Chain) -> None:
    """Dagster never starts a run key twice: a file deleted, put back and deleted again must be noticed again."""
    write_pictures(chain.root, 12)
    [name] = names_in(chain, "02")
    keys = []
    for number in range(2):
        (chain.root / name).write_bytes(picture_bytes(number))
        list_files(chain)
        (chain.root / name).unlink()
        keys.append(request_of(tick()).run_key)
        list_files(chain)
    assert keys[0] != keys[1]


def test_a_long_walk_is_resumed_by_its_cursor(tick: Tick, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(chain.root, 24, families=6)
    whole = request_of(tick()).run_key
    monkeypatch.setattr(sensors, "MAX_FILES", 5)
    found = tick()
    ticks = 1
    while not (isinstance(found, dg.SensorResult) and found.run_requests):
        assert isinstance(found, dg.SensorResult)
        assert "folders left; the next tick continues" in reason_of(found)
        found = tick(found.cursor)
        ticks += 1
        assert ticks < 20
    # Folders of four files each are listed whole: two of the six reach the limit of five.
    assert ticks == 3
    assert request_of(found).run_key == whole
    assert span_of(found) == ("00", "03")


def test_a_finished_walk_begins_anew(tick: Tick, chain: Chain) -> None:
    write_pictures(chain.root, 12)
    list_files(chain)
    found = tick()
    assert isinstance(found, dg.SensorResult)
    [name] = names_in(chain, "03")
    (chain.root / name).write_bytes(picture_bytes(5))
    assert span_of(tick(found.cursor)) == ("03", "03")


@pytest.mark.parametrize("cursor", ["", "no json", '{"root": "/elsewhere", "shards": 4, "files": 3}', '{"x": 1}'])
def test_a_cursor_of_something_else_is_forgotten(tick: Tick, chain: Chain, cursor: str) -> None:
    write_pictures(chain.root, 12)
    list_files(chain)
    assert reason_of(tick(cursor)) == "Nothing has changed: 12 files in 4 shards are as recorded."


def test_a_missing_root_is_a_reason_to_skip(tick: Tick, chain: Chain) -> None:
    chain.root.rmdir()
    assert "does not exist" in reason_of(tick())


def test_it_is_off_until_somebody_turns_it_on(chain: Chain) -> None:
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
def test_it_waits_for_a_refresh_that_is_on_its_way(
    tick: Tick, chain: Chain, instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    write_pictures(chain.root, 4)
    job = chain.definitions.resolve_job_def(REFRESH)
    origin: Any = dg.deserialize_value(json.dumps(ORIGIN))
    run = instance.create_run_for_job(job, status=status, remote_job_origin=origin)
    assert reason_of(tick()).startswith(f"A refresh is {status.value.lower()} (run {run.run_id[:8]})")
    instance.report_run_failed(run)
    assert span_of(tick()) == ("00", "03")


def test_it_waits_for_what_the_ui_materialises(tick: Tick, chain: Chain, instance: dg.DagsterInstance) -> None:
    write_pictures(chain.root, 4)
    job = chain.definitions.resolve_implicit_global_asset_job_def()
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert reason_of(tick()).startswith("A refresh is started")


def test_a_query_is_nothing_to_wait_for(tick: Tick, chain: Chain, instance: dg.DagsterInstance) -> None:
    write_pictures(chain.root, 4)
    instance.create_run_for_job(chain.definitions.resolve_job_def(QUERY), status=dg.DagsterRunStatus.STARTED)
    assert span_of(tick()) == ("00", "03")


@pytest.fixture
def other_process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until the test ends it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def run_of(
    chain: Chain, instance: dg.DagsterInstance, tag: str, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED
) -> dg.DagsterRun:
    return instance.create_run_for_job(
        chain.definitions.resolve_job_def(REFRESH), status=status, tags={PROCESS_TAG: tag} if tag else {}
    )


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.CANCELING]
)
def test_a_run_whose_process_died_is_ended_and_the_sensor_goes_on(
    tick: Tick,
    chain: Chain,
    instance: dg.DagsterInstance,
    other_process: subprocess.Popen[bytes],
    status: dg.DagsterRunStatus,
) -> None:
    write_pictures(chain.root, 4)
    tag = f"{socket.gethostname()} {other_process.pid} {process_start(other_process.pid)}"
    run = run_of(chain, instance, tag, status)
    assert "A refresh is" in reason_of(tick())
    other_process.kill()
    other_process.wait()
    assert span_of(tick()) == ("00", "03")
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.FAILURE


def test_runs_of_living_processes_and_of_nobody_are_left_alone(chain: Chain, instance: dg.DagsterInstance) -> None:
    run_of(chain, instance, process_tag()[PROCESS_TAG])
    run_of(chain, instance, "another-host 1 boot 1")
    run_of(chain, instance, "")
    assert end_dead_runs(instance) == []


def test_a_process_number_used_again_is_not_the_runs_process(chain: Chain, instance: dg.DagsterInstance) -> None:
    run = run_of(chain, instance, f"{socket.gethostname()} {os.getpid()} long ago")
    assert end_dead_runs(instance) == [run.run_id]


def test_a_killed_refresh_is_ended_by_the_next_one(chain: Chain, instance: dg.DagsterInstance) -> None:
    run = run_of(chain, instance, f"{socket.gethostname()} 1 of another boot")
    assert end_dead_runs(instance) == [run.run_id]
    said = [entry.message for entry in instance.all_logs(run.run_id)]
    assert any("Process 1 of this run has died. Run again" in message for message in said)


# What a run by an earlier version may have left: a slot of its pool that it held, or one that it waited for.


@pytest.fixture
def lasting_instance(chain: Chain) -> Iterator[dg.DagsterInstance]:
    """Dagster's records in the home: those in memory have no pools."""
    with open_instance(chain.settings) as made:
        yield made


def slots(instance: dg.DagsterInstance) -> tuple[set[str], set[str]]:
    """Runs that hold a slot of the pool, and runs that wait for one."""
    info = instance.event_log_storage.get_concurrency_info("imgret_embedding")
    return {slot.run_id for slot in info.claimed_slots}, {step.run_id for step in info.pending_steps}


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE])
def test_slots_of_dead_runs_are_freed_also_of_those_that_were_ended_before(
    chain: Chain, lasting_instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    storage = lasting_instance.event_log_storage
    storage.set_concurrency_slots("imgret_embedding", 2)
    dead = run_of(chain, lasting_instance, f"{socket.gethostname()} 1 of another boot", status)
    living = run_of(chain, lasting_instance, process_tag()[PROCESS_TAG])
    for run in (dead, living):
        assert storage.claim_concurrency_slot("imgret_embedding", run.run_id, "embeddings").is_claimed
    assert not storage.claim_concurrency_slot("imgret_embedding", dead.run_id, "another").is_claimed
    assert slots(lasting_instance)[0] == {dead.run_id, living.run_id}
    end_dead_runs(lasting_instance)
    assert slots(lasting_instance) == ({living.run_id}, {living.run_id})


def test_slots_of_runs_that_are_not_recorded_any_more_are_freed(lasting_instance: dg.DagsterInstance) -> None:
    storage = lasting_instance.event_log_storage
    storage.set_concurrency_slots("imgret_embedding", 1)
    assert storage.claim_concurrency_slot("imgret_embedding", "deleted", "embeddings").is_claimed
    assert end_dead_runs(lasting_instance) == []
    assert slots(lasting_instance) == (set(), set())
