"""Checks of the stored vectors.

Belongs here: findings about a space's tables. Not here: checks of the graph (`domain.graph.consistency`).
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imgret_assets.domain.embeddings.table_reader import read_shard, shard_metadata, usable_batches
from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home


@dataclass(frozen=True)
class Finding:
    """What a look found: whether all is well, a line that says so, and the numbers."""

    passed: bool
    summary: str
    facts: dict[str, Any] = field(default_factory=dict)


def one_space(home: Home, space: str) -> Finding:
    """Every shard's embeddings are there and of one space."""
    found: dict[str, str] = {}
    for shard in home.shards:
        metadata = shard_metadata(home, space, shard)
        found[shard] = metadata.space if metadata is not None else "missing"
    wrong = sorted(shard for shard, name in found.items() if name != space)
    return Finding(
        not wrong,
        f"all {len(found)} shards are of {space}"
        if not wrong
        else f"shards {', '.join(wrong)} are missing or of another space",
        {"space": space, "shards": len(found), "wrong_shards": len(wrong)},
    )


def usable_vectors(home: Home, space: str) -> Finding:
    """Every vector is finite, not zero and of the space's length."""
    vectors = 0
    bad: list[str] = []
    for shard in home.shards:
        if shard_metadata(home, space, shard) is None:
            continue
        for rows, batch in usable_batches(home, space, shard, ["path"]):
            vectors += len(batch)
            bad += [rows["path"][int(row)].as_py() for row in np.flatnonzero(unusable_vectors(batch))]
    summary = (
        f"{vectors:,} vectors are finite and not zero" if not bad else f"{len(bad):,} vectors are zero or not finite"
    )
    return Finding(
        not bad and vectors > 0,
        summary if vectors else "there are no vectors",
        {"vectors": vectors, "bad": len(bad), "examples": bad[:5]},
    )


def unusable_share(home: Home, space: str | None, *, limit: float) -> Finding:
    """The share of files that give no vector is below `limit` (0 to 1)."""
    statuses: Counter[str] = Counter()
    for shard in home.shards:
        path = tables.require(
            tables.manifest_path(home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
        )
        statuses.update(tables.read(path, ["status"])["status"].to_pylist())
        if space and shard_metadata(home, space, shard) is not None:
            found = Counter(read_shard(home, space, shard, ["status"])["status"].to_pylist())
            found.pop(Status.OK, None)
            statuses.update(found)
            statuses[Status.OK] -= found.total()
    rows = statuses.total()
    unusable = rows - statuses[Status.OK]
    share = unusable / rows if rows else 0.0
    facts = {"files": rows, "unusable": unusable, "share": share, "limit": limit}
    facts |= {f"status_{status}": count for status, count in sorted(statuses.items()) if status != Status.OK}
    return Finding(share < limit or rows == 0, f"{unusable:,} of {rows:,} files can't be used ({share:.1%})", facts)
