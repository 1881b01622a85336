"""The last runs, as Dagster's own storage has them.

Belongs here: asking it. Not here: running (`cli.run`), showing (`app.views.overview_page`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import dagster as dg

from imgret_assets.settings import Settings


@dataclass(frozen=True)
class LastRun:
    """A run: its job, its status as Dagster names it, and when it began and ended, UTC."""

    job: str
    status: str
    began: datetime | None
    ended: datetime | None


def last_runs(settings: Settings, count: int = 5) -> list[LastRun]:
    """The last runs, newest first; none where no run has made Dagster's storage yet."""
    if not (settings.dagster_home / "dagster.yaml").is_file():
        return []
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        return [
            LastRun(
                record.dagster_run.job_name,
                record.dagster_run.status.value,
                _moment(record.start_time),
                _moment(record.end_time),
            )
            for record in cast("list[Any]", instance.get_run_records(limit=count))
        ]


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
