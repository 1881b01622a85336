"""Runs that a command line process executes itself, and ending those whose process has died.

Belongs here: the tags that name a run's process. Not here: executing (`cli.run`).
"""

import os
import socket

import dagster as dg

from imgret_assets.domain.server_machine import process_start

PROCESS = "imgret/process"
_UNFINISHED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def process_tag() -> dict[str, str]:
    """A tag that names this process: host, number, and start time, since numbers are used again."""
    return {PROCESS: f"{socket.gethostname()} {os.getpid()} {process_start(os.getpid()) or ''}"}


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report runs as failed whose process on this machine is gone; ids of those runs.

    Dagster's own run monitoring looks after runs that a launcher started, not after those of `imgret run`.
    """
    ended: list[str] = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        host, _, process = run.tags.get(PROCESS, "").partition(" ")
        pid, _, started = process.partition(" ")
        if host == socket.gethostname() and pid.isdigit() and (process_start(int(pid)) or "gone") != started:
            instance.report_run_failed(run, message=f"Its process {pid} has died; run again: it goes on where it was.")
            ended.append(run.run_id)
    return ended
