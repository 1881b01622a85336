"""Sensors: noticing changed files.

Belongs here: when to look, when to ask for a run, why not. Not here: how changes are found
(`domain.images.change_detection`).
"""

import dagster as dg

from imgret_assets.defs.instance.process_runs import end_dead_runs
from imgret_assets.defs.jobs import REFRESH
from imgret_assets.defs.partitions import range_tags
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.images.change_detection import Cursor, look
from imgret_assets.errors import ImgretError

MAX_FILES = 50_000
MAX_SECONDS = 20.0
INTERVAL_S = 30
# The second one is Dagster's own, of what the UI materialises and backfills.
REFRESHING = (REFRESH, "__ASSET_JOB")
WAITING = [
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
    description="Asks for a refresh of the shards whose files have changed: one run over the smallest range of shards "
    "that holds them all. Unchanged shards in that range cost a look at each file's size and times.",
)
def changed_images(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource
) -> dg.SensorResult | dg.SkipReason:
    """Walk a bounded piece of the image root; ask for one run when a whole walk has found changes."""
    end_dead_runs(context.instance)
    busy = [run for run in context.instance.get_runs(dg.RunsFilter(statuses=WAITING)) if run.job_name in REFRESHING]
    if busy:
        return dg.SkipReason(
            f"A refresh is {busy[0].status.value.lower()} (run {busy[0].run_id[:8]}); looking again when it has ended."
        )
    try:
        home = warehouse.open()
        cursor = Cursor.load(context.cursor, home.images, home.record.shards)
        changes, cursor = look(home, cursor, max_files=MAX_FILES, max_seconds=MAX_SECONDS)
    except ImgretError as error:
        return dg.SkipReason(str(error))
    if changes is None:
        reason = f"{cursor.files:,} files listed, {len(cursor.pending):,} folders to go; the next tick goes on."
        return dg.SensorResult(skip_reason=reason, cursor=cursor.dump())
    if not changes.shards:
        reason = f"Nothing has changed: {changes.files:,} files in {home.record.shards} shards are as recorded."
        return dg.SensorResult(skip_reason=reason, cursor=cursor.dump())
    tags = range_tags(*changes.span) | {"imgret/changed_shards": str(len(changes.shards))}
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=changes.key, tags=tags)], cursor=cursor.dump())
