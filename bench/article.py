"""The article's own statements, with which imgret is compared.

Belongs here: statements that no part of imgret sends. Not here: imgret's statements (`domain.graph.cypher`).
"""

ARTICLE_CREATE = "CREATE (img:Image {embeddings: $embeddings, path: $path})"
ARTICLE_SIMILAR = """
MATCH (a:Image)
WITH a, gds.similarity.cosine(a.embeddings, $query_embeddings) AS similarity
ORDER BY similarity DESC LIMIT $top_k
RETURN id(a) AS image_id, a.embeddings AS embeddings, a.path AS image_path, similarity
"""
