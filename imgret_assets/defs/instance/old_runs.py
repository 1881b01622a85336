"""Removal of old runs from Dagster's storage, which would grow by a megabyte with each run.

Belongs here: which runs are removed, and giving their space back. Not here: when (`defs.execute_refresh`, `cli.gc`),
runs that are not finished (`defs.instance.process_runs`).
"""

import logging
import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import dagster as dg

from imgret_assets.settings import Settings

KEEP_DAYS = 30
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_VACUUM_TIMEOUT_S = 5.0
_log = logging.getLogger(__name__)


def remove_old_runs(
    instance: dg.DagsterInstance, settings: Settings, checks: Sequence[dg.AssetCheckKey], *, now_s: float | None = None
) -> int:
    """Remove finished runs beyond the newest IMGRET_KEEP_RUNS, and those older than `KEEP_DAYS`; return their number.

    The run with the last materialisation of an asset or one of its partitions, or with the last result of a check,
    stays however old it is, so that the UI shows them.

    Args:
        instance: Dagster's storage.
        settings: with the number of runs to keep.
        checks: the asset checks whose last results stay.
        now_s: the time from which ages count, in seconds since the epoch; the present where None.
    """
    oldest_s = (time.time() if now_s is None else now_s) - KEEP_DAYS * 86_400
    finished = cast("list[Any]", instance.get_run_records(dg.RunsFilter(statuses=_FINISHED)))
    finished.sort(key=lambda record: record.create_timestamp, reverse=True)
    old = [
        record.dagster_run.run_id
        for number, record in enumerate(finished)
        if number >= settings.keep_runs or record.create_timestamp.timestamp() < oldest_s
    ]
    if not old:
        return 0
    needed = _needed_runs(instance, checks)
    removed = [run_id for run_id in old if run_id not in needed]
    for run_id in removed:
        instance.delete_run(run_id)
        _remove_files(settings.dagster_home, run_id)
    if removed:
        _vacuum(settings.dagster_home)
    return len(removed)


def _needed_runs(instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> set[str]:
    """Return the runs of the last materialisations and check results."""
    needed: set[str] = set()
    for asset in instance.all_asset_keys():
        if (event := instance.get_latest_materialization_event(asset)) is not None:
            needed.add(event.run_id)
        last = instance.get_latest_storage_id_by_partition(asset, dg.DagsterEventType.ASSET_MATERIALIZATION)
        if last:
            chosen = dg.AssetRecordsFilter(asset_key=asset, storage_ids=list(last.values()))
            needed |= {record.run_id for record in instance.fetch_materializations(chosen, limit=len(last)).records}
    results = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    return needed | {result.run_id for result in results.values()}


def _remove_files(folder: Path, run_id: str) -> None:
    """Remove what Dagster keeps of a run in files of its own, where its storage is the usual one."""
    for file in (folder / "history" / "runs").glob(f"{run_id}.db*"):
        file.unlink(missing_ok=True)
    shutil.rmtree(folder / "storage" / run_id, ignore_errors=True)


def _vacuum(folder: Path) -> None:
    """Give the space of removed rows back; not while another process writes, which does no harm."""
    for file in (folder / "history" / "runs.db", folder / "history" / "runs" / "index.db"):
        if not file.is_file():
            continue
        try:
            with closing(sqlite3.connect(file, timeout=_VACUUM_TIMEOUT_S)) as database:
                database.execute("VACUUM")
        except sqlite3.OperationalError as error:
            _log.info("%s was not made smaller: %s", file, error)
