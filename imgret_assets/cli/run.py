"""`imgret run`: materialise everything, incrementally, as a run that shows in the UI.

Belongs here: executing the refresh job in this process. Not here: what it does (`defs`, `domain`).
"""

import json
import logging
import time
from pathlib import Path
from typing import Any

import click
import dagster as dg

from imgret_assets.cli.support.progress_bar import progress_bar
from imgret_assets.defs.build import build_defs
from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.defs.instance.process_runs import end_dead_runs, process_tag
from imgret_assets.defs.jobs import REFRESH
from imgret_assets.defs.partitions import range_tags
from imgret_assets.defs.resources import default_resources
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.image_store import ImageStoreResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.operations.run_totals import Totals, totals
from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import check_threshold, load_settings


@click.command()
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the image files.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
@click.option("--model", help="resnet50, efficientnet_lite0 or timm:<name>.")
@click.option("--weights", type=click.Path(path_type=Path), help="File with the model's weights.")
@click.option("--beside", multiple=True, help="Another model whose tables are kept too: name or name=weights file.")
@click.option("--threshold", type=float, help="Raw cosine above which two images are joined, -1 to 1.")
@click.option("--verify", is_flag=True, help="Open every file, whatever its size and times say.")
@click.option("--allow-deletes", is_flag=True, help="Go on although most known files have vanished.")
@click.option("--json", "as_json", is_flag=True, help="Print the totals as one JSON document.")
def run(
    images: Path | None,
    home: Path | None,
    model: str | None,
    weights: Path | None,
    beside: tuple[str, ...],
    threshold: float | None,
    verify: bool,
    allow_deletes: bool,
    as_json: bool,
) -> None:
    """Bring tables and graph up to date with the image files: list, embed, write nodes, pairs, relationships."""
    if threshold is not None:
        check_threshold(threshold, "--threshold")
    flags = {"images": images, "home": home, "model": model, "weights": weights, "beside": ",".join(beside) or None}
    outcome = refresh(flags, threshold=threshold, verify=verify, allow_deletes=allow_deletes)
    if as_json:
        click.echo(json.dumps(outcome.as_json()))
    else:
        click.echo(outcome.summary)


def refresh(
    flags: dict[str, Any], *, threshold: float | None = None, verify: bool = False, allow_deletes: bool = False
) -> Totals:
    """Execute the refresh job over all shards in this process; what there is afterwards.

    Raises:
        ImgretError: whatever stopped the run.
    """
    settings = load_settings(flags)
    for warning in settings.warnings:
        click.echo(f"imgret: {warning}", err=True)
    home = open_home(settings)
    started = time.monotonic()
    given = {key: None if value is None else str(value) for key, value in flags.items()}
    image_store = ImageStoreResource(root=given.get("images") and str(settings.images))
    resources = {
        "image_store": image_store,
        "warehouse": WarehouseResource(home=str(settings.home), image_store=image_store),
        "embedder": EmbedderResource(
            model=given.get("model"),
            weights=given.get("weights") and str(settings.weights),
            beside=given.get("beside"),
        ),
        "neo4j": default_resources()["neo4j"],
    }
    configuration = {
        "loggers": {"console": {"config": {"log_level": "INFO"}}},
        "ops": {
            "raw_images": {"config": {"verify": verify, "allow_deletes": allow_deletes}},
            "similarity_pairs": {"config": {} if threshold is None else {"threshold": threshold}},
        },
    }
    tags = range_tags(home.shards[0], home.shards[-1]) | process_tag()
    with open_instance(settings) as instance:
        end_dead_runs(instance)
        definitions = dg.Definitions.merge(
            build_defs(settings=settings, resources=resources), dg.Definitions(loggers={"console": _quiet_console()})
        )
        job = definitions.resolve_job_def(REFRESH)
        try:
            with progress_bar():
                result = job.execute_in_process(configuration, instance=instance, tags=tags)
        except dg.DagsterExecutionInterruptedError as stop:
            # How Dagster hands on Ctrl-C, after it has noted the run as ended.
            raise KeyboardInterrupt from stop
        except dg.DagsterError as error:
            raise _cause(error) from error
    _tell_failed_checks(result)
    space = resources["embedder"].space(home)
    embedded = sum(
        _embedded(event)
        for event in result.get_asset_materialization_events()
        if _is_first_embedding(event, home.shards[0])
    )
    with open_database(settings) as database:
        return totals(open_home(settings), database, space.id, embedded=embedded, seconds=time.monotonic() - started)


def _quiet_console() -> dg.LoggerDefinition:
    """Dagster's own logger, less the stack traces of what Ctrl-C has stopped: the run's record in the UI has them."""

    def make(context: dg.InitLoggerContext) -> logging.Logger:
        made = dg.colored_console_logger.logger_fn(context)
        made.addFilter(lambda record: "DagsterExecutionInterruptedError" not in record.getMessage())
        return made

    return dg.LoggerDefinition(make, config_schema=dg.colored_console_logger.config_schema)


def _is_first_embedding(event: dg.DagsterEvent, shard: str) -> bool:
    return event.asset_key == dg.AssetKey("embeddings") and event.partition == shard


def _embedded(event: dg.DagsterEvent) -> int:
    return int(event.materialization.metadata["embedded_in_this_run"].value)  # type: ignore[arg-type]


def _cause(error: BaseException) -> BaseException:
    """The named failure behind Dagster's own, or that one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ImgretError | KeyboardInterrupt):
            return cause
        cause = getattr(cause, "user_exception", None) or cause.__cause__
    return error


def _tell_failed_checks(result: dg.ExecuteInProcessResult) -> None:
    for check in result.get_asset_check_evaluations():
        if not check.passed:
            click.echo(
                f"imgret: check {check.check_name} of {check.asset_key.to_user_string()}: {check.description}", err=True
            )
