"""`imgret demo`: a refresh and a query on the sample images, and the quality of the answers.

Belongs here: the order of the steps, the printed summary. Not here: any step.
"""

from pathlib import Path

import click

from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import ImgretError
from imgret_assets.locations import program
from imgret_assets.settings import load_settings
from imgret_assets.wording import score_text

# With fewer relationships there is nothing to explore in the graph; with more it cannot be read.
RELATIONSHIPS_PER_IMAGE = (0.5, 15.0)
SHEET = "demo.png"


@click.command()
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def demo(home: Path | None) -> None:
    """Draw the samples, refresh all assets through Dagster, run one query, measure the quality of the answers."""
    from imgret_assets.cli.run import refresh_with_progress
    from imgret_assets.domain.analysis.duplicate_sets import read_duplicate_sets, select_distinct
    from imgret_assets.domain.analysis.ranking_quality import measure_precision
    from imgret_assets.domain.embeddings.table_reader import Embeddings, load_embeddings
    from imgret_assets.domain.images.contact_sheets import query_sheet
    from imgret_assets.domain.search.find_similar import find_similar
    from imgret_assets.domain.search.query import Query, read_query
    from imgret_assets.domain.storage.text_column import TextColumn
    from imgret_assets.samples.folders import draw_catalogue, read_truth, sample_query

    demo_home = open_home(load_settings({"home": home}))
    samples = demo_home.path / "samples"
    if demo_home.record.root not in (None, str(samples)):
        raise ImgretError(
            f"{demo_home.path} contains the collection of {demo_home.record.root}, which the demo would replace",
            remedy="use another home: `imgret demo --home DIR`",
        )
    catalogue = draw_catalogue(samples, lock_timeout_s=demo_home.settings.lock_timeout_s)
    settings = load_settings({"home": demo_home.path, "images": samples})
    totals = refresh_with_progress(settings)

    demo_home = open_home(settings)
    truth = {row.path: row.label for row in read_truth(samples)}
    embeddings = load_embeddings(demo_home, totals.model)
    sets = read_duplicate_sets(demo_home, embeddings.paths, embeddings.vector_keys)
    labels = [truth.get(path) for path in embeddings.paths]
    distinct = select_distinct(sets, labels).tolist()
    quality = measure_precision(
        Embeddings(
            TextColumn.of(embeddings.paths).take(distinct),
            [sets[row] for row in distinct],
            embeddings.vectors[distinct],
            embeddings.coverage,
        ),
        [labels[row] for row in distinct],
    )
    query_image = sample_query(samples)
    answer = find_similar(demo_home, read_query(query_image, samples), Query(top_k=12))
    sheet = demo_home.path / SHEET
    title = f"Images similar to {query_image.name}, {answer.model}"
    query_sheet(query_image, answer.results, sheet, root=samples, title=title)

    best = answer.results[0]
    imgret = program()
    nodes, relationships = totals.nodes or 0, totals.relationships or 0
    density = relationships / max(1, nodes)
    click.echo(
        f"""
images               {totals.images:>8,}   drawn, {len(catalogue.families)} products, {len(catalogue.labels)} labels
usable               {totals.usable:>8,}   embedded in this run: {totals.embedded:,} ({totals.model})
nodes                {nodes:>8,}   :Image, with a vector index
relationships        {relationships:>8,}   :SIMILAR_TO, {density:.2f} per image
first hit correct    {quality.first:>8.1%}   by label, without duplicates; first ten hits {quality.first_ten:.1%}
best hit             {score_text(best.score):>8}   {best.path} for {query_image.name}, {answer.took_ms:.0f} ms
sheet of the query   {sheet}

Next steps
  {imgret} dev           assets, runs and the query job in Dagster's UI
  {imgret} app           the web page: search with an image and explore similar ones
  {imgret} db browse     the graph in the Neo4j Browser
  {imgret} run --images DIR --home DIR2    the same with your own images"""
    )
    low, high = RELATIONSHIPS_PER_IMAGE
    if not low <= density <= high:
        raise ImgretError(
            f"The samples give {density:.2f} relationships per image",
            expected=f"{low:g} to {high:g}",
            remedy="set IMGRET_THRESHOLD",
        )
