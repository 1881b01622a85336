"""Every Cypher statement that imgret sends to a graph, by name. Data is passed as parameters only.

Belongs here: the statements, with their parameters and columns. Not here: sending them (`domain.graph.connection`),
deciding what to send (`domain.graph.image_nodes`, `domain.search.find_similar`), the list of relationship kinds
(`domain.graph.relationship_kinds`), the two statements of the embedded server's first login, which lies below the
graph (`domain.neo4j_server.login`), Cypher that a user types (`cli.support.cypher_text`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from imgret_assets.domain.graph.relationship_kinds import DUPLICATE_OF, KINDS, SIMILAR_TO, RelationshipKind

_ALL_KINDS = "|".join(kind.name for kind in KINDS)
_SHOWN_KINDS = "|".join(kind.name for kind in KINDS if kind.line is not None)
_KINDS_WITHOUT_SCORE = ", ".join(f"'{kind.name}'" for kind in KINDS if not kind.has_score)

# The server.
PING = "RETURN 1"
HAS_GDS = "SHOW FUNCTIONS YIELD name WHERE name = 'gds.similarity.cosine' RETURN count(*) AS functions"
GDS_VERSION = "RETURN gds.version() AS version"
# A server without the clause finds an error in the syntax, and one with it at most that there is no such index.
HAS_SEARCH = """
EXPLAIN CYPHER 25
MATCH (n:Image) SEARCH n IN (VECTOR INDEX image_embeddings FOR [1.0] LIMIT 1)
RETURN n
"""

# The article's statement that draws the graph. It must keep working on a graph that imgret builds.
SHOW_SIMILARITY_GRAPH = f"MATCH (n1:Image)-[r:{SIMILAR_TO.name}]->(n2:Image) RETURN n1, r, n2 LIMIT 300"

# The state node, which says whose graph it is. Its property `vectors` is absent where the nodes have their vectors.
READ_STATE = """
MATCH (s:ImgretState)
RETURN s.home AS home, s.root AS root, s.model AS model, s.dim AS dim, s.threshold AS threshold, s.state AS state,
       coalesce(s.vectors, true) AS vectors
"""
WRITE_STATE = "MERGE (s:ImgretState {home: $home}) SET s += $properties"
MARK_STATE = "MATCH (s:ImgretState {home: $home}) WHERE s.state = $from_state SET s.state = $state"
DELETE_STATE = "MATCH (s:ImgretState) DELETE s"
COUNT_NODES_OF_OTHER_SHARDS = """
MATCH (n) WITH count(n) AS total
RETURN total - COUNT { MATCH (i:Image) WHERE i.shard IN $shards } AS nodes
"""
COUNT_RELATIONSHIPS = "MATCH ()-[r]->() RETURN count(r) AS relationships"
COUNT_IMAGES = "MATCH (n:Image) RETURN count(n) AS nodes"

# The schema.
CREATE_SCHEMA = (
    "CREATE CONSTRAINT image_path IF NOT EXISTS FOR (n:Image) REQUIRE n.path IS UNIQUE",
    "CREATE CONSTRAINT imgret_state_home IF NOT EXISTS FOR (s:ImgretState) REQUIRE s.home IS UNIQUE",
    "CREATE INDEX image_shard IF NOT EXISTS FOR (n:Image) ON (n.shard)",
    "CREATE INDEX image_label IF NOT EXISTS FOR (n:Image) ON (n.label)",
    "CREATE INDEX image_sha256 IF NOT EXISTS FOR (n:Image) ON (n.sha256)",
)
SHOW_VECTOR_INDEXES = """
SHOW VECTOR INDEXES YIELD name, properties, options, state
WHERE name STARTS WITH 'image_embeddings'
RETURN name, properties, options.indexConfig['vector.dimensions'] AS dim, state
"""
AWAIT_INDEXES = "CALL db.awaitIndexes($timeout_s)"


def create_vector_index(name: str, properties: Sequence[str]) -> str:
    """Return the statement that makes a vector index over all vectors; `$options` are its dimensions and similarity.

    Args:
        name: the index.
        properties: of nodes, which the index has beside the vectors, for filters.
    """
    cypher_25, stored = "", ""
    if properties:
        cypher_25, stored = "CYPHER 25\n", f" WITH [{', '.join(f'n.{name}' for name in properties)}]"
    return (
        f"{cypher_25}CREATE VECTOR INDEX {name} IF NOT EXISTS FOR (n:Image) ON (n.embeddings){stored} OPTIONS $options"
    )


def drop_vector_index(name: str) -> str:
    """Return the statement that removes a vector index."""
    return f"DROP INDEX {name} IF EXISTS"


# Nodes. Each of `rows` has path, properties (a map) and, for vectors, embedding.
# READ_NODES returns lists of nodes, one row for each shard and first digit of their contents: one row for each node
# takes the driver three times as long. Dates are texts on the way, which are read and compared much faster.
# `others` are the paths of nodes that have a vector and should not, or the other way round, by $vectors.
NODE_FACTS = ("path", "sha256", "engine", "model", "bytes", "width", "height", "format", "label", "taken", "camera")
_DATE = "taken"
_FACTS_OF_N = [f"toStringOrNull(n.{name})" if name == _DATE else f"n.{name}" for name in NODE_FACTS]
_SET_FACTS = f"SET n += row.properties, n.{_DATE} = localdatetime(row.properties.{_DATE})"
READ_NODES = f"""
UNWIND $shards AS shard
MATCH (n:Image {{shard: shard}})
WITH shard, left(toStringOrNull(n.sha256), 1) AS digit,
     collect([{", ".join(_FACTS_OF_N)}]) AS nodes,
     collect(CASE WHEN (n.embeddings IS NULL) = $vectors THEN n.path END) AS others
