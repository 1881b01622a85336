"""The asset `published_tables`: the tables of the home as a generation in its store.

Belongs here: the asset and its metadata. Not here: committing (`domain.operations.table_store`), taking the lease and
the tables of the store at the start of a run (`defs.resources.warehouse`). The asset exists where IMGRET_STORE is set.
"""

import dagster as dg

from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.partitions import all_shards
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.operations.table_store import store_session
from imgret_assets.domain.storage.derived_tables import DERIVED_TABLES


@imgret_asset(
    deps=[all_shards("raw_images"), all_shards("embeddings"), *(table.asset for table in DERIVED_TABLES)],
    group="store",
    kinds={"parquet"},
)
def published_tables(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult:
    """The tables in the object store, as one generation that replaces the one before as a whole.

    Only tables that belong together are committed. Other machines take them before their next run or query.
    """
    home = warehouse.open()
    with store_session(home.settings, "publishing tables") as session:
        if session is None:
            raise dg.Failure("IMGRET_STORE is not set: there is no store to publish the tables to", allow_retries=False)
        published = session.publish(context.run.run_id)
    context.log.info(published.summary)
    return dg.MaterializeResult(
        metadata={
            "store": home.settings.store or "",
            "generation": published.generation,
            "files": published.files,
            "files_uploaded": published.uploaded,
            "bytes_uploaded": published.uploaded_bytes,
        }
    )
