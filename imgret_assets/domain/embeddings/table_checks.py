"""Checks of the stored embeddings, and the finding that every check of tables and graph returns.

Belongs here: checks of one space's manifests and embeddings. Not here: checks of the graph
(`domain.graph.consistency`), Dagster's asset checks (`defs.checks`).
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imgret_assets.domain.embeddings.table_reader import read_shard, shard_metadata, usable_batches
from imgret_assets.domain.images.image_status import FINE_STATUSES, Status
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.wording import counted

_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """Result of a check.

    Attributes:
        passed: whether everything is right.
        summary: the result in a line.
        facts: numbers and examples by name.
    """

    passed: bool
    summary: str
    facts: dict[str, Any] = field(default_factory=dict)


def check_one_space(home: Home, space: str) -> Finding:
    """Check that every shard has embeddings, and that they are of this space."""
    space_of: dict[str, str | None] = {}
    for shard in home.shards:
        metadata = shard_metadata(home, space, shard)
        space_of[shard] = metadata.space if metadata is not None else None
    wrong = sorted(shard for shard, stored in space_of.items() if stored != space)
    return Finding(
        not wrong,
        f"all {len(space_of)} shards are of {space}"
        if not wrong
        else f"shards {', '.join(wrong)} are missing or of another space",
        {"space": space, "shards": len(space_of), "wrong_shards": len(wrong)},
    )


def check_vectors(home: Home, space: str) -> Finding:
    """Check that every stored vector is finite and not zero.

    A space without vectors passes only if the manifests list no usable image.
    """
    vectors = 0
    bad: list[str] = []
    for shard in home.shards:
        if shard_metadata(home, space, shard) is None:
            continue
        for rows, batch in usable_batches(home, space, shard, ["path"]):
            vectors += len(batch)
            bad += [rows["path"][int(row)].as_py() for row in np.flatnonzero(unusable_vectors(batch))]
    summary = (
        f"Zero or not finite: {counted(len(bad), 'vector')}"
        if bad
        else f"Finite and not zero: {counted(vectors, 'vector')}"
    )
    needs_none = vectors == 0 and _has_no_usable_images(home)
    if vectors == 0:
        summary = "there are no usable images, so no vectors" if needs_none else "there are no vectors"
    return Finding(
        needs_none or (not bad and vectors > 0),
        summary,
        {"vectors": vectors, "bad": len(bad), "examples": bad[:_EXAMPLES]},
    )


def _has_no_usable_images(home: Home) -> bool:
    """Return whether all manifests exist and none lists a usable image."""
    files = [tables.manifest_path(home.warehouse, shard) for shard in home.shards]
    return all(
        file.is_file() and tables.where_equal(tables.read(file, ["status"]), "status", Status.OK).num_rows == 0
        for file in files
    )


def check_unusable_share(home: Home, space: str | None, *, limit: float) -> Finding:
    """Check that the share of files without a vector is below `limit` (0 to 1).

    Files are unusable by the manifest, or by the embeddings of the space where there are any.
    """
    statuses: Counter[str] = Counter()
    for shard in home.shards:
        path = tables.require(
            tables.manifest_path(home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
        )
        statuses.update(tables.read(path, ["status"])["status"].to_pylist())
        if space and shard_metadata(home, space, shard) is not None:
            failed = Counter(read_shard(home, space, shard, ["status"])["status"].to_pylist())
            failed.pop(Status.OK, None)
            statuses.update(failed)
            statuses[Status.OK] -= failed.total()
    files = statuses.total()
    unusable = files - sum(statuses[status] for status in FINE_STATUSES)
    share = unusable / files if files else 0.0
    facts = {"files": files, "unusable": unusable, "share": share, "limit": limit}
    facts |= {f"status_{status}": count for status, count in sorted(statuses.items()) if status != Status.OK}
    return Finding(share < limit or files == 0, f"{unusable:,} of {files:,} files can't be used ({share:.1%})", facts)