RETURN shard, nodes, others
"""
# A new vector's node loses its relationships in the same transaction: their scores are of the old vector.
_DELETE_RELATIONSHIPS_OF_N = f"""
WITH n
OPTIONAL MATCH (n)-[r:{_ALL_KINDS}]-()
DELETE r
"""
# A driver's packed vector arrives as a VECTOR, which the community edition can't store: toFloatList makes it a list.
WRITE_NODES_PACKED = f"""
CYPHER 25
UNWIND $rows AS row
MERGE (n:Image {{path: row.path}})
{_SET_FACTS}, n.embeddings = toFloatList(row.embedding), n.indexed_at = datetime()
{_DELETE_RELATIONSHIPS_OF_N}"""
WRITE_NODES = f"""
UNWIND $rows AS row
MERGE (n:Image {{path: row.path}})
{_SET_FACTS}, n.embeddings = row.embedding, n.indexed_at = datetime()
{_DELETE_RELATIONSHIPS_OF_N}"""
WRITE_NODES_WITHOUT_VECTORS = f"""
UNWIND $rows AS row
MERGE (n:Image {{path: row.path}})
{_SET_FACTS}, n.embeddings = null, n.indexed_at = datetime()
{_DELETE_RELATIONSHIPS_OF_N}"""
UPDATE_NODES = f"""
UNWIND $rows AS row
MATCH (n:Image {{path: row.path}})
{_SET_FACTS}
"""
# The vectors of nodes that keep their content, and so their relationships. Each of `rows` has path and embedding.
ADD_VECTORS_PACKED = """
CYPHER 25
UNWIND $rows AS row
MATCH (n:Image {path: row.path})
SET n.embeddings = toFloatList(row.embedding), n.indexed_at = datetime()
"""
ADD_VECTORS = """
UNWIND $rows AS row
MATCH (n:Image {path: row.path})
SET n.embeddings = row.embedding, n.indexed_at = datetime()
"""
REMOVE_VECTORS = """
UNWIND $paths AS path
MATCH (n:Image {path: path})
REMOVE n.embeddings
"""
COUNT_WITHOUT_VECTOR = "MATCH (n:Image) WHERE n.embeddings IS NULL RETURN count(n) AS nodes"
# With the shard: a node that has been written for another shard since it was read stays.
DELETE_NODES = """
UNWIND $paths AS path
MATCH (n:Image {path: path}) WHERE n.shard = $shard
DETACH DELETE n
"""
# Orphan nodes: no shard of the home accounts for them.
COUNT_ORPHAN_NODES = """
MATCH (n:Image) WHERE n.path IS NULL OR n.shard IS NULL OR NOT n.shard IN $shards
RETURN count(n) AS nodes
"""
DELETE_ORPHAN_NODES = """
MATCH (n:Image) WHERE n.path IS NULL OR n.shard IS NULL OR NOT n.shard IN $shards
WITH n LIMIT $batch_rows DETACH DELETE n
"""
BAD_VECTORS = """
MATCH (n:Image) WHERE n.embeddings IS NULL OR size(n.embeddings) <> $dim
RETURN n.path AS path, size(n.embeddings) AS dim LIMIT $limit
"""
COUNT_OTHER_MODEL = "MATCH (n:Image) WHERE n.model <> $model OR n.model IS NULL RETURN count(n) AS nodes"
DELETE_OTHER_MODEL = """
MATCH (n:Image) WHERE n.model <> $model OR n.model IS NULL
WITH n LIMIT $batch_rows DETACH DELETE n
"""

# The node property `group`.
HAS_GROUP_INDEX = "SHOW INDEXES YIELD name WHERE name = 'image_group' RETURN count(*) AS indexes"
CREATE_GROUP_INDEX = "CREATE INDEX image_group IF NOT EXISTS FOR (n:Image) ON (n.group)"
# Lists of nodes, one row for each pair of first digits of their contents, as in READ_NODES.
READ_NODE_GROUPS = """
MATCH (n:Image) WHERE n.model = $model
WITH left(toStringOrNull(n.sha256), 2) AS digits, collect([n.path, n.group]) AS nodes
RETURN nodes
"""
# Setting a property to null removes it.
WRITE_NODE_GROUPS = """
UNWIND $rows AS row
MATCH (n:Image {path: row.path})
SET n.group = row.group
RETURN count(n) AS written
"""

# Relationships of every kind.
DELETE_ANY_RELATIONSHIPS = f"""
MATCH (:Image)-[r:{_ALL_KINDS}]->()
WITH r LIMIT $batch_rows DELETE r
"""


@dataclass(frozen=True)
class RelationshipStatements:
    """Statements on all relationships of one kind.

    Attributes:
        read: every relationship: paths a and b, properties (a map), id.
        delete: delete those with `ids`.
        write: write `rows` of a, b, sha_a, sha_b, properties (a map); returns how many were `written`. MERGE, because
            a transaction whose answer is lost is sent again. The contents are matched because they were compared.
        count: number of `relationships`.
    """

    read: str
    delete: str
    write: str
    count: str


def _relationship_statements(kind: RelationshipKind) -> RelationshipStatements:
    return RelationshipStatements(
        read=f"""
