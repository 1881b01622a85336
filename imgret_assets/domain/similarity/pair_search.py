"""All pairs of vectors whose cosine is above a threshold: exact, resumable, bounded in number.

Belongs here: choosing between the plain product and the cascade, keeping finished blocks, the cap on neighbours. Not
here: the cascade itself (`domain.similarity.cascade.sieve`), the pairs table and what changed in it
(`domain.similarity.pairs_table`).

A pair is in when its cosine, computed in float64 from the stored vectors, is greater than the threshold. Few pairs are
found by a float32 matrix product of the unit vectors, whose error is bounded (Higham, Accuracy and Stability of
Numerical Algorithms, 2nd ed., section 3.1): rounding the two unit vectors to float32 moves their dot product by at
most 2u + u^2, and any order of summing D products by at most gamma(D) = D u / (1 - D u), since the absolute values sum
to at most (1 + u)^2 by Cauchy and Schwarz; u = 2^-24. Candidates within that margin below the threshold are kept, so
none is lost, and float64 decides. Many are found by the cascade, several times as fast.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgret_assets.domain.runtime.progress import Listener, Progress
from imgret_assets.domain.similarity.brute_force import pairs_above
from imgret_assets.domain.similarity.checkpoints import KeptBlocks, search_key
from imgret_assets.domain.similarity.scored_pairs import Pairs, best_neighbours, joined
from imgret_assets.errors import TooManyPairsError

# Up to here the plain product takes a second or so: less than loading the cascade's compiled loops.
PLAIN_PAIRS = 30_000_000
_SAMPLE_ROWS = 2048


@dataclass(frozen=True)
class Limits:
    """What a search may find and use.

    Attributes:
        max_pairs: more pairs than this are an error, before they fill memory and disk.
        max_neighbours: keep a pair only if it is among the best so many of one of its two images; None keeps all.
        memory_bytes: bound on what the cascade holds beside the vectors.
        device: what may multiply, as IMGRET_DEVICE has it: `auto`, `cpu`, `cuda`, `mps` (the CPU does it then).
    """

    max_pairs: int = 50_000_000
    max_neighbours: int | None = None
    memory_bytes: int = 2 << 30
    device: str = "cpu"


@dataclass(frozen=True)
class Searched:
    """What a search found: the pairs, how many the cap on neighbours cut, and by which means it was done."""

    pairs: Pairs
    cut: int
    means: str


def search_pairs(
    vectors: np.ndarray,
    threshold: float,
    *,
    rows: np.ndarray | None = None,
    limits: Limits | None = None,
    work: Path | None = None,
    heads: Path | None = None,
    progress: Listener | None = None,
) -> Searched:
    """All pairs whose float64 cosine is greater than the threshold, by the quicker of two exact means.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm.
        threshold: a cosine in [-1, 1].
        rows: only pairs with at least one of these row numbers; all pairs where None.
        limits: of pairs, neighbours and memory.
        work: a folder in which finished blocks are kept until all are; None keeps none. Whoever calls with a folder
            holds a lock, and `vectors` decides its contents: another set of vectors starts anew.
        heads: a file that keeps what the cascade has worked out of every vector, for a later search of some rows.
        progress: told how many pairs have been decided.

    Raises:
        TableError: a row has no direction.
        TooManyPairsError: more pairs than `limits` allow.
    """
    limits = limits or Limits()
    count = len(vectors)
    chosen = count if rows is None else len(rows)
    to_decide = chosen * count - chosen * (chosen + 1) // 2
    # What the cascade knows of a large set makes a few rows cheap too; very few aren't worth loading it.
    if to_decide <= (PLAIN_PAIRS if count * (count - 1) // 2 <= PLAIN_PAIRS else PLAIN_PAIRS // 16):
        total = _Sum(count, limits)
        total.add(pairs_above(vectors, threshold, rows=rows), 1.0)
        return total.result("plain product")
    return _by_cascade(vectors, threshold, rows, limits, work, heads, progress or (lambda _: None))


class _Sum:
    """Pairs as they come, with the cap and the limit kept all the way."""

    def __init__(self, count: int, limits: Limits) -> None:
        self.count = count
        self.limits = limits
        self.cut = 0
        self._parts: list[Pairs] = []
        self._held = 0
        self._after_cut = 0

    def add(self, pairs: Pairs, share: float) -> None:
        """Take some more; `share` of all pairs are decided with them.

        Raises:
            TooManyPairsError: the limit is passed.
        """
        self._parts.append(pairs)
        self._held += len(pairs)
        most = self.limits.max_neighbours
        # A pair that is in neither row's best now can't be later: what has come stays.
        if most is not None and self._held > 2 * max(self._after_cut, 1_000_000):
            self._cut(most)
        if self._held > self.limits.max_pairs:
            raise _too_many(int(self._held / max(share, 1e-9)), self.limits)

    def _cut(self, most: int) -> None:
        pairs = joined(self._parts)
        kept = pairs.where(best_neighbours(pairs, self.count, most))
        self.cut += len(pairs) - len(kept)
        self._parts, self._held, self._after_cut = [kept], len(kept), len(kept)

    def result(self, means: str) -> Searched:
        """All that was kept."""
        if self.limits.max_neighbours is not None:
            self._cut(self.limits.max_neighbours)
        return Searched(joined(self._parts), self.cut, means)


def _too_many(expected: int, limits: Limits) -> TooManyPairsError:
    return TooManyPairsError(
        f"About {expected:,} pairs are above the threshold",
        expected=f"at most {limits.max_pairs:,} (IMGRET_MAX_PAIRS)",
        remedy="raise the threshold (IMGRET_THRESHOLD), keep only each image's best with IMGRET_MAX_NEIGHBOURS=20, "
        "or raise IMGRET_MAX_PAIRS if there is room: each pair takes about 100 bytes of disk and 24 of memory",
    )


def _by_cascade(
    vectors: np.ndarray,
    threshold: float,
    rows: np.ndarray | None,
    limits: Limits,
    work: Path | None,
    heads: Path | None,
    progress: Listener,
) -> Searched:
    from imgret_assets.domain.similarity.cascade.gpu_bounds import engine_for
    from imgret_assets.domain.similarity.cascade.pairs import Cascade
    from imgret_assets.domain.similarity.cascade.sieve import Options

    if limits.max_neighbours is None:
        _refuse_dense(vectors, threshold, len(vectors) if rows is None else len(rows), limits)
    options = Options(memory_bytes=limits.memory_bytes, engine=engine_for(limits.device), heads=heads)
    cascade = Cascade(vectors, threshold, rows=rows, options=options)
    kept = KeptBlocks(work, search_key(cascade.digests, rows, threshold, cascade.block_rows))
    total = _Sum(len(vectors), limits)
    sizes = [(b.left[1] - b.left[0]) * (b.right[1] - b.right[0]) for b in cascade.blocks]
    everything, decided = max(1, sum(sizes)), 0
    for answer, upto in kept.read():
        decided = sum(sizes[:upto])
        total.add(Pairs(*answer), decided / everything)
    resumed = decided
    started = time.monotonic()
    for block in cascade.blocks[kept.done :]:
        found = cascade.pairs_of(block)
        decided += sizes[block.number]
        total.add(Pairs(*found), decided / everything)
        kept.add(found, block.number + 1)
        shown = round(cascade.compared * (decided - resumed) / everything)
        left = round(cascade.compared * (everything - resumed) / everything)
        progress(Progress("pairs", shown, left, time.monotonic() - started))
    widths = "+".join(map(str, cascade.plan.widths))
    result = total.result(f"cascade of {widths} of {vectors.shape[1]} coordinates")
    kept.forget()
    return result


def _refuse_dense(vectors: np.ndarray, threshold: float, chosen: int, limits: Limits) -> None:
    """Stop before hours of work where a sample says that there are far too many pairs.

    Raises:
        TooManyPairsError: the sample's share of pairs, over all, is more than twice the limit.
    """
    to_decide = chosen * len(vectors) - chosen * (chosen + 1) // 2
    if to_decide <= 2 * limits.max_pairs:
        return
    rng = np.random.default_rng(2048)
    some = rng.choice(len(vectors), min(_SAMPLE_ROWS, len(vectors)), replace=False)
    sample = np.ascontiguousarray(vectors[np.sort(some)])
    share = len(pairs_above(sample, threshold)) / max(1, len(sample) * (len(sample) - 1) // 2)
    expected = int(share * to_decide)
    if expected > 2 * limits.max_pairs:
        raise _too_many(expected, limits)
