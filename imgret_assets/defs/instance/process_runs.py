"""Runs that a command line process executes itself, and ending those whose process has died.

Belongs here: the tags that name a run's process, and what Dagster keeps of dead runs. Not here: executing (`cli.run`).
"""

import os
import socket

import dagster as dg

from imgret_assets.domain.neo4j_server.host import process_start

PROCESS = "imgret/process"
_UNFINISHED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def process_tag() -> dict[str, str]:
    """A tag that names this process: host, number, and start time, since numbers are used again."""
    return {PROCESS: f"{socket.gethostname()} {os.getpid()} {process_start(os.getpid()) or ''}"}


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report runs as failed whose process on this machine is gone; ids of those runs.

    Dagster's own run monitoring looks after runs that a launcher started, not after those of `imgret run`. Slots of
    Dagster's pools that ended runs have kept are freed, whoever ended them.
    """
    ended: list[str] = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        host, _, process = run.tags.get(PROCESS, "").partition(" ")
        pid, _, started = process.partition(" ")
        if host == socket.gethostname() and pid.isdigit() and (process_start(int(pid)) or "gone") != started:
            instance.report_run_failed(run, message=f"Its process {pid} has died; run again: it goes on where it was.")
            ended.append(run.run_id)
    _free_slots(instance)
    return ended


def _free_slots(instance: dg.DagsterInstance) -> None:
    """Free the pools' slots that ended runs hold or wait for.

    No step here uses a pool, but `embeddings` had one before, and a run of such a version would wait for ever.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    keeping: set[str] = set()
    for key in storage.get_concurrency_keys():
        pool = storage.get_concurrency_info(key)
        keeping |= {one.run_id for one in (*pool.claimed_slots, *pool.pending_steps)}
    for run_id in keeping:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            storage.free_concurrency_slots_for_run(run_id)
