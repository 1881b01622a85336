"""The code location as Dagster's webserver and daemon know it, and the origin that makes a run one of its jobs.

Belongs here: its names. Not here: its definitions (`defs.build`), the files that lead Dagster to it (workspace.yaml,
docker/workspace.yaml; both use the name `LOCATION`), executing runs (`defs.execute_refresh`).
"""

import sys

from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

MODULE = "imgret_assets.definitions"
LOCATION = "imgret"
# The name that Dagster gives to the one repository of a `Definitions` object.
_REPOSITORY = "__repository__"


def job_origin(job: str) -> RemoteJobOrigin:
    """Return the origin of a job of this code location.

    A run that a process executes by itself has none. Dagster shows runs in its Overview and on the pages of jobs by
    the names of location and repository in their origin.

    Args:
        job: name of the job.
    """
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=MODULE)
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    return RemoteRepositoryOrigin(location, _REPOSITORY).get_job_origin(job)
