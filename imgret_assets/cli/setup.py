"""The command `imgret setup`, which prepares a home and this machine; every make target calls it.

Belongs here: the order of the steps. Not here: any step (`domain.models.default_model`, `defs.instance.dagster_home`,
`domain.operations.class_recording`, `samples.folders`, `domain.operations.compose_secrets`).
"""

from pathlib import Path

import click

from imgret_assets import locations
from imgret_assets.domain.models import default_model
from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import load_settings


@click.command()
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
@click.option("--skip-server", is_flag=True, help="Do not download the embedded Neo4j now.")
@click.option(
    "--samples/--skip-samples",
    default=None,
    help="Draw the sample images and queries, or do not (default: draw them unless IMGRET_IMAGES is set).",
)
def setup(home: Path | None, skip_server: bool, samples: bool | None) -> None:
    """Prepare the home, its model, Dagster's storage, the embedded Neo4j, the sample images and the secrets.

    Existing parts stay as they are, so this can be called any number of times.
    """
    settings = load_settings({"home": home})
    for warning in settings.warnings:
        _log(warning)
    opened = open_home(settings)
    model = default_model.choose(opened, _log)

    # Here and below: Dagster, jgo and the renderer of the samples take longer to load than `imgret --help` does.
    from imgret_assets.defs.instance.dagster_home import prepare

    prepare(settings)
    if settings.neo4j.embedded and not skip_server:
        from imgret_assets.domain.operations.class_recording import record_classes

        record_classes(settings, log=_log)
    if samples if samples is not None else settings.images is None:
        from imgret_assets.samples.folders import draw_catalogue

        draw_catalogue(opened.path / "samples", lock_timeout_s=settings.lock_timeout_s)
    _write_secrets()
    click.echo(f"Ready: model {model}, home {opened.path}, images {opened.images}.")


def _write_secrets() -> None:
    if not (locations.PROJECT / "docker-compose.yml").is_file() or not locations.is_checkout():
        return
    from imgret_assets.domain.operations.compose_secrets import write_compose_env

    try:
        write_compose_env(locations.PROJECT / "compose.env")
    except ImgretError as error:
        _log(str(error))


def _log(message: str) -> None:
    click.echo(f"imgret: {message}", err=True)
