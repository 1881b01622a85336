"""The processes that execute runs, and the end of runs whose process has died.

Belongs here: the tag that names a run's process, and what Dagster stores of dead runs. Not here: how a process shows
that it is alive (`domain.storage.process_locks`), executing runs (`defs.execute_refresh`).
"""

import os
import socket
from pathlib import Path

import dagster as dg

from imgret_assets.domain.neo4j_server.host import process_start
from imgret_assets.domain.storage import process_locks
from imgret_assets.domain.storage.home import Home

# The prefix is that of the tags which Dagster's UI does not show.
PROCESS_TAG = ".dagster/imgret_process"
# Of earlier versions: host, process id and start time. It says nothing about processes of other hosts and containers.
FORMER_PROCESS_TAG = "imgret/process"
_UNFINISHED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def process_tag(home: Home) -> dict[str, str]:
    """Return a tag that identifies this process by a lock file in the home, which it holds until it ends.

    Raises:
        HomeError: the home can't be written.
    """
    key = process_locks.hold_until_exit(_folder(home))
    return {PROCESS_TAG: f"{home.record.id} {key} {os.getpid()}"}


def end_dead_runs(instance: dg.DagsterInstance, home: Home) -> list[str]:
    """Report runs as failed if the process that executed them for this home has died, and return their ids.

    Dagster's own run monitoring does not notice that a process of `imgret run`, or a container with a run of the
    webserver, has died. Such a run would stay started and keep its place in the queue. Slots of Dagster's pools that
    ended runs still hold are freed.
    """
    ended: list[str] = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        pid = _dead_process(run, home)
        # Another process may have reported the run, or it may have ended, since the runs were listed.
        current = instance.get_run_by_id(run.run_id) if pid is not None else None
        if current is not None and not current.is_finished:
            instance.report_run_failed(
                current, message=f"Process {pid} of this run has died. Run again: it continues where it stopped."
            )
            ended.append(run.run_id)
    process_locks.remove_dead(_folder(home))
    _free_slots(instance)
    return ended


def _dead_process(run: dg.DagsterRun, home: Home) -> str | None:
    """Return the process id of a run for this home if the process has died; None if it lives or nothing is known."""
    match run.tags.get(PROCESS_TAG, "").split(" "):
        case [home_id, key, pid] if home_id == home.record.id and process_locks.is_dead(_folder(home), key):
            return pid
        case _:
            pass
    match run.tags.get(FORMER_PROCESS_TAG, "").split(" ", 2):
        case [host, pid, start] if host == socket.gethostname() and pid.isdigit():
            return pid if (process_start(int(pid)) or "gone") != start else None
        case _:
            return None


def _folder(home: Home) -> Path:
    return home.locks / "processes"


def _free_slots(instance: dg.DagsterInstance) -> None:
    """Free the slots of pools that ended runs hold or wait for.

    No step uses a pool now. In earlier versions `embeddings` did, and a slot that such a run left would make a run of
    that version wait forever.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    run_ids: set[str] = set()
    for key in storage.get_concurrency_keys():
        pool = storage.get_concurrency_info(key)
        run_ids |= {slot.run_id for slot in pool.claimed_slots} | {step.run_id for step in pool.pending_steps}
    for run_id in run_ids:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            storage.free_concurrency_slots_for_run(run_id)