MATCH (a)-[r:{kind.name}]->(b)
RETURN a.path AS a, b.path AS b, properties(r) AS properties, elementId(r) AS id
""",
        delete=f"""
UNWIND $ids AS id
MATCH ()-[r:{kind.name}]->() WHERE elementId(r) = id
DELETE r
""",
        write=f"""
UNWIND $rows AS row
MATCH (a:Image {{path: row.a, sha256: row.sha_a}})
MATCH (b:Image {{path: row.b, sha256: row.sha_b}})
MERGE (a)-[r:{kind.name}]->(b)
SET r = row.properties
RETURN count(r) AS written
""",
        count=f"MATCH ()-[r:{kind.name}]->() RETURN count(r) AS relationships",
    )


RELATIONSHIPS = {kind.name: _relationship_statements(kind) for kind in KINDS}

# SIMILAR_TO, of which there are far more than of any other kind. `nodes`: path, vector key (content and engine) and
# position of each image; `pairs`: positions of two images and their score.
# READ_SIMILAR_TO returns lists of images with lists of their relationships: one row for each relationship takes the
# driver ten times as long.
READ_SIMILAR_TO = f"""
UNWIND $shards AS shard
MATCH (a:Image {{shard: shard}})-[r:{SIMILAR_TO.name}]->(b)
WITH a, collect([b.path, r.score, r.model = $model, elementId(r)]) AS relationships
WITH left(toStringOrNull(a.sha256), 2) AS digits, collect([a.path, relationships]) AS images
RETURN images
"""
# The vector keys are matched because a score belongs to the two vectors it was computed from. Where a node is missing
# or has another vector, nothing is written.
_PAIRS_OF_NODES = """
UNWIND $nodes AS row
MATCH (n:Image {path: row[0]}) WHERE n.sha256 + ' ' + n.engine = row[1] AND n.model = $model
WITH n, row[2] AS position ORDER BY position
WITH collect(n) AS nodes WHERE size(nodes) = size($nodes)
UNWIND $pairs AS pair
WITH nodes[pair[0]] AS a, nodes[pair[1]] AS b, pair[2] AS score
"""
CREATE_SIMILAR_TO = f"""{_PAIRS_OF_NODES}
CREATE (a)-[r:{SIMILAR_TO.name} {{score: score, model: $model}}]->(b)
RETURN count(r) AS written
"""
# For a transaction that is sent again because its answer was lost: the server may have done it.
MERGE_SIMILAR_TO = f"""{_PAIRS_OF_NODES}
MERGE (a)-[r:{SIMILAR_TO.name}]->(b)
SET r.score = score, r.model = $model
RETURN count(r) AS written
"""
COUNT_SIMILAR_TO = f"MATCH (:Image)-[r:{SIMILAR_TO.name}]->() RETURN count(r) AS relationships"
BAD_SIMILAR_TO = f"""
MATCH (a:Image)-[r:{SIMILAR_TO.name}]->(b)
WITH a, b, count(r) AS relationships
WHERE a = b OR relationships > 1 OR NOT b:Image OR EXISTS {{ (b)-[:{SIMILAR_TO.name}]->(a) }}
RETURN a.path AS a, b.path AS b, relationships LIMIT 5
"""


@dataclass(frozen=True)
class Filter:
    """A filter of queries.

    Attributes:
        parameter: its parameter, and its name in `domain.search.query.Query.filters`; null leaves the filter out.
        key: of a node's property.
        operator: how the property is compared with the parameter.
        indexed_by: the property by which the vector index filters, where the server can; None if it does not.
        range: the first value of that property that may match, and the first after it that can't, in Cypher; the rest
            is left to `condition`. None if the index looks for the parameter itself. It knows `=`, `<`, `<=`, `>` and
            `>=` alone.
        ignores_case: whether upper and lower case are the same.
    """

    parameter: str
    key: str
    operator: str = "="
    indexed_by: str | None = None
    range: tuple[str, str] | None = None
    ignores_case: bool = False

    @property
    def condition(self) -> str:
        """The condition of a node."""
        if self.ignores_case:
            return f"toLower(node.{self.key}) {self.operator} toLower(${self.parameter})"
        return f"node.{self.key} {self.operator} ${self.parameter}"

    @property
    def index_condition(self) -> str:
        """The condition by which the index filters."""
        if self.range is None:
            return f"node.{self.indexed_by} = ${self.parameter}"
        return f"node.{self.indexed_by} >= {self.range[0]} AND node.{self.indexed_by} < {self.range[1]}"


# The parameter of a folder ends with `/`. Labels of it and of all below it lie between its name and its name with the
# character after `/`, and so do labels such as `2024-05` of the folder `2024`.
_FOLDER_NAME = "left($folder, size($folder) - 1)"
_FOLDER_RANGE = (_FOLDER_NAME, f"{_FOLDER_NAME} + '0'")

# All of them: a new filter is one line here, one in `Query.filters`, and its property in the facts of nodes. A further
# property in the index would replace the index of every graph, and writing it would index the vector again; without it
# a rare filter reads up to all candidates of the index. The index takes one condition on a property: the first here.
FILTERS = (
    Filter("label", "label", indexed_by="label"),
    Filter("folder", "path", "STARTS WITH", indexed_by="label", range=_FOLDER_RANGE),
    Filter("since", "taken", ">="),
    Filter("until", "taken", "<="),
    Filter("camera", "camera", ignores_case=True),
)
INDEXED_PROPERTIES = tuple(dict.fromkeys(each.indexed_by for each in FILTERS if each.indexed_by is not None))

# Queries. Each returns path, label, sha256 and the stored vector of its candidates.
_CANDIDATE = "node.path AS path, node.label AS label, node.sha256 AS sha256, node.embeddings AS embedding"
_FILTER = " AND ".join(
    [*(f"(${each.parameter} IS NULL OR {each.condition})" for each in FILTERS), "NOT node.path IN $excluded_paths"]
)

# How many nodes there are, and how many of them pass all filters.
COUNT_MATCHING = f"""
MATCH (node:Image)
RETURN count(node) AS nodes, count(CASE WHEN {_FILTER} THEN 1 END) AS matching
"""


@cache
def nearest_by_search(index: str, filters: tuple[Filter, ...]) -> str:
    """Return the statement that reads candidates from a vector index by the clause SEARCH.

    Args:
        index: its name, which can't be a parameter.
        filters: by which the index filters; all whose parameter is not null are applied to the candidates.
    """
    condition = f" WHERE {' AND '.join(each.index_condition for each in filters)}" if filters else ""
    return f"""
