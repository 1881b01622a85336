"""Assembly of the code location.

Belongs here: the only place that makes `Definitions`. Not here: any single definition.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg

from imgret_assets.defs.asset_versions import settings_of_versions, with_code_versions
from imgret_assets.defs.assets.graph.image_nodes import build_image_nodes
from imgret_assets.defs.assets.graph.relationships import image_node_groups, relationship_assets
from imgret_assets.defs.assets.raw.raw_images import build_raw_images
from imgret_assets.defs.assets.store.published_tables import published_tables
from imgret_assets.defs.assets.vectors.duplicates import duplicates
from imgret_assets.defs.assets.vectors.embeddings import build_embeddings
from imgret_assets.defs.assets.vectors.image_groups import image_groups
from imgret_assets.defs.assets.vectors.image_map import image_map
from imgret_assets.defs.assets.vectors.nearest_neighbours import nearest_neighbours
from imgret_assets.defs.assets.vectors.similarity_pairs import similarity_pairs
from imgret_assets.defs.assets.vectors.similarity_report import similarity_report
from imgret_assets.defs.checks import default_checks
from imgret_assets.defs.console_logger import console_logger
from imgret_assets.defs.environment import started_environment
from imgret_assets.defs.jobs import build_query_job, refresh_job
from imgret_assets.defs.metadata import with_layer_descriptions
from imgret_assets.defs.partitions import shards_definition
from imgret_assets.defs.resources import default_resources
from imgret_assets.defs.schedules import build_nightly_refresh
from imgret_assets.defs.sensors import changed_images, dead_runs
from imgret_assets.domain.images.example_image import find_example
from imgret_assets.domain.storage.home import shard_count
from imgret_assets.domain.storage.home_record import shard_keys
from imgret_assets.object_url import ImageFile
from imgret_assets.samples.folders import sample_query
from imgret_assets.settings import Settings, load_settings


def build_defs(*, settings: Settings | None = None, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Assemble the code location.

    Args:
        settings: the number of shards and the sample image in the query job's configuration come from here. Read
            from the environment if None.
        resources: replace default resources, key by key.

    Raises:
        ValueError: a key of `resources` is not a key of the default resources.
        SettingError: a setting is invalid.
    """
    environment = load_settings(env=started_environment())
    settings = settings or environment
    count = shard_count(settings)
    shards = shards_definition(count)
    defaults = default_resources()
    if unknown := set(resources or {}) - set(defaults):
        raise ValueError(f"unknown resource keys {sorted(unknown)}; known: {sorted(defaults)}")
    assets = [
        # The three assets with partitions have builders, because the home decides on the number of shards.
        build_raw_images(shards),
        build_embeddings(shards),
        build_image_nodes(shards),
        similarity_pairs,
        nearest_neighbours,
        image_groups,
        image_map,
        similarity_report,
        *relationship_assets,
        image_node_groups,
        duplicates,
    ]
    if settings.store is not None:
        assets.append(published_tables)
    if settings.fresh_within_hours is not None:
        assets = _with_freshness(assets, settings.fresh_within_hours)
    return dg.Definitions(
        assets=with_code_versions(with_layer_descriptions(assets), settings_of_versions(settings, environment)),
        asset_checks=default_checks(),
        jobs=[refresh_job, build_query_job(_example_query(settings))],
        schedules=[build_nightly_refresh(shard_keys(count))],
        sensors=[changed_images, dead_runs],
        loggers={"console": console_logger()},
        resources=defaults | dict(resources or {}),
        # All steps of a run in one process: there are few, and the model is loaded once.
        executor=dg.in_process_executor,
    )


def _with_freshness(assets: list[dg.AssetsDefinition], hours: float) -> list[dg.AssetsDefinition]:
    """Return the assets with a freshness policy. By default they have none: it warns while nothing runs them."""
    policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=hours))
    return list(dg.map_asset_specs(lambda spec: spec.replace_attributes(freshness_policy=policy), assets))  # type: ignore[arg-type]


def _example_query(settings: Settings) -> ImageFile | None:
    """Return an image for the prefilled query: the sample query, else an image of the home; None where there is none.

    A home that was made after the code location was loaded has its first image only after the next loading.
    """
    sample = sample_query(settings.home / "samples")
    return sample if sample.is_file() else find_example(settings.home / "warehouse")
