"""Looking at tables and graph from outside: do they say what they should?

Belongs here: findings, each a pure reading. Not here: the validation that keeps wrong rows out, which is in the
functions that write (`domain.pairs`, `domain.graph`) and partly called here; Dagster's checks (`defs.checks`).
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imgret_assets.domain import cypher, tables
from imgret_assets.domain.database import Database
from imgret_assets.domain.decode import Status
from imgret_assets.domain.embed import vectors_of
from imgret_assets.domain.embedder import unusable_vectors
from imgret_assets.domain.graph import SCORE_TOLERANCE, stored_nodes, stored_relationships, usable_rows, validate_pairs
from imgret_assets.domain.home import Home
from imgret_assets.domain.pairs import list_embeddings, vector_keys
from imgret_assets.errors import TableError


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
        path = tables.embeddings_path(home.warehouse, space, shard)
        found[shard] = tables.read_metadata(path).get("space", "none") if path.is_file() else "missing"
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
        path = tables.embeddings_path(home.warehouse, space, shard)
        if not path.is_file():
            continue
        with tables.open_parquet(path) as file:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=["path", "status", "embedding"])
                rows = tables.where_equal(rows, "status", Status.OK)
                vectors += rows.num_rows
                wrong = np.flatnonzero(unusable_vectors(vectors_of(rows["embedding"])))
                bad += [rows["path"][int(row)].as_py() for row in wrong]
    summary = (
        f"{vectors:,} vectors are finite and not zero" if not bad else f"{len(bad):,} vectors are zero or not finite"
    )
    return Finding(
        not bad and vectors > 0,
        summary if vectors else "there are no vectors",
        {"vectors": vectors, "bad": len(bad), "examples": bad[:5]},
    )


def nodes_equal_rows(home: Home, database: Database, space: str) -> Finding:
    """Each shard's nodes are its usable rows: same paths, contents and space, vectors of one length."""
    missing = extra = different = rows = 0
    for shard in home.shards:
        table = usable_rows(home, space, shard)
        wanted = dict(zip(table["path"].to_pylist(), vector_keys(table), strict=True))
        there = stored_nodes(database, shard)
        rows += len(wanted)
        missing += len(wanted.keys() - there.keys())
        extra += len(there.keys() - wanted.keys())
        different += sum(
            (f"{there[path]['sha256']} {there[path]['engine']}", there[path]["model"]) != (vector, space)
            for path, vector in wanted.items()
            if path in there
        )
    strays = database.rows(cypher.COUNT_STRAYS, {"shards": home.shards})[0]["strays"]
    # After the shards were looked at: they are there, and of one space.
    with tables.open_parquet(tables.embeddings_path(home.warehouse, space, home.shards[-1])) as file:
        dim = file.schema_arrow.field("embedding").type.list_size
    bad_vectors = database.rows(cypher.BAD_VECTORS, {"dim": dim})
    facts = {
        "rows": rows,
        "missing": missing,
        "extra": extra + strays,
        "different": different,
        "bad_vectors": [f"{row['path']} ({row['dim']})" for row in bad_vectors],
    }
    passed = not (missing or extra or different or strays or bad_vectors)
    return Finding(passed, f"{rows:,} usable images, " + ("each with its node" if passed else "but other nodes"), facts)


def relationships_equal_pairs(home: Home, database: Database, space: str) -> Finding:
    """The relationships are the rows of the pairs table, scores within 1e-9, and the table is in order."""
    path = tables.require(tables.pairs_path(home.warehouse, space), "The pairs table", "similarity_pairs")
    keys = list_embeddings(home, space)
    try:
        validate_pairs(path, space, dict(zip(keys.paths, keys.contents, strict=True)))
    except TableError as error:
        return Finding(False, str(error), {})
    columns = tables.read(path).to_pydict()
    wanted = {(a, b): s for a, b, s in zip(columns["path_a"], columns["path_b"], columns["score"], strict=True)}
    there: Counter[tuple[str, str]] = Counter()
    wrong_scores = 0
    for found in stored_relationships(home, database, space):
        there[found.pair] += 1
        if found.pair in wanted and not abs((found.score or 0.0) - wanted[found.pair]) <= SCORE_TOLERANCE:
            wrong_scores += 1
    missing = len(wanted.keys() - there.keys())
    extra = sum(count - (key in wanted) for key, count in there.items())
    facts = {"pairs": len(wanted), "missing": missing, "extra": extra, "wrong_scores": wrong_scores}
    passed = not (missing or extra or wrong_scores)
    return Finding(
        passed,
        f"{len(wanted):,} pairs, " + ("each with its relationship" if passed else "but other relationships"),
        facts,
    )


def no_bad_relationships(database: Database) -> Finding:
    """No image is joined to itself, to something that is no image, or twice to the same."""
    bad = database.rows(cypher.BAD_RELATIONSHIPS)
    examples = [f"{row['a']} -> {row['b']} ({row['links']})" for row in bad]
    return Finding(
        not bad, "no self or doubled relationship" if not bad else f"such as {examples[0]}", {"examples": examples}
    )


def unusable_share(home: Home, space: str | None, *, limit: float) -> Finding:
    """The share of files that give no vector is below `limit` (0 to 1)."""
    statuses: Counter[str] = Counter()
    for shard in home.shards:
        path = tables.require(
            tables.manifest_path(home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
        )
        statuses.update(tables.read(path, ["status"])["status"].to_pylist())
        embedded = tables.embeddings_path(home.warehouse, space, shard) if space else None
        if embedded and embedded.is_file():
            found = Counter(tables.read(embedded, ["status"])["status"].to_pylist())
            found.pop(Status.OK, None)
            statuses.update(found)
            statuses[Status.OK] -= found.total()
    rows = statuses.total()
    unusable = rows - statuses[Status.OK]
    share = unusable / rows if rows else 0.0
    facts = {"files": rows, "unusable": unusable, "share": share, "limit": limit}
    facts |= {f"status_{status}": count for status, count in sorted(statuses.items()) if status != Status.OK}
    return Finding(share < limit or rows == 0, f"{unusable:,} of {rows:,} files can't be used ({share:.1%})", facts)
