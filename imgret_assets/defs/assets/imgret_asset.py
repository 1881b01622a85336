"""The `asset` decorator of this project: what all assets share is stated once.

Belongs here: the backfill policy and the owner of every asset. Not here: any asset, the partitions
(`defs.partitions`), what is added to finished assets (`defs.metadata.with_layer_notes`).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from imgret_assets.defs.partitions import ONE_RUN

OWNER = "team:imgret"


def imgret_asset(
    *,
    group: str,
    kinds: set[str],
    name: str | None = None,
    description: str | None = None,
    deps: Sequence[str | dg.AssetDep] = (),
    partitions_def: dg.PartitionsDefinition | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Return a decorator that makes an asset: `dagster.asset` with the owner and one run for all partitions.

    Dagster marks the parameter `backfill_policy` as beta and warns at every use. The warning is silenced for this
    call alone, so that warnings about anything else still reach the user.

    Args:
        group: name of the layer (`raw`, `vectors` or `graph`).
        kinds: technologies, shown as icons in the UI.
        name: key of the asset; the function's name where None.
        description: what one row or node is; the function's docstring where None.
        deps: upstream assets.
        partitions_def: the shards, for an asset that has them.
        metadata: definition metadata, such as the column schema.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        return dg.asset(
            name=name,
            description=description,
            deps=deps,
            partitions_def=partitions_def,
            metadata=metadata,
            backfill_policy=ONE_RUN,
            group_name=group,
            kinds=kinds,
            owners=[OWNER],
        )
