"""Partitions: the shards of a home, and how runs over several of them are launched.

Belongs here: the partitions definition and run tags. Not here: which path is in which shard (`domain.images.files`).
"""

import dagster as dg

from imgret_assets.domain.storage.home_record import shard_keys

# All shards of a backfill in one run: they share one model load, one walk and one connection.
ONE_RUN = dg.BackfillPolicy.single_run()
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def shards_definition(count: int) -> dg.StaticPartitionsDefinition:
    """The shards as partitions: keys of two hex digits."""
    return dg.StaticPartitionsDefinition(shard_keys(count))


def all_shards(asset: str) -> dg.AssetDep:
    """Return a dependency on every shard of a partitioned asset."""
    return dg.AssetDep(asset, partition_mapping=dg.AllPartitionMapping())


def range_tags(first: str, last: str) -> dict[str, str]:
    """Run tags that make one run of all shards from `first` to `last`."""
    return {RANGE_START: first, RANGE_END: last}
