"""`imgret demo`: the whole chain on the sample pictures, and how good its answers are.

Belongs here: the order of the steps, the printed summary. Not here: any step.
"""

from pathlib import Path

import click

from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import load_settings

# Fewer, and the graph has nothing to click through; more, and it is a ball of wool.
RELATIONSHIPS_PER_IMAGE = (0.5, 15.0)
SHEET = "demo.png"


@click.command()
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def demo(home: Path | None) -> None:
    """Draw the samples, materialise every asset through Dagster, ask one query, show how good the answers are."""
    from imgret_assets.cli.run import refresh_with_progress
    from imgret_assets.domain.analysis.ranking_quality import precision
    from imgret_assets.domain.embeddings.table_reader import load_embeddings
    from imgret_assets.domain.images.contact_sheets import query_sheet
    from imgret_assets.domain.search.find_similar import find_similar
    from imgret_assets.domain.search.query import Query, read_query
    from imgret_assets.samples.folders import draw_catalogue, read_truth, sample_query

    opened = open_home(load_settings({"home": home}))
    samples = opened.path / "samples"
    if opened.record.root not in (None, str(samples)):
        raise ImgretError(
            f"{opened.path} holds the collection of {opened.record.root}, which the demo would replace",
            remedy="run it with another home: `imgret demo --home DIR`",
        )
    catalogue = draw_catalogue(samples)
    settings = load_settings({"home": opened.path, "images": samples})
    totals = refresh_with_progress(settings)

    opened = open_home(settings)
    truth = {row.path: row.label for row in read_truth(samples)}
    embeddings = load_embeddings(opened, totals.model)
    found = precision(embeddings, [truth.get(path) for path in embeddings.paths])
    picture = sample_query(samples)
    answer = find_similar(opened, read_query(picture, samples), Query(top_k=12))
    sheet = opened.path / SHEET
    title = f"What looks like {picture.name}? {answer.model}"
    query_sheet(picture, answer.results, sheet, root=samples, title=title)

    best = answer.results[0]
    density = totals.relationships / max(1, totals.nodes)
    click.echo(
        f"""
images               {totals.images:>8,}   drawn, {len(catalogue.families)} products, {len(catalogue.labels)} labels
usable               {totals.usable:>8,}   embedded in this run: {totals.embedded:,} ({totals.model})
nodes                {totals.nodes:>8,}   :Image, with a vector index
relationships        {totals.relationships:>8,}   :SIMILAR_TO, {density:.2f} an image
right first answer   {found.first:>8.1%}   by label, exact copies left out; of the first ten {found.first_ten:.1%}
best answer          {best.score:>8.3f}   {best.path} for {picture.name}, {answer.took_ms:.0f} ms
picture of a query   {sheet}

What to open next
  make dev             the assets, runs and the query job in Dagster's UI
  make app             the page: upload a picture, click through its look-alikes
  .venv/bin/imgret db browse    the graph itself, in the Neo4j Browser
  .venv/bin/imgret run --images DIR --home DIR2    the same with your own pictures"""
    )
    low, high = RELATIONSHIPS_PER_IMAGE
    if not low <= density <= high:
        raise ImgretError(
            f"The samples give {density:.2f} relationships an image",
            expected=f"{low:g} to {high:g}",
            remedy="set IMGRET_THRESHOLD",
        )
