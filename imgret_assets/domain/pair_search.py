"""All pairs of vectors whose cosine is above a threshold: exact, resumable, bounded in number.

Belongs here: choosing between the plain product and the cascade, keeping finished blocks, the cap on neighbours. Not
here: the cascade itself (`domain.cascade`), the pairs table and what changed in it (`domain.pairs`).

A pair is in when its cosine, computed in float64 from the stored vectors, is greater than the threshold. Few pairs are
found by a float32 matrix product of the unit vectors, whose error is bounded (Higham, Accuracy and Stability of
Numerical Algorithms, 2nd ed., section 3.1): rounding the two unit vectors to float32 moves their dot product by at
most 2u + u^2, and any order of summing D products by at most gamma(D) = D u / (1 - D u), since the absolute values sum
to at most (1 + u)^2 by Cauchy and Schwarz; u = 2^-24. Candidates within that margin below the threshold are kept, so
none is lost, and float64 decides. Many are found by the cascade, several times as fast.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgret_assets.domain.kept_blocks import KeptBlocks
from imgret_assets.domain.progress import Listener, Progress
from imgret_assets.domain.unit_rows import row_norms, unit_rows
from imgret_assets.errors import TableError, TooManyPairsError

BLOCK_ROWS = 1024
# Up to here the plain product takes a second or so: less than loading the cascade's compiled loops.
PLAIN_PAIRS = 30_000_000
_SAMPLE_ROWS = 2048
_UNIT_ROUNDOFF = 2.0**-24


@dataclass(frozen=True)
class Pairs:
    """Pairs of row numbers `a` < `b` (int64) with their cosines (float64), sorted by `a`, then `b`."""

    a: np.ndarray
    b: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.a)

    def where(self, keep: np.ndarray) -> "Pairs":
        """Those of the pairs for which `keep` (bool) is true."""
        return Pairs(self.a[keep], self.b[keep], self.scores[keep])


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


def no_pairs() -> Pairs:
    """No pairs at all."""
    return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def joined(parts: "list[Pairs]") -> Pairs:
    """Several disjoint sets of pairs as one, sorted."""
    if not parts:
        return no_pairs()
    a, b, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in ("a", "b", "scores"))
    order = np.lexsort((b, a))
    return Pairs(a[order], b[order], scores[order])


def best_neighbours(pairs: Pairs, count: int, most: int) -> np.ndarray:
    """True for each pair that is among the best `most` of at least one of its two rows; ties go to lower rows.

    Args:
        pairs: of `count` rows.
        count: number of rows.
        most: how many each row may keep, at least 1.
    """
    rows = np.concatenate([pairs.a, pairs.b])
    others = np.concatenate([pairs.b, pairs.a])
    scores = np.concatenate([pairs.scores, pairs.scores])
    order = np.lexsort((others, -scores, rows))
    starts = np.searchsorted(rows[order], np.arange(count))
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - starts[rows[order]]
    kept = rank < most
    return kept[: len(pairs)] | kept[len(pairs) :]


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
    from imgret_assets.domain.cascade import Cascade, Options
    from imgret_assets.domain.cascade_torch import engine_for

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


def search_key(digests: np.ndarray, rows: np.ndarray | None, *question: object) -> str:
    """What a kept block's answer depends on, as 16 hex digits.

    Args:
        digests: of the vectors (`cascade.Cascade.digests`).
        rows: the chosen rows; None for all.
        question: whatever else is asked, and the size of blocks; told apart by their `repr`.
    """
    digest = hashlib.sha256(repr((digests.shape, question)).encode())
    digest.update(np.ascontiguousarray(digests).data)
    digest.update(b"all" if rows is None else np.ascontiguousarray(rows, dtype=np.int64).data)
    return digest.hexdigest()[:16]


def float32_margin(dim: int) -> float:
    """Bound on the error of a float32 dot product of two float32-rounded unit vectors of `dim` numbers."""
    gamma = dim * _UNIT_ROUNDOFF / (1 - dim * _UNIT_ROUNDOFF)
    rounding = 2 * _UNIT_ROUNDOFF + _UNIT_ROUNDOFF**2
    # 1e-12 covers the float64 norms; the threshold itself is rounded to float32 downwards by the caller.
    return gamma * (1 + _UNIT_ROUNDOFF) ** 2 + rounding + 1e-12


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Raw cosine, float64 (n,), of corresponding rows of two float32 (n, dim) arrays without zero rows."""
    x, y = left.astype(np.float64), right.astype(np.float64)
    dots = np.einsum("ij,ij->i", x, y)
    norms = np.sqrt(np.einsum("ij,ij->i", x, x)) * np.sqrt(np.einsum("ij,ij->i", y, y))
    return np.clip(dots / norms, -1.0, 1.0)


def pairs_above(
    vectors: np.ndarray, threshold: float, *, rows: np.ndarray | None = None, block_rows: int = BLOCK_ROWS
) -> Pairs:
    """All pairs whose float64 cosine is greater than the threshold.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm.
        threshold: a cosine in [-1, 1].
        rows: only pairs with at least one of these row numbers, sorted; all pairs where None.
        block_rows: rows of one block; a block's product has block_rows^2 numbers.

    Raises:
        TableError: a row has no direction.
    """
    norms = row_norms(vectors)
    if (bad := ~(np.isfinite(norms) & (norms > 0))).any():
        raise TableError(f"Row {int(np.argmax(bad))} of the vectors is zero or not finite")
    count = len(vectors)
    chosen = np.arange(count) if rows is None else np.asarray(rows, dtype=np.int64)
    isolated = np.zeros(count, dtype=bool)
    isolated[chosen] = True
    cutoff = np.nextafter(np.float32(threshold - float32_margin(vectors.shape[1])), np.float32(-np.inf))
    left = unit_rows(vectors if rows is None else vectors[chosen])
    found = [
        part
        for start in range(0, count if len(chosen) else 0, block_rows)
        for part in _against_block(vectors, (chosen, left), isolated, start, cutoff, threshold, block_rows)
    ]
    a, b, scores = (np.concatenate(columns) for columns in zip(*found, strict=True)) if found else _nothing()
    order = np.lexsort((b, a))
    return Pairs(a[order], b[order], scores[order])


def _nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)


def _against_block(
    vectors: np.ndarray,
    left: tuple[np.ndarray, np.ndarray],
    chosen: np.ndarray,
    start: int,
    cutoff: np.float32,
    threshold: float,
    block_rows: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of the chosen rows, given with their unit rows, with one block of all, each unordered pair once."""
    rows, units = left
    right = unit_rows(vectors[start : start + block_rows])
    # Rows after a block that is chosen as a whole meet it when theirs comes.
    last = np.searchsorted(rows, start + block_rows) if chosen[start : start + block_rows].all() else len(rows)
    for first in range(0, last, block_rows):
        block = rows[first : min(first + block_rows, last)]
        near_row, near_column = np.nonzero(units[first : first + len(block)] @ right.T >= cutoff)
        i, j = block[near_row], near_column.astype(np.int64) + start
        # Two chosen rows meet twice, and each row meets itself.
        keep = (i != j) & (~chosen[j] | (i < j))
        i, j = i[keep], j[keep]
        for part in range(0, len(i), block_rows * 8):
            some_i, some_j = i[part : part + block_rows * 8], j[part : part + block_rows * 8]
            scores = cosines(vectors[some_i], vectors[some_j])
            above = scores > threshold
            if above.any():
                some_i, some_j = some_i[above], some_j[above]
                yield np.minimum(some_i, some_j), np.maximum(some_i, some_j), scores[above]
