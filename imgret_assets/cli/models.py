"""`imgret models`: which models there are, how good their vectors are on this collection, and the vectors' mean.

Belongs here: options and printing. Not here: what a home has (`domain.embeddings.embedding_spaces`), measuring
(`domain.analysis.ranking_quality`), means (`domain.embeddings.mean_centring`). Only `--timm` imports torch.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgret_assets.cli.support.named_home import settings_of_home
from imgret_assets.cli.support.text_table import align
from imgret_assets.domain.storage import permissions
from imgret_assets.domain.storage.home import open_existing_home, open_home
from imgret_assets.errors import TableError
from imgret_assets.settings import load_settings
from imgret_assets.wording import counted, score_text

if TYPE_CHECKING:
    from imgret_assets.domain.analysis.ranking_quality import Quality
    from imgret_assets.domain.embeddings.embedding_spaces import KnownModel

_HOME = click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def _listing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        _HOME,
        _JSON,
        click.option("--timm", metavar="PATTERN", help="Also the models of timm, such as 'vit_*clip*'; loads torch."),
    ):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@_listing_options
@click.pass_context
def models(context: click.Context, timm: str | None, as_json: bool, home: Path | None) -> None:
    """List models and embedding spaces, and compare how good they are."""
    if context.invoked_subcommand is None:
        _show_list(timm, as_json, home)
    elif timm or as_json or home:
        raise click.UsageError(f"options come after the command: imgret models {context.invoked_subcommand} --…")


@models.command("list")
@_listing_options
def list_(timm: str | None, as_json: bool, home: Path | None) -> None:
    """The models that need no download and the spaces this home has used; the same as no command."""
    _show_list(timm, as_json, home)


@models.command()
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the cosines' histograms.")
@_JSON
@_HOME
def compare(plot: Path | None, as_json: bool, home: Path | None) -> None:
    """How well each space that has tables tells labels (folders) apart: ranking, separation, pairs above the threshold.

    Every labelled image is a query. Of duplicates, exact and near, one image is taken. AUC is the chance that a pair
    with the same label has a greater cosine than a pair with different labels.
    """
    from imgret_assets.domain.analysis.duplicate_sets import read_duplicate_sets, select_distinct
    from imgret_assets.domain.analysis.ranking_quality import measure_quality
    from imgret_assets.domain.embeddings.embedding_spaces import spaces_with_tables
    from imgret_assets.domain.embeddings.table_reader import labelled_vectors

    opened = open_existing_home(load_settings({"home": home}))
    found: dict[str, Quality] = {}
    named: dict[str, Quality] = {}
    for space, there in spaces_with_tables(opened).items():
        try:
            rows = labelled_vectors(opened, space)
        except TableError as error:
            click.echo(f"imgret: {space} is left out: {error}", err=True)
            continue
        if rows.stale:
            click.echo(
                f"imgret: {space} has {counted(rows.stale, 'vector')} of files that are no longer so: left out",
                err=True,
            )
        sets = read_duplicate_sets(opened, rows.paths, rows.contents)
        distinct = select_distinct(sets, rows.labels).tolist()
        labels = [rows.labels[row] for row in distinct]
        found[space] = measure_quality(
            rows.vectors[distinct], [sets[row] for row in distinct], labels, threshold=opened.threshold
        )
        ways = [there.space.pooling] * (there.space.pooling != "auto") + ["centred"] * bool(there.space.centre)
        named[f"{space} ({', '.join(ways)})" if ways else space] = found[space]
    if not found:
        raise TableError(
            f"{opened.path} has no space whose vectors could be compared",
            remedy="`imgret run`; with `--model NAME` once for each model",
        )
    if as_json:
        click.echo(json.dumps({space: quality.as_json() for space, quality in found.items()}))
    else:
        _show_comparison(named)
    _warn(found)
    if plot is not None:
        from imgret_assets.domain.analysis.quality_plot import draw_quality

        with permissions.users_umask():
            draw_quality(named, plot)
        click.echo(f"imgret: histograms are in {plot}", err=True)


@models.command()
@click.argument("model", required=False)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE.npy", help="Write it there, not in the home.")
@_JSON
@_HOME
def centre(model: str | None, output: Path | None, as_json: bool, home: Path | None) -> None:
    """Make the mean of the collection's vectors, for IMGRET_CENTRE: what all images share no longer counts.

    MODEL is a model's name, or the id of a space that has tables; the last run's model where it is left out.
    """
    from imgret_assets.domain.embeddings.mean_centring import create_mean

    opened = open_existing_home(load_settings({"home": home}))
    with permissions.users_umask() if output else nullcontext():
        made = create_mean(opened, model, output and output.absolute())
    if as_json:
        said = {"file": str(made.file), "sha256": made.space.centre, "source": made.source.id, "images": made.images}
        click.echo(json.dumps(said | {"dim": made.space.dim, "space": made.space.id, "ready": made.prepared}))
        return
    click.echo(
        f"The mean of {counted(made.images, 'image')} in {made.source.id} is in {made.file}\n"
        f"Next: set IMGRET_CENTRE={made.file}, then `imgret run`. It rebuilds the graph in {made.space.id}; "
        f"{counted(made.prepared, 'vector')} in it {'is' if made.prepared == 1 else 'are'} ready: "
        f"no image of {'it' if made.prepared == 1 else 'them'} is embedded again. "
        "Cosines become smaller, so choose a threshold again. IMGRET_CENTRE=none goes back."
    )


def _show_list(pattern: str | None, as_json: bool, home: Path | None) -> None:
    from imgret_assets.domain.embeddings.embedding_spaces import known_models
    from imgret_assets.domain.models.registry import text_tower_patterns

    known = known_models(open_home(settings_of_home(home)))
    others = []
    if pattern:
        from imgret_assets.domain.models.families.timm_models import list_timm_models

        others = list_timm_models(pattern)
    if as_json:
        said: dict[str, Any] = {"models": [model.as_json() for model in known]}
        if pattern:
            said["timm"] = [model.__dict__ for model in others]
        click.echo(json.dumps(said))
        return
    head = (
        "model",
        "numbers",
        "input",
        "decoding",
        "pooling",
        "asked by",
        "weights",
        "images",
        "pairs",
        "images/s",
        "space",
    )
    click.echo(_table(head, [_row(model) for model in known]))
    click.echo(f"Models that can be asked by words: {text_tower_patterns()} (docs/guide/words.md)")
    if pattern:
        rows = [
            (f"timm:{model.name}", _number(model.dim), _size(model.size), "joint with texts" if model.joint else "")
            for model in others
        ]
        click.echo("\n" + (_table(("timm", "numbers", "input", ""), rows) if rows else f"timm: nothing like {pattern}"))


def _row(model: "KnownModel") -> Sequence[str]:
    there = model.tables
    notes = ("* in the graph", "centred", "exact queries only", f"{there.damaged} damaged files" if there else "")
    wanted = (
        model.in_graph,
        there is not None and there.space.centre != "",
        model.exact_only,
        there is not None and there.damaged > 0,
    )
    said = ", ".join(note for note, true in zip(notes, wanted, strict=True) if true)
    return (
        model.name,
        _number(model.dim),
        _size(model.size),
        model.decoding or "-",
        model.pooling or "-",
        "images, words" if model.asks_by_text else "images",
        model.weights,
        _number(there.rows if there else None),
        _number(there.pairs if there else None),
        " ".join(f"{rate:.1f} {engine}" for engine, rate in sorted(model.speeds.items())) or "-",
        " ".join([model.space or "-", said]).rstrip(),
    )


def _show_comparison(found: "dict[str, Quality]") -> None:
    threshold = next(iter(found.values())).threshold
    head = ("space", "images", "labelled", "labels", "P@1", "P@10", "mAP", "AUC", "same", "different")
    shares = (f"same > {threshold:g}", f"different > {threshold:g}", f"all > {threshold:g}")
    rows = [
        (
            space,
            _number(quality.images),
            _number(quality.labelled),
            _number(quality.labels),
            *(
                "-" if value is None else score_text(value)
                for value in (
                    quality.precision_1,
                    quality.precision_10,
                    quality.mean_average_precision,
                    quality.auc,
                    quality.same.median,
                    quality.different.median,
                )
            ),
            *(
                "-" if share is None else f"{100 * share:.3g}%"
                for share in (quality.same.share_above, quality.different.share_above, quality.all.share_above)
            ),
        )
        for space, quality in found.items()
    ]
    click.echo(_table((*head, *shares), rows))
    for space, quality in found.items():
        if not quality.same.pairs:
            click.echo(f"{space}: {counted(quality.all.pairs, 'pair')}, median cosine {_real(quality.all.median)}")


def _warn(found: "dict[str, Quality]") -> None:
    """Say what keeps the figures from meaning much."""
    if len({quality.images for quality in found.values()}) > 1:
        click.echo(
            "imgret: the spaces have different numbers of images; `imgret run --model NAME` brings one up to date",
            err=True,
        )
    quality = max(found.values(), key=lambda quality: quality.labelled)
    if not quality.labelled:
        click.echo(
            "imgret: no image has a label, so only cosines can be shown. A label is the folder an image lies in: "
            "sort some into folders by what they show, then `imgret run`",
            err=True,
        )
    elif quality.labels == 1:
        click.echo("imgret: all images have one label; more folders are needed to tell labels apart", err=True)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side; numbers to the right."""
    right = [all(row[column][:1].isdigit() or row[column] == "-" for row in rows) for column in range(len(head))]
    return "\n".join(align([head, *rows], right=right))


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _real(value: float | None) -> str:
    return "-" if value is None else score_text(value)


def _size(size: tuple[int, int]) -> str:
    height, width = size
    return f"{width} x {height}"
