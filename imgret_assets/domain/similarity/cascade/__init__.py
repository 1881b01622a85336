"""Exact pairs above a threshold and exact nearest neighbours, in less time than one matrix product.

This is the entrance of the package: code outside it imports only the names listed here. `PairSearch` finds all pairs of
vectors whose score (raw cosine) is greater than a threshold, `NearestSearch` the k nearest neighbours of every vector.
Both work piece by piece (`domain.similarity.pieces`), so that a caller can keep finished pieces in files. Their results
equal those of brute force (`domain.similarity.brute_force`) to the last bit. Importing this package loads neither numba
nor torch.

The bound
---------
Comparing all pairs of n vectors of 1,280 numbers is n^2 / 2 products of 1,280 numbers. Nearly all of them are wasted,
because few pairs in ten thousand are above a useful threshold. The cascade first compares an upper bound of the score,
which needs a tenth of the numbers. A pair whose bound is below the threshold is discarded. The drawing shows a unit
vector x, its projection c onto the d leading directions of the collection (the plane), and the residual that the
projection leaves out:

                 x
                /|
           1   / |  residual, of length r = sqrt(1 - |c|^2)
              /  |
             /___|_________
            0  c            plane of the d leading directions

A score is the part in the plane plus the part outside of it. Outside, two residuals can add at most the product of
their lengths (Cauchy and Schwarz), namely if they point the same way:

    score(x, y)  =  c_x . c_y + residual_x . residual_y  <=  c_x . c_y + r_x r_y.

With r as one more coordinate the bound is a single product of d + 1 numbers. Photo embeddings have most of their length
in few directions. So with d = 127 of 1,280 coordinates the bound discards 99 of 100 pairs at a threshold of 0.8. The
pairs that are left pass a cascade of dearer tests, each of which can only discard:

    all pairs --> d = 127, int16 --> d = 256, int16 --> all numbers, float32 --> exact score, float64 --> pairs
       100 %          1 %               0.3 %                                    decides

The exact score (`domain.numerics.exact_scores.cosines`) of the stored vectors alone decides which pairs are in. The
number of bounds and their widths are chosen by a cost model on a sample (`plans`). Where no bound prunes, as for random
vectors, the first one takes all coordinates: then the search is a matrix product in int16.

The margins
-----------
A bound is computed with rounding errors, and a rounded bound may come out below the true score. So each bound is
compared with the threshold minus a margin, which is a proved limit of all errors (`bounds` has the proof): the basis is
not quite orthonormal, the projection is summed in float32, and its coordinates are rounded to integers with the scale
32,000. The margin of the first bound is about 0.0006. It lets a few more pairs pass to the next test and never loses
one. Residuals are computed from the integers themselves, because 1 - |c|^2 cancels in float32, and are rounded up. For
integers the products and sums are exact, so nothing else has to be bounded. Only where a library multiplies in float32,
or a GPU in float16, the error of its product is added to the margin.

`NearestSearch` has no threshold. It takes each row's k-th best score so far, a lower limit of the final one, and keeps
a pair whose score reaches the lower one of the limits of its two rows.

The kernel
----------
What is left is speed (`kernels`). One AVX2 instruction multiplies 16 pairs of int16. The kernel takes 4 x 16 products
at a time, keeps them in registers and compares them there with their cutoffs. It writes one bit for each product
instead of the product, so no matrix of products passes through memory. For most tiles the bits are all zero. Each set
bit is a candidate and goes through the other tests at once, while its rows are in the cache. A thread works on one tile
at a time. On a CPU without AVX2 the first bounds are float32 products by BLAS, on a GPU float16 products by torch; the
later tests are the same.

Modules, from the bottom: `bounds` (proof and margins), `parallel`, `plans`, `options`, `basis`, `projections`,
`kernels` and `preparation_kernels`, `prepared_chunk` (what comparing two chunks takes), `preparation` (all that is
computed once), `gpu_bounds`, `sieve` (the comparison of two chunks), `pairs`, `nearest_search`,
`cell_search` (a part of all comparisons, for approximate searches).
"""

from imgret_assets.domain.similarity.cascade.cell_search import NearestInCells, PairsInCells
from imgret_assets.domain.similarity.cascade.nearest_search import NearestSearch
from imgret_assets.domain.similarity.cascade.options import CascadeOptions
from imgret_assets.domain.similarity.cascade.pairs import PairSearch
from imgret_assets.domain.similarity.cascade.projections import projections_path

__all__ = ["CascadeOptions", "NearestInCells", "NearestSearch", "PairSearch", "PairsInCells", "projections_path"]
