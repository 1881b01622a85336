"""Every Cypher statement imgret sends, by name; data goes in as parameters only.

Belongs here: statements and what their parameters and columns are. Not here: sending them (`domain.graph.connection`),
or deciding what to send (`domain.graph.image_nodes`, `domain.search.find_similar`).
"""

from dataclasses import dataclass

# The article's own statements, which must keep working on a graph imgret builds.
ARTICLE_SIMILAR = """
MATCH (a:Image)
WITH a, gds.similarity.cosine(a.embeddings, $query_embeddings) AS similarity
ORDER BY similarity DESC LIMIT $top_k
RETURN id(a) AS image_id, a.embeddings AS embeddings, a.path AS image_path, similarity
"""
RELATIONS_PICTURE = "MATCH (n1:Image)-[r:SIMILAR_TO]->(n2:Image) RETURN n1, r, n2 LIMIT 300"

# What the server is.
COMPONENTS = "CALL dbms.components() YIELD name, versions, edition RETURN name, versions[0] AS version, edition"
HAS_GDS = "SHOW FUNCTIONS YIELD name WHERE name = 'gds.similarity.cosine' RETURN count(*) AS found"

# Whose graph it is.
READ_STATE = """
MATCH (s:ImgretState)
RETURN s.home AS home, s.root AS root, s.model AS model, s.dim AS dim, s.threshold AS threshold, s.state AS state
"""
WRITE_STATE = "MERGE (s:ImgretState {home: $home}) SET s += $properties"
MARK_STATE = "MATCH (s:ImgretState {home: $home}) WHERE s.state = $from_state SET s.state = $state"
COUNT_IMAGES = "MATCH (n:Image) RETURN count(n) AS nodes"

# Schema.
CREATE_SCHEMA = (
    "CREATE CONSTRAINT image_path IF NOT EXISTS FOR (n:Image) REQUIRE n.path IS UNIQUE",
    "CREATE CONSTRAINT imgret_state_home IF NOT EXISTS FOR (s:ImgretState) REQUIRE s.home IS UNIQUE",
    "CREATE INDEX image_shard IF NOT EXISTS FOR (n:Image) ON (n.shard)",
    "CREATE INDEX image_label IF NOT EXISTS FOR (n:Image) ON (n.label)",
    "CREATE INDEX image_sha256 IF NOT EXISTS FOR (n:Image) ON (n.sha256)",
)
SHOW_VECTOR_INDEX = """
SHOW VECTOR INDEXES YIELD name, options, state, populationPercent
WHERE name = 'image_embeddings' RETURN options, state, populationPercent
"""
CREATE_VECTOR_INDEX = """
CREATE VECTOR INDEX image_embeddings IF NOT EXISTS FOR (n:Image) ON (n.embeddings) OPTIONS $options
"""
DROP_VECTOR_INDEX = "DROP INDEX image_embeddings IF EXISTS"
AWAIT_INDEXES = "CALL db.awaitIndexes($timeout_s)"

# Nodes. `rows`: path, properties (a map), and for vectors `embedding`.
# Lists of nodes, a row for every first digit of their contents: a driver takes three times as long over a row each.
NODE_FACTS = ("path", "sha256", "engine", "model", "bytes", "width", "height", "format", "label")
READ_NODES = f"""
MATCH (n:Image {{shard: $shard}})
WITH left(toStringOrNull(n.sha256), 1) AS digit, collect([{", ".join(f"n.{name}" for name in NODE_FACTS)}]) AS nodes
RETURN nodes
"""
DELETE_RELATIONSHIPS_OF = """
UNWIND $paths AS path
MATCH (:Image {path: path})-[r:SIMILAR_TO|DUPLICATE_OF|DECIDED]-()
DELETE r
"""
# A driver's packed vector arrives as a VECTOR, which the community edition can't store: toFloatList makes it a list.
WRITE_NODES_PACKED = """
CYPHER 25
UNWIND $rows AS row
MERGE (n:Image {path: row.path})
SET n += row.properties, n.embeddings = toFloatList(row.embedding), n.indexed_at = datetime()
"""
WRITE_NODES = """
UNWIND $rows AS row
MERGE (n:Image {path: row.path})
SET n += row.properties, n.embeddings = row.embedding, n.indexed_at = datetime()
"""
UPDATE_NODES = """
UNWIND $rows AS row
MATCH (n:Image {path: row.path})
SET n += row.properties
"""
DELETE_NODES = """
UNWIND $paths AS path
MATCH (n:Image {path: path})
DETACH DELETE n
"""
COUNT_STRAYS = """
MATCH (n:Image) WHERE n.path IS NULL OR n.shard IS NULL OR NOT n.shard IN $shards
RETURN count(n) AS strays
"""
DELETE_STRAYS = """
MATCH (n:Image) WHERE n.path IS NULL OR n.shard IS NULL OR NOT n.shard IN $shards
WITH n LIMIT $batch_rows DETACH DELETE n
"""
BAD_VECTORS = """
MATCH (n:Image) WHERE n.embeddings IS NULL OR size(n.embeddings) <> $dim
RETURN n.path AS path, size(n.embeddings) AS dim LIMIT 5
"""
COUNT_OTHER_MODEL = "MATCH (n:Image) WHERE n.model <> $model OR n.model IS NULL RETURN count(n) AS nodes"
DELETE_OTHER_MODEL = """
MATCH (n:Image) WHERE n.model <> $model OR n.model IS NULL
WITH n LIMIT $batch_rows DETACH DELETE n
"""
DELETE_ANY_RELATIONSHIPS = """
MATCH (:Image)-[r:SIMILAR_TO|DUPLICATE_OF|DECIDED]->()
WITH r LIMIT $batch_rows DELETE r
"""

