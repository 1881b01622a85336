"""Schedules: the nightly refresh.

Belongs here: the time and the shards of scheduled runs. Not here: the job (`defs.jobs`).
"""

import dagster as dg

from imgret_assets.defs.jobs import REFRESH
from imgret_assets.defs.partitions import range_tags

# The job had this name, too, in earlier versions: a schedule that is turned on keeps its name.
NIGHTLY_REFRESH = "nightly_refresh"
NIGHTLY = "0 3 * * *"


def build_nightly_refresh(shards: list[str]) -> dg.ScheduleDefinition:
    """Return the schedule of a nightly refresh of all shards in one run; it is stopped by default."""

    @dg.schedule(
        name=NIGHTLY_REFRESH,
        job_name=REFRESH,
        cron_schedule=NIGHTLY,
        execution_timezone="UTC",
        description="All shards in one run, every night at 03:00 UTC.",
    )
    def nightly_refresh() -> dg.RunRequest:
        return dg.RunRequest(tags=range_tags(shards[0], shards[-1]))

    return nightly_refresh
