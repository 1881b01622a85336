"""Approximate searches: most pairs and neighbours in a part of the time, and a measure of how many.

Only a setting asks for them (IMGRET_PAIR_SEARCH=approximate), for collections whose exact search costs more than it is
worth. FAISS divides the vectors into k-means cells (`cells`). A row visits its nearest cells, its `probes`, and is
compared with the rows that live there: two rows are a candidate pair where one of them lives in a cell that the other
visits. Candidates are compared by the cascade (`domain.similarity.cascade.cell_search`), so the exact score decides,
as in every search.

What is still promised: every pair is true and has its exact score, to the last bit, equal vectors find each other, and
the same vectors and settings give the same result on a machine, whatever the number of threads. What is lost: a pair
may be missing where neither row visits the cell of the other. With as many probes as cells none is.

Two cells whose rows are all farther apart than the threshold could be left out without any loss. Measured, there are
none: the cells of image embeddings have radii of about 50 degrees.

Modules, from the bottom: `method` (when, and with how many cells), `cells` (the only importer of faiss), `searches`,
`recall` (the measure, and the lower limit of it).
"""
