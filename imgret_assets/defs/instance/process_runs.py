"""Runs that a process executes itself, and the end of those whose process has died.

Belongs here: the tag that names a run's process, and what Dagster stores of dead runs. Not here: executing runs
(`defs.execute_refresh`).
"""

import os
import socket

import dagster as dg

from imgret_assets.domain.neo4j_server.host import process_start

PROCESS_TAG = "imgret/process"
_UNFINISHED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def process_tag() -> dict[str, str]:
    """Return a tag that identifies this process: host, process id and start time, because ids are reused."""
    return {PROCESS_TAG: f"{socket.gethostname()} {os.getpid()} {process_start(os.getpid()) or ''}"}


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report runs as failed if their process on this machine has died, and return their ids.

    Dagster's own run monitoring covers runs that a launcher started, not those of `imgret run`. Slots of Dagster's
    pools that ended runs still hold are freed.
    """
    ended: list[str] = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        host, _, process = run.tags.get(PROCESS_TAG, "").partition(" ")
        pid, _, started = process.partition(" ")
        if host == socket.gethostname() and pid.isdigit() and (process_start(int(pid)) or "gone") != started:
            instance.report_run_failed(
                run, message=f"Process {pid} of this run has died. Run again: it continues where it stopped."
            )
            ended.append(run.run_id)
    _free_slots(instance)
    return ended


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
