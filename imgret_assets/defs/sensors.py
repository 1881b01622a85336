"""Sensors: runs for changed files.

Belongs here: how often files are listed, when a run is requested, the reasons to skip. Not here: the comparison of
files with the manifest (`domain.images.change_detection`).
"""

import dagster as dg

from imgret_assets.defs.instance.process_runs import end_dead_runs
from imgret_assets.defs.jobs import REFRESH
from imgret_assets.defs.partitions import range_tags
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.images.change_detection import Cursor, detect_changes
from imgret_assets.errors import ImgretError

MAX_FILES = 50_000
MAX_SECONDS = 20.0
INTERVAL_S = 30
# The second job is Dagster's own: materialisations and backfills started in the UI.
REFRESH_JOBS = (REFRESH, "__ASSET_JOB")
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.sensor(
    name="changed_images",
    job_name=REFRESH,
    minimum_interval_seconds=INTERVAL_S,
    description="Requests a refresh of the shards whose files have changed: one run over the smallest range of shards "
    "that contains them. For unchanged shards in that range only the size and times of each file are read.",
)
def changed_images(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource
) -> dg.SensorResult | dg.SkipReason:
    """List a bounded part of the image root; request one run when a complete listing has found changes."""
    end_dead_runs(context.instance)
    unfinished = context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    refresh_run = next((run for run in unfinished if run.job_name in REFRESH_JOBS), None)
    if refresh_run is not None:
        return dg.SkipReason(
            f"A refresh is {refresh_run.status.value.lower()} (run {refresh_run.run_id[:8]}). "
            "Files are listed again after it has ended."
        )
    try:
        home = warehouse.open()
        cursor = Cursor.load(context.cursor, home.images, home.record.shards)
        changes, cursor = detect_changes(home, cursor, max_files=MAX_FILES, max_seconds=MAX_SECONDS)
    except ImgretError as error:
        return dg.SkipReason(str(error))
    if changes is None:
        reason = f"{cursor.files:,} files listed, {len(cursor.pending):,} folders left; the next tick continues."
        return dg.SensorResult(skip_reason=reason, cursor=cursor.dump())
    if not changes.shards:
        reason = f"Nothing has changed: {changes.files:,} files in {home.record.shards} shards are as recorded."
        return dg.SensorResult(skip_reason=reason, cursor=cursor.dump())
    tags = range_tags(*changes.span) | {"imgret/changed_shards": str(len(changes.shards))}
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=changes.key, tags=tags)], cursor=cursor.dump())
