"""Execution of the refresh job in this process, as `imgret run` and `imgret demo` need it.

Belongs here: the run's resources, configuration and tags, turning Dagster's failures into the named errors behind
them, the totals. Not here: what a refresh does (`defs.assets`, `domain`), options and printing (`cli.run`), progress
on a terminal (`cli.support.progress_bar`), runs that Dagster's webserver or daemon start.
"""

import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from imgret_assets.defs.build import build_defs
from imgret_assets.defs.checks import check_keys
from imgret_assets.defs.instance.code_location import job_origin
from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.defs.instance.kept_engines import kept_engines
from imgret_assets.defs.instance.old_runs import remove_old_runs
from imgret_assets.defs.instance.process_runs import end_dead_runs, process_tag
from imgret_assets.defs.jobs import REFRESH
from imgret_assets.defs.partitions import range_tags
from imgret_assets.defs.resources import default_resources
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.image_store import ImageStoreResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.run_counts import RunCounts
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.graph.connection import keep_connections, open_database
from imgret_assets.domain.operations.run_totals import Totals, count_totals
from imgret_assets.domain.storage.home import open_home
from imgret_assets.domain.storage.kept_tables import keep_tables
from imgret_assets.errors import ImgretError, error_chain, first_line
from imgret_assets.settings import Settings

# The assets that write to Neo4j.
GRAPH_GROUP = "graph"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RefreshResult:
    """The outcome of a refresh.

    Attributes:
        totals: counts of tables and graph after the run.
        failed_checks: one line for each asset check that did not pass.
    """

    totals: Totals
    failed_checks: tuple[str, ...]


def refresh(
    settings: Settings,
    *,
    threshold: float | None = None,
    verify: bool = False,
    allow_deletes: bool = False,
    verbose: bool = False,
    graph: bool = True,
) -> RefreshResult:
    """Execute the refresh job over all shards in this process and return its totals.

    Args:
        settings: home, image root and models of the run.
        threshold: raw cosine of the pairs, -1 to 1; the setting or the home's last one where None.
        verify: open every file, whatever its size and times are.
        allow_deletes: continue although most known files are gone.
        verbose: log every event of the run; otherwise a line for each step.
        graph: False to refresh the tables alone, without a database.

    Raises:
        ImgretError: the named failure that ended the run.
        KeyboardInterrupt: the run was interrupted; Dagster has recorded its end.
    """
    # The partitions and the run's range of shards must be those of every step.
    with open_home(settings).share_layout("refreshing"), keep_connections(), keep_tables():
        return _refresh_with_fixed_shards(
            settings, threshold=threshold, verify=verify, allow_deletes=allow_deletes, verbose=verbose, graph=graph
        )


def _refresh_with_fixed_shards(
    settings: Settings, *, threshold: float | None, verify: bool, allow_deletes: bool, verbose: bool, graph: bool
) -> RefreshResult:
    """Execute the job; the caller keeps the number of shards from changing."""
    started = time.monotonic()
    home = open_home(settings)
    counts = RunCounts()
    resources = _resources(settings, counts)
    configuration = {
        "loggers": {"console": {"config": {"log_level": "DEBUG" if verbose else "INFO"}}},
        "ops": {
            "raw_images": {"config": {"verify": verify, "allow_deletes": allow_deletes}},
            "similarity_pairs": {"config": {} if threshold is None else {"threshold": threshold}},
        },
    }
    tags = range_tags(home.shards[0], home.shards[-1]) | process_tag(home)
    with kept_engines(), open_instance(settings) as instance:
        end_dead_runs(instance, home)
        chosen = settings if threshold is None else replace(settings, threshold=threshold)
        definitions = build_defs(settings=chosen, resources=resources)
        job = definitions.resolve_job_def(REFRESH)
        selected = None if graph else _assets_of_tables(definitions)
        try:
            run = instance.create_run_for_job(
                job if selected is None else job.get_subset(asset_selection=selected),
                run_config=configuration,
                tags={**job.run_tags, **tags},
                asset_selection=selected,
                remote_job_origin=job_origin(REFRESH),
            )
            result = execute_run(InMemoryJob(job), run, instance, raise_on_error=True)
        except dg.DagsterExecutionInterruptedError as interruption:
            # Dagster raises this for Ctrl-C, after it has recorded the run as ended.
            raise KeyboardInterrupt from interruption
        except dg.DagsterError as error:
            named = _named_cause(error)
            if named is error:
                raise
            raise named from error
        try:
            remove_old_runs(instance, settings, check_keys())
        except Exception as error:
            _log.warning("Old runs stay in Dagster's storage: %s", first_line(error))
    space = resources["embedder"].space(home)
    with open_database(settings) if graph else nullcontext() as database:
        counted = count_totals(
            open_home(settings), database, space.id, embedded=counts.embedded, seconds=time.monotonic() - started
        )
    return RefreshResult(counted, _failed_checks(result))


def _assets_of_tables(definitions: dg.Definitions) -> set[dg.AssetKey]:
    """Return all assets but those of the graph."""
    assets = definitions.resolve_asset_graph()
    return {key for key in assets.materializable_asset_keys if assets.get(key).group_name != GRAPH_GROUP}


def _resources(settings: Settings, counts: RunCounts) -> dict[str, Any]:
    """Return the resources of a run. What they leave empty they read from the settings themselves."""
    image_store = ImageStoreResource(root=_text(settings.images))
    additional = [f"{name}={weights}" if weights else name for name, weights in settings.beside]
    return default_resources() | {
        "image_store": image_store,
        "warehouse": WarehouseResource(home=str(settings.home), image_store=image_store),
        "embedder": EmbedderResource(
            model=settings.model, weights=_text(settings.weights), beside=",".join(additional) or None
        ),
        # Who waits for the command shall know at once that the server is away.
        "neo4j": Neo4jResource(retries=0),
        "run_counts": counts,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _named_cause(error: BaseException) -> BaseException:
    """Return the named error or interruption behind one of Dagster's errors; that error itself where none is."""
    chain = error_chain(error, "user_exception", "__cause__")
    return next((each for each in chain if isinstance(each, ImgretError | KeyboardInterrupt)), error)


def _failed_checks(result: dg.JobExecutionResult) -> tuple[str, ...]:
    return tuple(
        f"check {check.check_name} of {check.asset_key.to_user_string()}: {check.description}"
        for check in result.get_asset_check_evaluations()
        if not check.passed
    )