# Relationships. `nodes`: path, vector (content and engine) and place of each image; `pairs`: places of two images and
# their score.
# Lists of images with lists of their links: a driver takes ten times as long over as many rows.
READ_RELATIONSHIPS = """
MATCH (a:Image {shard: $shard})-[r:SIMILAR_TO]->(b)
WITH a, collect([b.path, r.score, r.model = $model, elementId(r)]) AS links
WITH left(toStringOrNull(a.sha256), 2) AS digits, collect([a.path, links]) AS images
RETURN images
"""
DELETE_RELATIONSHIPS = """
UNWIND $ids AS id
MATCH ()-[r:SIMILAR_TO]->() WHERE elementId(r) = id
DELETE r
"""
# The vectors, because a score belongs to the two it was made from: where one is not there, nothing is written.
_PAIRS_OF_NODES = """
UNWIND $nodes AS row
MATCH (n:Image {path: row[0]}) WHERE n.sha256 + ' ' + n.engine = row[1] AND n.model = $model
WITH n, row[2] AS place ORDER BY place
WITH collect(n) AS nodes WHERE size(nodes) = size($nodes)
UNWIND $pairs AS pair
WITH nodes[pair[0]] AS a, nodes[pair[1]] AS b, pair[2] AS score
"""
CREATE_RELATIONSHIPS = f"""{_PAIRS_OF_NODES}
CREATE (a)-[r:SIMILAR_TO {{score: score, model: $model}}]->(b)
RETURN count(r) AS written
"""
# For a transaction that is sent again, since the answer to the first was lost: it may have been done.
MERGE_RELATIONSHIPS = f"""{_PAIRS_OF_NODES}
MERGE (a)-[r:SIMILAR_TO]->(b)
SET r.score = score, r.model = $model
RETURN count(r) AS written
"""
COUNT_RELATIONSHIPS = "MATCH (:Image)-[r:SIMILAR_TO]->() RETURN count(r) AS relationships"
BAD_RELATIONSHIPS = """
MATCH (a:Image)-[r:SIMILAR_TO]->(b)
WITH a, b, count(r) AS links
WHERE a = b OR links > 1 OR NOT b:Image OR EXISTS { (b)-[:SIMILAR_TO]->(a) }
RETURN a.path AS a, b.path AS b, links LIMIT 5
"""

