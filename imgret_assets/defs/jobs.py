"""Jobs: the refresh of everything, and the query.

Belongs here: selections, executors, prefilled configuration. Not here: ops (`defs.ops`), when jobs run
(`defs.schedules`, `defs.sensors`).
"""

from pathlib import Path

import dagster as dg

from imgret_assets.defs.ops import find_similar_images

REFRESH = "nightly_refresh"
QUERY = "query_similar_images"
# Every choice an analyst may want to change stands in the launchpad, so that nobody has to know its name.
PREFILLED = {"top_k": 5, "mode": "index", "exclude_self": True, "relations": False}


refresh_job = dg.define_asset_job(
    REFRESH,
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    description="Bring manifest, embeddings, nodes, pairs and relationships up to date with the image files. "
    "Launch it for all shards as one run; what has not changed costs next to nothing.",
)


def build_query_job(sample: Path) -> dg.JobDefinition:
    """The job that answers one query; its configuration comes prefilled with a sample picture."""

    @dg.job(
        name=QUERY,
        executor_def=dg.in_process_executor,
        config={"ops": {"find_similar_images": {"config": {"image_path": str(sample), **PREFILLED}}}},
        description="What looks like this picture? The answer is a table with thumbnails in the op's output metadata.",
    )
    def query_similar_images() -> None:
        find_similar_images()

    return query_similar_images
