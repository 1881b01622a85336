"""Partitions: the shards of a home, and the tags of runs over several shards.

Belongs here: the partitions definition and run tags. Not here: the shard of a path (`domain.images.files`).
"""

import dagster as dg

from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.home_record import shard_keys

# A backfill takes all its shards in one run: they share one loaded model, one listing and one connection.
ONE_RUN = dg.BackfillPolicy.single_run()
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def shards_definition(count: int) -> dg.StaticPartitionsDefinition:
    """Return the shards as partitions."""
    return dg.StaticPartitionsDefinition(shard_keys(count))


def all_shards(asset: str) -> dg.AssetDep:
    """Return a dependency on every shard of a partitioned asset."""
    return dg.AssetDep(asset, partition_mapping=dg.AllPartitionMapping())


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the tags of one run over all shards from `first` to `last`."""
    return {RANGE_START: first, RANGE_END: last}


def selected_shards(context: dg.AssetExecutionContext, home: Home) -> list[str]:
    """Return the shards that a run is to refresh, if its partitions are still those of the home.

    Raises:
        ReshardedError: the home was resharded since the code location was loaded.
    """
    partitions = context.assets_def.partitions_def
    if partitions is not None:
        home.check_shards(len(partitions.get_partition_keys()))
    return list(context.partition_keys)
