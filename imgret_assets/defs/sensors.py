"""Sensors: runs for changed files, and for what an earlier run has left behind; the end of runs that have died.

Belongs here: how often files are listed, when a run is requested again, the reasons to skip. Not here: the comparison
of files with the manifest (`domain.images.change_detection`) and of manifest, embeddings, tables and graph with each
other (`domain.operations.backlog`).
"""

import json
import time
from dataclasses import asdict, dataclass, replace

import dagster as dg

from imgret_assets.defs.instance.process_runs import end_dead_runs
from imgret_assets.defs.job_names import REFRESH, REFRESH_JOBS
from imgret_assets.defs.partitions import range_tags
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.images.change_detection import Changes, Cursor, detect_changes
from imgret_assets.domain.operations.backlog import Backlog, read_backlog
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImgretError
from imgret_assets.wording import counted

MAX_FILES = 50_000
MAX_SECONDS = 20.0
INTERVAL_S = 30
DEAD_RUNS_INTERVAL_S = 60
# After a run that left the same behind as the run before it: the pause doubles from the first to the second.
FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 6 * 3600.0
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class Requests:
    """The runs that the sensor has requested.

    Attributes:
        key: of the differences for which the last one was requested; empty where nothing was behind since.
        attempts: how many were requested for the same differences.
        total: how many were requested at all; it makes run keys differ, because Dagster starts none twice.
        since_s: when the last one was requested or last seen unfinished, in seconds since the epoch.
    """

    key: str = ""
    attempts: int = 0
    total: int = 0
    since_s: float = 0.0

    @property
    def pause_s(self) -> float:
        """Seconds until the same differences are a reason for another run."""
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(30, self.attempts - 1)) if self.attempts else 0.0

    def wait_s(self, key: str, now_s: float) -> float:
        """Return how many seconds a run for these differences has to wait; 0 for other differences than the last."""
        # A clock that was set back makes no longer pause than a new request does.
        return max(0.0, min(self.pause_s, self.since_s + self.pause_s - now_s)) if key == self.key else 0.0

    def next(self, key: str, now_s: float) -> "Requests":
        """Return the state after one more request."""
        return Requests(key, self.attempts + 1 if key == self.key else 1, self.total + 1, now_s)


def load_state(text: str | None, home: Home) -> tuple[Cursor, Requests]:
    """Parse what the sensor stored; return a new state where it can't be parsed."""
    try:
        stored = json.loads(text or "")
        walk, requests = stored["walk"], Requests(**stored["requests"])
    except (ValueError, TypeError, KeyError):
        walk, requests = None, Requests()
    return Cursor.load(walk, home.images, home.record.shards), requests


def dump_state(cursor: Cursor, requests: Requests) -> str:
    """Return the text that the sensor stores."""
    return json.dumps({"walk": cursor.dump(), "requests": asdict(requests)})


@dg.sensor(
    name="changed_images",
    job_name=REFRESH,
    minimum_interval_seconds=INTERVAL_S,
    description="Requests a refresh where image files have changed, or where a run has left embeddings, tables or "
    "graph behind: one run over the smallest range of shards that contains them. For unchanged shards in that range "
    "only the size and times of each file are read. If a run changes nothing, the next one is requested after a pause "
    "that doubles each time.",
)
def changed_images(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource, embedder: EmbedderResource
) -> dg.SensorResult | dg.SkipReason:
    """List a bounded part of the image root; request one run when a complete listing has found differences."""
    try:
        home = warehouse.open()
        end_dead_runs(context.instance, home)
        unfinished = context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        refresh_run = next((run for run in unfinished if run.job_name in REFRESH_JOBS), None)
        cursor, requests = load_state(context.cursor, home)
        if refresh_run is not None:
            reason = (
                f"A refresh is {refresh_run.status.value.lower()} (run {refresh_run.run_id[:8]}). "
                "Files are listed again after it has ended."
            )
            # The pause after a failure starts at the end of the run, however long the run took.
            seen = replace(requests, since_s=time.time()) if requests.attempts else requests
            return dg.SensorResult(skip_reason=reason, cursor=dump_state(cursor, seen))
        changes, cursor = detect_changes(home, cursor, max_files=MAX_FILES, max_seconds=MAX_SECONDS)
        if changes is None:
            listed, left = counted(cursor.files, "file"), counted(len(cursor.pending), "folder")
            reason = f"{listed} listed, {left} left; the next tick continues."
            return dg.SensorResult(skip_reason=reason, cursor=dump_state(cursor, requests))
        space = embedder.recorded_space(home)
        backlog = read_backlog(home, space.id if space else None)
    except ImgretError as error:
        return dg.SkipReason(str(error))
    return _decide(home, changes, backlog, cursor, requests)


def _decide(home: Home, changes: Changes, backlog: Backlog, cursor: Cursor, requests: Requests) -> dg.SensorResult:
    """Request a run for the differences, or skip with the reason."""
    if not changes.shards and not backlog.behind:
        files, shards = counted(changes.files, "file"), counted(home.record.shards, "shard")
        reason = f"Nothing has changed: {files} in {shards}, all as recorded."
        return dg.SensorResult(skip_reason=reason, cursor=dump_state(cursor, replace(requests, key="", attempts=0)))
    changed = f"Files have changed in {counted(len(changes.shards), 'shard')}. " if changes.shards else ""
    # Everything below changed files is behind, too, but that is no other difference.
    key = changes.key if changes.shards else backlog.key
    now_s = time.time()
    if (wait_s := requests.wait_s(key, now_s)) > 0:
        reason = (
            f"{changed}{backlog.summary} {requests.attempts} requested runs have not changed that: see their errors. "
            f"The next one is requested in {wait_s:,.0f} s."
        )
        return dg.SensorResult(skip_reason=reason.strip(), cursor=dump_state(cursor, requests))
    requests = requests.next(key, now_s)
    shards = sorted({*changes.shards, *backlog.shards}) or home.shards[:1]
    tags = range_tags(shards[0], shards[-1]) | {
        "imgret/changed_shards": str(len(changes.shards)),
        "imgret/reason": f"{changed}{backlog.summary}".strip(),
    }
    request = dg.RunRequest(run_key=f"{key}-{requests.total}", tags=tags)
    return dg.SensorResult(run_requests=[request], cursor=dump_state(cursor, requests))


@dg.sensor(
    name="dead_runs",
    minimum_interval_seconds=DEAD_RUNS_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs as failed whose process has died, with its container or by itself: they would stay "
    "started and keep their place in the queue of runs. It starts no runs.",
)
def dead_runs(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SkipReason:
    """End the runs for this home whose process has died."""
    try:
        ended = end_dead_runs(context.instance, warehouse.open())
    except ImgretError as error:
        return dg.SkipReason(str(error))
    if not ended:
        return dg.SkipReason("No process of a run has died.")
    return dg.SkipReason(f"{counted(len(ended), 'run')} of dead processes ended: {', '.join(ended)}")
