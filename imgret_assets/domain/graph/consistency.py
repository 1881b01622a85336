"""Checks that the graph's nodes are what the tables call for.

Belongs here: findings, each a pure reading. Not here: relationships compared with their source (`check_relationships`
of each kind's table module), the validation that keeps wrong rows out, which the functions that write do themselves
(`domain.similarity.pairs_table`, `domain.graph.image_nodes`), Dagster's checks (`defs.checks`).
"""

from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.embeddings.table_reader import stored_size, vector_keys_of
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.image_nodes import rows_and_nodes
from imgret_assets.domain.storage.home import Home

# Named nodes of a finding.
EXAMPLES = 5


def nodes_equal_rows(home: Home, database: Database, space: str) -> Finding:
    """Compare each shard's nodes with its usable rows: paths, contents and space, and the vectors' length.

    With IMGRET_GRAPH_VECTORS=no a node that has a vector is a bad one.
    """
    missing = extra = different = rows = 0
    with_vectors = home.settings.neo4j.vectors
    unwanted: list[str] = []
    for _, table, nodes in rows_and_nodes(home, database, space, home.shards):
        stored = nodes.facts
        if not with_vectors:
            unwanted += sorted(nodes.other_vectors)[: EXAMPLES - len(unwanted)]
        expected = dict(zip(table["path"].to_pylist(), vector_keys_of(table), strict=True))
        rows += len(expected)
        missing += len(expected.keys() - stored.keys())
        extra += len(stored.keys() - expected.keys())
        different += sum(
            (f"{stored[path]['sha256']} {stored[path]['engine']}", stored[path]["model"]) != (vector_key, space)
            for path, vector_key in expected.items()
            if path in stored
        )
    orphan_nodes = database.rows(cypher.COUNT_ORPHAN_NODES, {"shards": home.shards})[0]["nodes"]
    bad_vectors = _bad_vectors(home, database, space) if with_vectors else [f"{path} (has one)" for path in unwanted]
    facts = {
        "rows": rows,
        "missing": missing,
        "extra": extra + orphan_nodes,
        "different": different,
        "bad_vectors": bad_vectors,
    }
    passed = not (missing or extra or different or orphan_nodes or bad_vectors)
    result = "each with its node" if passed else "but the nodes differ"
    return Finding(passed, f"{rows:,} usable images, {result}", facts)


def _bad_vectors(home: Home, database: Database, space: str) -> list[str]:
    _, dim = stored_size(home, space)
    rows = database.rows(cypher.BAD_VECTORS, {"dim": dim, "limit": EXAMPLES})
    return [f"{row['path']} ({row['dim']})" for row in rows]


def no_bad_relationships(database: Database) -> Finding:
    """Check that no image is related to itself, to a node that is no image, or twice to the same image."""
    bad = database.rows(cypher.BAD_SIMILAR_TO)
    examples = [f"{row['a']} -> {row['b']} ({row['relationships']})" for row in bad]
    summary = f"such as {examples[0]}" if bad else "no self or doubled relationship"
    return Finding(not bad, summary, {"examples": examples})
