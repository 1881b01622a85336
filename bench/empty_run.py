"""A process that executes a Dagster job of one empty op in the home of the environment, as `imgret run` does its job.

It is what a run can't go below: importing Dagster, opening the instance, planning, and the events of one step.
"""

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.settings import load_settings


@dg.op
def do_nothing() -> None:
    """Do nothing."""


@dg.job(executor_def=dg.in_process_executor)
def empty_job() -> None:
    """Run the empty op."""
    do_nothing()


def main() -> None:
    """Execute the job."""
    with open_instance(load_settings()) as instance:
        run = instance.create_run_for_job(empty_job)
        execute_run(InMemoryJob(empty_job), run, instance, raise_on_error=True)


if __name__ == "__main__":
    main()
