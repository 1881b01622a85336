"""Old runs leave Dagster's storage, and nothing that the UI shows of assets and checks goes with them."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.defs.instance.old_runs import KEEP_DAYS, remove_old_runs
from imgret_assets.settings import Settings, load_settings

SHARDS = dg.StaticPartitionsDefinition(["00", "01", "02"])


@dg.asset(partitions_def=SHARDS)
def sharded() -> None:
    """One materialisation for each partition."""


@dg.asset
def whole() -> None:
    """A materialisation as a whole."""


@dg.asset_check(asset=whole)
def checked() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


CHECKS = [dg.AssetCheckKey(dg.AssetKey("whole"), "checked")]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    flags = {"home": tmp_path / "home", "keep_runs": 2}
    return load_settings(flags, env={"IMGRET_ENV_FILE": os.devnull})


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings) as opened:
        yield opened


def run(instance: dg.DagsterInstance, definition: object, partition: str | None = None) -> str:
    return dg.materialize([definition], instance=instance, partition_key=partition).run_id  # type: ignore[list-item]


def run_ids(instance: dg.DagsterInstance) -> set[str]:
    return {found.run_id for found in instance.get_runs()}


def test_what_the_ui_shows_last_stays(instance: dg.DagsterInstance, settings: Settings) -> None:
    first = run(instance, sharded, "00")
    gone = [run(instance, sharded, "01"), run(instance, whole)]
    kept = [run(instance, sharded, "01"), run(instance, sharded, "02"), run(instance, whole)]
    check = dg.materialize([whole, checked], instance=instance, selection=dg.AssetSelection.checks(checked)).run_id
    newest = [run(instance, sharded, "02"), run(instance, whole)]
    files = settings.dagster_home / "history" / "runs"
    assert (files / f"{gone[0]}.db").is_file()

    assert remove_old_runs(instance, settings, CHECKS) == 4
    assert run_ids(instance) == {first, kept[0], check, *newest}
    assert not list(files.glob(f"{gone[0]}*"))
    assert (files / f"{first}.db").is_file()
    partitions = instance.get_materialized_partitions(dg.AssetKey("sharded"))
    assert partitions == {"00", "01", "02"}
    latest = instance.get_latest_materialization_event(dg.AssetKey("whole"))
    assert latest is not None
    assert latest.run_id == newest[1]
    results = instance.event_log_storage.get_latest_asset_check_execution_by_key(CHECKS)
    assert [result.run_id for result in results.values()] == [check]
    assert remove_old_runs(instance, settings, CHECKS) == 0


def test_age_counts_too_and_unfinished_runs_stay(instance: dg.DagsterInstance, settings: Settings) -> None:
    settings = replace(settings, keep_runs=100)
    old, new = run(instance, whole), run(instance, whole)
    unfinished = instance.create_run_for_job(dg.Definitions(assets=[whole]).resolve_implicit_global_asset_job_def())
    later_s = time.time() + KEEP_DAYS * 86_400
    assert remove_old_runs(instance, settings, CHECKS, now_s=later_s - 3600) == 0
    assert remove_old_runs(instance, settings, CHECKS, now_s=later_s + 3600) == 1
    assert run_ids(instance) == {new, unfinished.run_id}
    assert old not in run_ids(instance)


def test_the_storage_stops_growing(instance: dg.DagsterInstance, settings: Settings) -> None:
    def size() -> int:
        return sum(file.stat().st_size for file in settings.dagster_home.rglob("*") if file.is_file())

    sizes = []
    for _ in range(6):
        run(instance, whole)
        remove_old_runs(instance, settings, CHECKS)
        sizes.append(size())
    assert len(run_ids(instance)) == 2
    assert max(sizes[2:]) - min(sizes[2:]) < 60_000
