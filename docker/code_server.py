"""Starts the code location's gRPC server in its container.

Belongs here: what must be true of Dagster's storage before that server runs. Not here: the code location itself
(`imgret_assets.definitions`).
"""

import os

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

# Dagster's DefaultRunLauncher writes this tag on runs that it starts through a code server.
STARTED_BY_A_SERVER = ".dagster/grpc_info"
REASON = "The code container stopped while this run was in progress."


def fail_orphaned_runs(instance: DagsterInstance) -> int:
    """End the runs that went down with an earlier container; they would stay in progress for good.

    Such runs are processes of the code container, and Dagster does not watch those once their server is gone.

    Returns:
        how many there were.
    """
    in_progress = RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
    orphans = [run for run in instance.get_runs(in_progress) if STARTED_BY_A_SERVER in run.tags]
    for run in orphans:
        instance.report_run_failed(run, REASON)
    return len(orphans)


def main() -> None:
    """Clean up, then become the server."""
    with DagsterInstance.get() as instance:
        ended = fail_orphaned_runs(instance)
    if ended:
        print(f"Ended {ended} runs that an earlier container left in progress.", flush=True)
    module = os.environ.get("IMGRET_CODE_MODULE", "imgret_assets.definitions")
    server = ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", module]  # noqa: S104
    os.execvp(server[0], server)  # noqa: S606


if __name__ == "__main__":
    main()
