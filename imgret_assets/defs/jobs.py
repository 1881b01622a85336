"""Jobs: the refresh of all assets, and the query.

Belongs here: selections, executors, prefilled configuration. Not here: their names
(`defs.job_names`), ops (`defs.ops`), when jobs run (`defs.schedules`, `defs.sensors`).
"""

import dagster as dg

from imgret_assets.defs.job_names import QUERY, REFRESH
from imgret_assets.defs.ops import find_similar_images
from imgret_assets.object_url import ImageFile

# The launchpad shows all options that an analyst may want to change, so that their names need not be known.
PREFILLED = {"top_k": 5, "mode": "index", "exclude_self": True, "relations": False}


refresh_job = dg.define_asset_job(
    REFRESH,
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    description="Refresh manifest, embeddings, tables, nodes and relationships from the image files. Launch it "
    "for all shards as one run: unchanged images cost almost nothing.",
)


def build_query_job(example: ImageFile | None) -> dg.JobDefinition:
    """Return the job that answers one query; its configuration is prefilled with an example image.

    Where there is none yet, the path is empty: then the op takes an image of the home.
    """

    @dg.job(
        name=QUERY,
        executor_def=dg.in_process_executor,
        config={"ops": {"find_similar_images": {"config": {"image_path": str(example or ""), **PREFILLED}}}},
        description="Find images similar to a query image. The result is a table with thumbnails in the output "
        "metadata of the op.",
    )
    def query_similar_images() -> None:
        find_similar_images()

    return query_similar_images
