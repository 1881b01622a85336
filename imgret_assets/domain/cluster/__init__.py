"""Work on other machines: a Ray cluster, which of its nodes may work, and the order of pieces on them.

One module imports ray, when it is asked to connect (`ray_cluster`); the others know only what that module offers. What
is computed on a node is not here, but beside what computes it in this process: pieces of a search
(`domain.similarity.cascade.on_cluster`), images (`domain.embeddings.on_cluster`).
"""
