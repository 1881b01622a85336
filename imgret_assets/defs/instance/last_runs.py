"""The last runs in Dagster's storage.

Belongs here: reading them. Not here: executing runs (`defs.execute_refresh`), showing them (`app.views.overview_page`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import dagster as dg

from imgret_assets.settings import Settings


@dataclass(frozen=True)
class LastRun:
    """A run: its job, its status as Dagster names it, and the times of its start and end, UTC."""

    job: str
    status: str
    started_at: datetime | None
    ended_at: datetime | None


def last_runs(settings: Settings, count: int = 5) -> list[LastRun]:
    """Return the last runs, newest first; none if Dagster's storage does not exist yet."""
    if not (settings.dagster_home / "dagster.yaml").is_file():
        return []
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        return [
            LastRun(
                record.dagster_run.job_name,
                record.dagster_run.status.value,
                _utc(record.start_time),
                _utc(record.end_time),
            )
            for record in cast("list[Any]", instance.get_run_records(limit=count))
        ]


def _utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
