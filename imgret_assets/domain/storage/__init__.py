"""A home on disk: its record, locks, tables, files that appear whole or not at all.

What makes the run after a killed one right:

1. A file appears whole or not at all (`atomic_files`), and the kernel frees the locks of a dead process (`locks`).
2. Finished work is kept and used again: vectors of finished batches (`domain.embeddings.pending_vectors`), pieces of a
   comparison (`domain.similarity.pieces`).
3. A table knows what it was made from, and one that is not current is made again (`derived_tables`,
   `input_snapshots`, `domain.embeddings.shard_plan`).
4. The graph is compared with its tables and only the difference is written (`domain.graph.relationship_sync`,
   `domain.graph.image_nodes`); `domain.graph.graph_state` says that it is incomplete until then.
5. An interrupted change of the number of shards is completed or undone (`reshard_swap`), and the leftovers of dead
   processes are removed (`domain.operations.cleanup`).
"""
