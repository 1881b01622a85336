"""The pieces of a search: chunks of rows, comparisons of two chunks, and their answers in files.

A search of all pairs, or of the nearest neighbours, is cut into pieces that know nothing of each other. A *chunk* is a
run of one shard's rows, and its key follows from the contents of its vectors alone (`chunks`). A *piece* compares one
chunk with one chunk; its key follows from everything that its answer depends on (`work`). An *answer* is a file named
by that key, and rows in it are positions within the two chunks (`answers`). So any set of finished pieces counts, in
whatever order they were finished, by whichever process or machine, before or after a kill; a chunk that has not changed
has the same key in a collection that has. What computes the pieces that are missing is exchangeable (`computing`).

The package knows nothing of how two chunks are compared; `domain.similarity.cascade` does that.
"""
