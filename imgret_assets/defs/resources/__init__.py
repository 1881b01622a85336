"""Resources of assets and ops.

Belongs here: the default resource of each key. Not here: the resources themselves, one module each.
"""

from typing import Any

from imgret_assets.defs.resources.compute import ComputeResource
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.image_store import ImageStoreResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.run_counts import RunCounts
from imgret_assets.defs.resources.warehouse import WarehouseResource


def default_resources() -> dict[str, Any]:
    """Return the default resources by key; each completes itself from the settings when it is used."""
    image_store = ImageStoreResource()
    return {
        "image_store": image_store,
        "warehouse": WarehouseResource(image_store=image_store),
        "embedder": EmbedderResource(),
        "compute": ComputeResource(),
        "neo4j": Neo4jResource(),
        "run_counts": RunCounts(),
    }