# Queries. Each gives path, label, sha256 and the stored vector of its candidates.
_CANDIDATE = "node.path AS path, node.label AS label, node.sha256 AS sha256, node.embeddings AS embedding"
NEAREST_BY_INDEX = f"""
CALL db.index.vector.queryNodes('image_embeddings', $candidates, $vector) YIELD node, score
WHERE ($label IS NULL OR node.label = $label) AND NOT node.path IN $leave_out_paths
RETURN {_CANDIDATE} ORDER BY score DESC LIMIT $limit
"""
NEAREST_OF_ALL_GDS = f"""
MATCH (node:Image)
WHERE ($label IS NULL OR node.label = $label) AND NOT node.path IN $leave_out_paths
WITH node, gds.similarity.cosine(node.embeddings, $vector) AS similarity
ORDER BY similarity DESC LIMIT $limit
RETURN {_CANDIDATE}
"""
NEAREST_OF_ALL = f"""
MATCH (node:Image)
WHERE ($label IS NULL OR node.label = $label) AND NOT node.path IN $leave_out_paths
WITH node, vector.similarity.cosine(node.embeddings, $vector) AS similarity
ORDER BY similarity DESC LIMIT $limit
RETURN {_CANDIDATE}
"""
NEAREST_BY_EUCLIDEAN_GDS = f"""
MATCH (node:Image)
WHERE ($label IS NULL OR node.label = $label) AND NOT node.path IN $leave_out_paths
WITH node, gds.similarity.euclideanDistance(node.embeddings, $vector) AS distance
ORDER BY distance LIMIT $limit
RETURN {_CANDIDATE}
"""
# Closest first; the server gives a dot product as a distance, with its sign turned.
NEAREST_BY_EUCLIDEAN, NEAREST_BY_DOT = (
    f"""
CYPHER 25
WITH vector($vector, $dim, FLOAT64) AS asked
MATCH (node:Image)
WHERE ($label IS NULL OR node.label = $label) AND NOT node.path IN $leave_out_paths
WITH node, vector_distance(vector(node.embeddings, $dim, FLOAT64), asked, {distance}) AS distance
ORDER BY distance LIMIT $limit
RETURN {_CANDIDATE}
"""
    for distance in ("EUCLIDEAN", "DOT")
)
NEAREST_OF_PATHS = f"""
UNWIND $paths AS path
MATCH (node:Image {{path: path}})
WHERE ($label IS NULL OR node.label = $label) AND NOT node.path IN $leave_out_paths
RETURN {_CANDIDATE}
"""
SAME_CONTENT = "MATCH (n:Image {sha256: $sha256}) RETURN n.path AS path ORDER BY path"
# A list for each image: a driver takes several times as long over a row each.
RELATIONS_OF = """
MATCH (n:Image)-[r:SIMILAR_TO]-(m:Image)
WHERE n.path IN $paths
WITH n, r, m ORDER BY r.score DESC, m.path
RETURN n.path AS path, collect([m.path, r.score, m.label, startNode(r) = n]) AS relations
"""
RELATIONSHIPS_BETWEEN = """
MATCH (a:Image {path: $a})-[r]-(b:Image {path: $b})
RETURN type(r) AS type, startNode(r).path AS source, endNode(r).path AS target, properties(r) AS properties
ORDER BY type, source
"""

# Of each image its best relations from a score on, copies too, and how many there are; then those among some images.
# A copy has no score: it gets the raw cosine, of which the server gives the half of its distance from -1.
_SCORE = """
CASE WHEN r.score IS NULL THEN 2 * vector.similarity.cosine(n.embeddings, m.embeddings) - 1 ELSE r.score END AS score
"""
BEST_RELATIONS_OF = f"""
UNWIND $paths AS path
MATCH (n:Image {{path: path}})-[r:SIMILAR_TO|DUPLICATE_OF]-(m:Image)
WITH n, r, m, {_SCORE}
WHERE score >= $least OR type(r) = 'DUPLICATE_OF'
WITH n, r, score ORDER BY score DESC, type(r), m.path
WITH n, collect({{source: startNode(r).path, target: endNode(r).path, score: score, kind: type(r)}})[..$best]
     AS relations, count(r) AS total
RETURN n.path AS path, relations, total ORDER BY path
"""
RELATIONS_AMONG = f"""
MATCH (n:Image)-[r:SIMILAR_TO|DUPLICATE_OF]->(m:Image)
WHERE n.path IN $paths AND m.path IN $paths
RETURN n.path AS source, m.path AS target, type(r) AS kind, {_SCORE}
ORDER BY score DESC, source, target LIMIT $limit
"""


@dataclass(frozen=True)
class LinkStatements:
    """Statements on all relationships of one kind between images.

    Attributes:
        read: all of them: paths a and b, properties (a map), id.
        delete: those with `ids`.
        write: `rows` of a, b, sha_a, sha_b, properties (a map); how many were `written`. MERGE, because a transaction
            whose answer was lost is sent again; the contents, because they are what was compared.
        count: how many `relationships` there are.
    """

    read: str
    delete: str
    write: str
    count: str


def _link_statements(kind: str) -> LinkStatements:
    return LinkStatements(
        read=f"""
MATCH (a)-[r:{kind}]->(b)
RETURN a.path AS a, b.path AS b, properties(r) AS properties, elementId(r) AS id
""",
        delete=f"""
UNWIND $ids AS id
MATCH ()-[r:{kind}]->() WHERE elementId(r) = id
DELETE r
""",
        write=f"""
UNWIND $rows AS row
MATCH (a:Image {{path: row.a, sha256: row.sha_a}})
MATCH (b:Image {{path: row.b, sha256: row.sha_b}})
MERGE (a)-[r:{kind}]->(b)
SET r = row.properties
RETURN count(r) AS written
""",
        count=f"MATCH ()-[r:{kind}]->() RETURN count(r) AS relationships",
    )


# Copies, from the copy to the one that is kept; what people have decided.
DUPLICATE_LINKS, DECIDED_LINKS = (_link_statements(kind) for kind in ("DUPLICATE_OF", "DECIDED"))
COPIES_OF = """
MATCH (a:Image)-[:DUPLICATE_OF]-(b:Image) WHERE a.path IN $paths
RETURN a.path AS path, b.path AS other ORDER BY path, other
"""
