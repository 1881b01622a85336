"""Putting the code location together.

Belongs here: the one place that makes `Definitions`. Not here: any single definition.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from imgret_assets.defs.assets.graph.decided import build_decided
from imgret_assets.defs.assets.graph.duplicate_of import build_duplicate_of
from imgret_assets.defs.assets.graph.image_node_groups import build_image_node_groups
from imgret_assets.defs.assets.graph.image_nodes import build_image_nodes
from imgret_assets.defs.assets.graph.similar_to import build_similar_to
from imgret_assets.defs.assets.raw.raw_images import build_raw_images
from imgret_assets.defs.assets.vectors.duplicates import build_duplicates
from imgret_assets.defs.assets.vectors.embeddings import build_embeddings
from imgret_assets.defs.assets.vectors.image_groups import build_image_groups
from imgret_assets.defs.assets.vectors.nearest_neighbours import build_nearest_neighbours
from imgret_assets.defs.assets.vectors.similarity_pairs import build_similarity_pairs
from imgret_assets.defs.assets.vectors.similarity_report import build_similarity_report
from imgret_assets.defs.checks import default_checks
from imgret_assets.defs.environment import started_environment
from imgret_assets.defs.jobs import build_query_job, build_refresh_job
from imgret_assets.defs.metadata import with_layer_notes
from imgret_assets.defs.partitions import shards_definition
from imgret_assets.defs.resources import default_resources
from imgret_assets.defs.schedules import build_nightly_refresh
from imgret_assets.defs.sensors import changed_images
from imgret_assets.domain.storage.home import shard_count
from imgret_assets.domain.storage.home_record import shard_keys
from imgret_assets.samples.folders import sample_query
from imgret_assets.settings import Settings, load_settings


def build_defs(*, settings: Settings | None = None, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Assemble the code location.

    Args:
        settings: decides the number of shards and the sample in the query job's configuration; read from the
            environment where None.
        resources: replaces default resources, key by key.

    Raises:
        ValueError: `resources` has a key that no default has.
        SettingError: a setting is not usable.
    """
    # Backfill policies are "beta" in Dagster; saying so at every start helps nobody.
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    settings = settings or load_settings(env=started_environment())
    count = shard_count(settings)
    shards = shards_definition(count)
    chosen = default_resources()
    if unknown := set(resources or {}) - set(chosen):
        raise ValueError(f"unknown resource keys {sorted(unknown)}; known: {sorted(chosen)}")
    return dg.Definitions(
        assets=with_layer_notes(
            [
                build_raw_images(shards),
                build_embeddings(shards),
                build_image_nodes(shards),
                build_similarity_pairs(),
                build_nearest_neighbours(),
                build_image_groups(),
                build_similarity_report(),
                build_similar_to(),
                build_image_node_groups(),
                build_duplicates(),
                build_duplicate_of(),
                build_decided(),
            ]
        ),
        asset_checks=default_checks(),
        jobs=[build_refresh_job(), build_query_job(sample_query(settings.home / "samples"))],
        schedules=[build_nightly_refresh(shard_keys(count))],
        sensors=[changed_images],
        resources=chosen | dict(resources or {}),
        # One process a run: the model is loaded once and the steps are few.
        executor=dg.in_process_executor,
    )
