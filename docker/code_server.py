"""Start of the gRPC server of the code location in its container.

Belongs here: cleaning Dagster's storage before the server starts. Not here: the code location itself
(`imgret_assets.definitions`).
"""

import os

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

# DefaultRunLauncher of Dagster adds this tag to runs that it starts through a code server.
STARTED_BY_A_SERVER = ".dagster/grpc_info"
REASON = "The code container stopped while this run was in progress."


def fail_orphaned_runs(instance: DagsterInstance) -> int:
    """Report runs as failed that stopped with an earlier container, and return their number.

    Such runs are processes of the code container. Dagster no longer monitors them when their server has gone, so they
    would stay in progress forever.
    """
    in_progress = RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
    orphans = [run for run in instance.get_runs(in_progress) if STARTED_BY_A_SERVER in run.tags]
    for run in orphans:
        instance.report_run_failed(run, REASON)
    return len(orphans)


def main() -> None:
    """Fail orphaned runs, then replace this process by the server."""
    with DagsterInstance.get() as instance:
        count = fail_orphaned_runs(instance)
    if count:
        print(f"Failed {count} runs that an earlier container left in progress.", flush=True)
    module = os.environ.get("IMGRET_CODE_MODULE", "imgret_assets.definitions")
    server = ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", module]  # noqa: S104
    os.execvp(server[0], server)  # noqa: S606


if __name__ == "__main__":
    main()
