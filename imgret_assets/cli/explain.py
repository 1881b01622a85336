"""`imgret explain A B`: measure how similar two images are, and why they are related or not.

Belongs here: options and printing. Not here: measuring and judging (`domain.search.explain`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from imgret_assets.cli.support.image_arguments import as_file, in_library
from imgret_assets.cli.support.output import COSINE, Output, output_options
from imgret_assets.cli.support.served_home import open_served_home
from imgret_assets.domain.models.resolution import space_in_use
from imgret_assets.domain.search.explain import Explanation
from imgret_assets.domain.search.explain import explain as explain_two
from imgret_assets.domain.search.query import QueryImage, read_query
from imgret_assets.domain.storage.home import Home
from imgret_assets.settings import load_settings
from imgret_assets.terminal import printable

_COLUMNS = ("fact", "a", "b", "both", "needed")
_IMAGE_FACTS = ("file", "path", "format", "bytes", "width", "height", "label", "group", "taken", "camera")


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@output_options
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def explain(a: Path, b: Path, output: Output, home: Path | None) -> None:
    """Show how similar images A and B are, what kind of pair that makes them, and which limit decided.

    Each is a file, or a path under the image root. Kinds: exact (the same bytes), near (near-duplicates), look_first
    (the same scene, different in one place or in colour), mirrored and rotated (copies in another orientation), similar
    (cosine above the threshold), different.
    Relationships are shown if the database is running; it is not started.
    """
    opened = open_served_home(load_settings({"home": home}))
    images = [_read_image(opened, path) for path in (a, b)]
    explanation = explain_two(opened, space_in_use(opened), *images)
    rows = list(_rows(explanation))
    output.emit(
        _COLUMNS,
        rows,
        document={**COSINE, **explanation.as_json()},
        lines=[{**COSINE, **explanation.as_json()}],
        paths=[str(Path(image.name).absolute()) for image in images],
    )
    for note in explanation.notes:
        click.echo(f"imgret: {printable(note)}", err=True)
    click.echo(f"imgret: {explanation.kind}: {explanation.why}", err=True)


def _read_image(home: Home, path: Path) -> QueryImage:
    file = as_file(path, home.images)
    image = read_query(file, max_bytes=home.settings.max_bytes)
    return QueryImage(image.name, image.data, in_library(file, home.images))


def _rows(explanation: Explanation) -> Iterator[dict[str, Any]]:
    for name in _IMAGE_FACTS:
        yield {"fact": name, "a": getattr(explanation.a, name), "b": getattr(explanation.b, name)}
    yield {"fact": "rank among the other's neighbours", "a": explanation.rank_of_a, "b": explanation.rank_of_b}
    yield {"fact": "kind", "both": explanation.kind, "needed": explanation.why}
    for criterion in explanation.criteria:
        yield {"fact": criterion.name, "both": criterion.value, "needed": criterion.needed}
    yield {"fact": "euclidean", "both": explanation.euclidean}
    yield {"fact": "dhash bits", "both": explanation.dhash_bits}
    if explanation.decision is not None:
        decision = explanation.decision
        details = ", ".join(f"{name} {decision[name]}" for name in ("by", "at", "reason") if decision[name])
        yield {"fact": "decision", "both": decision["verdict"], "needed": details}
    for relationship in explanation.graph or ():
        properties = ", ".join(f"{key} {value}" for key, value in sorted(relationship["properties"].items()))
        direction = "a -> b" if relationship["source"] == explanation.a.path else "b -> a"
        yield {"fact": relationship["type"], "both": direction, "needed": properties}