CYPHER 25
MATCH (node:Image)
SEARCH node IN (VECTOR INDEX {index} FOR $vector{condition} LIMIT $candidates) SCORE AS score
WHERE {_FILTER}
RETURN {_CANDIDATE} ORDER BY score DESC LIMIT $limit
"""


# The same on a server without the clause SEARCH; all filters are applied to the candidates.
NEAREST_BY_PROCEDURE = f"""
CALL db.index.vector.queryNodes($index, $candidates, $vector) YIELD node, score
WHERE {_FILTER}
RETURN {_CANDIDATE} ORDER BY score DESC LIMIT $limit
"""
NEAREST_OF_ALL_GDS = f"""
MATCH (node:Image)
WHERE {_FILTER}
WITH node, gds.similarity.cosine(node.embeddings, $vector) AS similarity
ORDER BY similarity DESC LIMIT $limit
RETURN {_CANDIDATE}
"""
NEAREST_OF_ALL = f"""
MATCH (node:Image)
WHERE {_FILTER}
WITH node, vector.similarity.cosine(node.embeddings, $vector) AS similarity
ORDER BY similarity DESC LIMIT $limit
RETURN {_CANDIDATE}
"""
NEAREST_BY_EUCLIDEAN_GDS = f"""
MATCH (node:Image)
WHERE {_FILTER}
WITH node, gds.similarity.euclideanDistance(node.embeddings, $vector) AS distance
ORDER BY distance LIMIT $limit
RETURN {_CANDIDATE}
"""
# Closest first: the server returns a dot product as a distance, with the opposite sign.
NEAREST_BY_EUCLIDEAN, NEAREST_BY_DOT = (
    f"""
