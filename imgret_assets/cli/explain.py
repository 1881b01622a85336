"""`imgret explain A B`: how alike two pictures are, and why they are joined or not.

Belongs here: options and printing. Not here: measuring and judging (`domain.search.explain`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from imgret_assets.cli.support.image_arguments import as_file, in_library, space_in_use
from imgret_assets.cli.support.output import COSINE, Output, output_options, printable
from imgret_assets.domain.search.explain import Explanation
from imgret_assets.domain.search.explain import explain as explain_two
from imgret_assets.domain.search.query import QueryImage, read_query
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.settings import load_settings

_COLUMNS = ("fact", "a", "b", "both", "needed")
_PICTURE = ("file", "path", "format", "bytes", "width", "height", "label", "group")


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@output_options
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def explain(a: Path, b: Path, output: Output, home: Path | None) -> None:
    """Say how alike pictures A and B are, what kind of pair that makes them, and which limit decided.

    Each is a file, or a path under the image root. Kinds: exact (the same bytes), near (copies of one picture), similar
    (cosine above the threshold), different. Relationships are shown where the database runs; it is not started.
    """
    opened = open_home(load_settings({"home": home}))
    images = [_read(opened, one) for one in (a, b)]
    found = explain_two(opened, space_in_use(opened), *images)
    rows = list(_rows(found))
    output.emit(
        _COLUMNS,
        rows,
        document={**COSINE, **found.as_json()},
        lines=[{**COSINE, **found.as_json()}],
        paths=[str(Path(image.name).absolute()) for image in images],
    )
    for note in found.notes:
        click.echo(f"imgret: {printable(note)}", err=True)
    click.echo(f"imgret: {found.kind}: {found.why}", err=True)


def _read(home: Home, given: Path) -> QueryImage:
    file = as_file(given, home.images)
    image = read_query(file)
    return QueryImage(image.name, image.data, in_library(file, home.images))


def _rows(found: Explanation) -> Iterator[dict[str, Any]]:
    for name in _PICTURE:
        yield {"fact": name, "a": getattr(found.a, name), "b": getattr(found.b, name)}
    yield {"fact": "rank among the other's neighbours", "a": found.rank_of_a, "b": found.rank_of_b}
    yield {"fact": "kind", "both": found.kind, "needed": found.why}
    for one in found.criteria:
        yield {"fact": one.name, "both": one.value, "needed": one.needed}
    yield {"fact": "euclidean", "both": found.euclidean}
    yield {"fact": "dhash bits", "both": found.dhash_bits}
    if found.decision is not None:
        about = ", ".join(f"{name} {found.decision[name]}" for name in ("by", "at", "reason") if found.decision[name])
        yield {"fact": "decision", "both": found.decision["verdict"], "needed": about}
    for relationship in found.graph or ():
        properties = ", ".join(f"{key} {value}" for key, value in sorted(relationship["properties"].items()))
        direction = "a -> b" if relationship["source"] == found.a.path else "b -> a"
        yield {"fact": relationship["type"], "both": direction, "needed": properties}
