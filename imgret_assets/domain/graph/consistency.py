"""Looking at tables and graph from outside: do they say what they should?

Belongs here: findings, each a pure reading. Not here: the validation that keeps wrong rows out, which is in the
functions that write (`domain.similarity.pairs_table`, `domain.graph.image_nodes`) and partly called here; Dagster's
checks (`defs.checks`).
"""

from collections import Counter

from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.embeddings.table_reader import list_embeddings, usable_rows, vector_keys
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.image_nodes import stored_nodes
from imgret_assets.domain.graph.similar_to import SCORE_TOLERANCE, stored_relationships
from imgret_assets.domain.similarity.pairs_table import validate_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import PAIRS
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError


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
    path = PAIRS.require(home.warehouse, space)
    keys = list_embeddings(home, space)
    try:
        validate_pairs(home, space, dict(zip(keys.paths, keys.contents, strict=True)))
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