CYPHER 25
WITH vector($vector, $dim, FLOAT64) AS query_vector
MATCH (node:Image)
WHERE {_FILTER}
WITH node, vector_distance(vector(node.embeddings, $dim, FLOAT64), query_vector, {distance}) AS distance
ORDER BY distance LIMIT $limit
RETURN {_CANDIDATE}
"""
    for distance in ("EUCLIDEAN", "DOT")
)
CANDIDATES_BY_PATH = f"""
UNWIND $paths AS path
MATCH (node:Image {{path: path}})
WHERE {_FILTER}
RETURN {_CANDIDATE}
"""
# All paths of each content, and the vector that they share.
IMAGES_OF_CONTENTS = """
UNWIND $contents AS sha256
MATCH (n:Image {sha256: sha256})
WITH sha256, n ORDER BY n.path
WITH sha256, collect(n.path) AS paths, head(collect(n)) AS first
RETURN sha256, paths, first.embeddings AS embedding
"""

# How images are related.
# SIMILAR_TO_OF returns a list for each image: one row for each relationship takes the driver several times as long.
SIMILAR_TO_OF = f"""
MATCH (n:Image)-[r:{SIMILAR_TO.name}]-(m:Image)
WHERE n.path IN $paths
WITH n, r, m ORDER BY r.score DESC, m.path
RETURN n.path AS path, collect([m.path, r.score, m.label, startNode(r) = n]) AS relations
"""
RELATIONSHIPS_BETWEEN = """
MATCH (a:Image {path: $a})-[r]-(b:Image {path: $b})
RETURN type(r) AS type, startNode(r).path AS source, endNode(r).path AS target, properties(r) AS properties
ORDER BY type, source
"""
DUPLICATES_OF = f"""
MATCH (a:Image)-[:{DUPLICATE_OF.name}]-(b:Image) WHERE a.path IN $paths
RETURN a.path AS path, b.path AS duplicate ORDER BY path, duplicate
"""
# A relationship without a score gets the raw cosine; the server returns (1 + cosine) / 2.
_SCORE = """
CASE WHEN r.score IS NULL THEN 2 * vector.similarity.cosine(n.embeddings, m.embeddings) - 1 ELSE r.score END AS score
"""
# For each image its best relationships with a score of at least $min_score, and how many there are. Kinds without a
# score are included whatever their cosine.
BEST_RELATIONSHIPS_OF = f"""
UNWIND $paths AS path
MATCH (n:Image {{path: path}})-[r:{_SHOWN_KINDS}]-(m:Image)
WITH n, r, m, {_SCORE}
WHERE score >= $min_score OR type(r) IN [{_KINDS_WITHOUT_SCORE}]
WITH n, r, score ORDER BY score DESC, type(r), m.path
WITH n, collect({{source: startNode(r).path, target: endNode(r).path, score: score, kind: type(r)}})[..$limit_per_image]
     AS relationships, count(r) AS total
RETURN n.path AS path, relationships, total ORDER BY path
"""
RELATIONSHIPS_AMONG = f"""
MATCH (n:Image)-[r:{_SHOWN_KINDS}]->(m:Image)
WHERE n.path IN $paths AND m.path IN $paths
RETURN n.path AS source, m.path AS target, type(r) AS kind, {_SCORE}
ORDER BY score DESC, source, target LIMIT $limit
"""
