"""Start of the gRPC server of the code location in its container.

Belongs here: ending the runs of an earlier container before the server starts. Not here: the code location itself
(`imgret_assets.definitions`), how a dead run is known (`imgret_assets.defs.instance.process_runs`).
"""

import os

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from imgret_assets.defs.instance.process_runs import end_dead_runs
from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import load_settings
from imgret_assets.wording import counted

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


def end_earlier_runs(instance: DagsterInstance) -> int:
    """End the runs of an earlier container: those of `imgret run`, and those of its server. Return their number."""
    try:
        dead = len(end_dead_runs(instance, open_home(load_settings())))
    except ImgretError as error:
        # The server starts anyway: Dagster's UI then shows the same error where the home is used.
        print(f"Runs of `imgret run` were not looked at: {error}", flush=True)
        dead = 0
    return dead + fail_orphaned_runs(instance)


def main() -> None:
    """End runs of an earlier container, then replace this process by the server."""
    with DagsterInstance.get() as instance:
        count = end_earlier_runs(instance)
    if count:
        print(f"Ended {counted(count, 'run')} that an earlier container left in progress.", flush=True)
    module = os.environ.get("IMGRET_CODE_MODULE", "imgret_assets.definitions")
    server = ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", module]  # noqa: S104
    os.execvp(server[0], server)  # noqa: S606


if __name__ == "__main__":
    main()
