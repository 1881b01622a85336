"""Pairs and nearest neighbours: the cascade beside the matrix product done well, and beside FAISS.

Belongs here: these contenders and their targets. Not here: timing them (`bench.rounds`), what is written to tables
(`bench.pairs_home`), many vectors (`bench.pairs_once`).
"""

import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from bench import pairs_home, scans
from bench.homes import open_bench_home
from bench.report import Measure, Report
from bench.rounds import Contender, interleaved, last_json
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.similarity.cascade import NearestSearch, PairSearch

THRESHOLD = 0.8
NEIGHBOURS = 20
_ROWS, _COLUMNS = 512, 1024
# Of FAISS, a tenth of the rows against all: the rest would be the same again.
_FAISS_PART = 10
_LARGE = (50_000, 100_000, 200_000)
# Mixtures that are made at a time.
_PART = 10_000
# Farther than the float32 product's error at 2,048 numbers.
_MARGIN = 2e-4


def run(report: Report, sources: Sequence[Path], work: Path, *, rounds: int, say: Callable[[str], None]) -> None:
    """Measure and add to the report."""
    real = real_vectors(sources, work)
    say(f"{len(real):,} vectors of real pictures, grown by mixtures")
    _searches(report, real, rounds=rounds, say=say)
    wide = mixtures(real, 40_000, 1280)
    pairs_home.run(report, wide, work, threshold=THRESHOLD, rounds=rounds, say=say)
    _many(report, real, work, say)


def _searches(report: Report, real: np.ndarray, *, rounds: int, say: Callable[[str], None]) -> None:
    """The searches themselves, in memory."""
    wide = mixtures(real, 40_000, 1280)
    wider = mixtures(real, 40_000, 2048)
    some = np.ascontiguousarray(wider[:10_000])
    random = np.random.default_rng(3).standard_normal((20_000, 1280), dtype=np.float32)
    contenders = {
        "product, 40,000 x 1,280": Contender(lambda: _product(wide)),
        "cascade, 40,000 x 1,280": Contender(lambda: _cascade(wide)),
        "product, 40,000 x 2,048": Contender(lambda: _product(wider)),
        "cascade, 40,000 x 2,048": Contender(lambda: _cascade(wider)),
        "product, 10,000 x 2,048": Contender(lambda: _product(some)),
        "cascade, 10,000 x 2,048": Contender(lambda: _cascade(some)),
        "product and top 20, 40,000 x 1,280": Contender(lambda: _product_top(wide)),
        "nearest 20, 40,000 x 1,280": Contender(lambda: _nearest(wide)),
        "product and top 20, 20,000 random": Contender(lambda: _product_top(random)),
        "nearest 20, 20,000 random": Contender(lambda: _nearest(random)),
    }
    there = importlib.util.find_spec("faiss") is not None
    if there:
        contenders["FAISS flat range search, 40,000 x 1,280"] = Contender(lambda: _faiss(wide))
    timings = interleaved(contenders, rounds, say)
    report.timings |= timings
    product, cascade, product_2048, cascade_2048, product_10, cascade_10, top, near, top_r, near_r, *faiss = (
        timings.values()
    )
    fast = "bf16" in report.machine["has"]
    report.ratio("pairs of 40,000 x 1,280: cascade / product", cascade, product, 5.0 if fast else 3.5)
    report.ratio("pairs of 40,000 x 2,048: cascade / product", cascade_2048, product_2048, 7.0 if fast else 4.5)
    report.ratio("pairs of 10,000 x 2,048: cascade / product", cascade_10, product_10, 1.5)
    report.ratio("nearest 20 of 40,000: cascade / product", near, top, 1.5)
    # Where nothing prunes it must not be much slower: 1 / 1.2.
    report.ratio("nearest 20 of 20,000 random: cascade / product", near_r, top_r, 0.83)
    if there:
        report.ratio("pairs of 40,000 x 1,280: cascade / FAISS", cascade, faiss[0], 8.0 if fast else 6.0)
    else:
        report.notes.append("FAISS is not installed: pip install --group bench")
    report.notes.append(
        "product: tiles of 512 x 1,024, one BLAS thread a tile, a compiled scan, float64 where it passes"
    )


def _many(report: Report, real: np.ndarray, work: Path, say: Callable[[str], None]) -> None:
    """Pairs of more and more vectors, each once; how time grows, and what it would be for a million."""
    np.save(work / "real.npy", real)
    seconds, peak_mb = [], 0.0
    for count in _LARGE:
        found = last_json("bench.pairs_once", work / "real.npy", count, 1280, work)
        say(f"  {count:,} x 1,280: {found['seconds']:.1f} s, {found['peak_mb']:,.0f} MB, {found['algorithm']}")
        seconds.append(found["seconds"])
        peak_mb = found["peak_mb"]
        report.measures.append(Measure(f"pairs of {count:,} x 1,280", found["seconds"], unit="s"))
    report.measures.append(
        Measure(f"memory of {_LARGE[-1]:,} x 1,280, vectors included", peak_mb / 1024, 4.0, True, "GB")
    )
    exponent, _ = np.polyfit(np.log(_LARGE), np.log(seconds), 1)
    million = seconds[-1] * math.exp(exponent * math.log(1_000_000 / _LARGE[-1]))
    report.measures.append(Measure("pairs: exponent of the time by the number of vectors", float(exponent)))
    report.measures.append(Measure("pairs of 1,000,000 x 1,280, extrapolated", million / 60, unit="min"))


def grown_file(file: Path, real: np.ndarray, count: int, dim: int) -> np.ndarray:
    """Write as many mixtures into a file, part by part, and return it as a memory map."""
    grown = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(count, dim))
    for start in range(0, count, _PART):
        some = min(_PART, count - start)
        grown[start : start + some] = mixtures(real, some, dim, seed=start + 1)
    grown.flush()
    return np.load(file, mmap_mode="r")


def mixtures(real: np.ndarray, count: int, dim: int, *, seed: int = 0) -> np.ndarray:
    """`count` vectors float32 of `dim` numbers from fewer real ones: each a mixture of three, of any length.

    Of each mixture one real vector is the larger part, so that near ones are as rare as among pictures. More numbers
    than the real ones have come from a random projection behind them.
    """
    rng = np.random.default_rng([count + dim, seed])
    unit = unit_rows(real, dtype=np.float64)
    one, two, three = (unit[rng.integers(len(unit), size=count)] for _ in range(3))
    share, rest = rng.uniform(0.35, 0.8, (count, 1)), rng.uniform(0.0, 0.3, (count, 1))
    out = share * one + (1 - share) * two + rest * three
    # The real ones themselves, once.
    if not seed:
        out[: len(unit)] = unit[:count]
    if dim > real.shape[1]:
        projection = rng.normal(size=(real.shape[1], dim - real.shape[1])) / np.sqrt(real.shape[1])
        out = np.concatenate([out, out @ projection], axis=1)
    out *= rng.uniform(5, 20, (count, 1))
    return out[rng.permutation(count)].astype(np.float32)


def real_vectors(sources: Sequence[Path], work: Path) -> np.ndarray:
    """Of each picture and of two parts of it, by EfficientNet-Lite0."""
    home = open_bench_home(work / "home", model="efficientnet_lite0")
    embedder = choose_embedder(home, resolve(home))
    rng = np.random.default_rng(2)

    def pictures() -> Any:
        for number, file in enumerate(sources[:1000]):
            with Image.open(file) as image:
                whole = image.convert("RGB")
            yield f"{number}-0", embedder.prepare(whole)
            for part in (1, 2):
                width, height = (max(32, int(side * rng.uniform(0.4, 0.8))) for side in whole.size)
                left, top = rng.integers(max(1, whole.width - width)), rng.integers(max(1, whole.height - height))
                box = (int(left), int(top), int(left) + width, int(top) + height)
                yield f"{number}-{part}", embedder.prepare(whole.crop(box))

    found = dict(embedder.stream(pictures()))
    return np.stack([found[key] for key in sorted(found)])


def _cascade(vectors: np.ndarray) -> int:
    search = PairSearch(vectors, THRESHOLD)
    for piece in search.pieces:
        search.pairs(piece, search.answer(piece))
    return search.pair_count


def _nearest(vectors: np.ndarray) -> int:
    search = NearestSearch(vectors, NEIGHBOURS)
    for wave in search.waves():
        for piece in wave:
            search.add(piece, search.answer(piece))
    return search.pair_count


def _faiss(vectors: np.ndarray) -> int:
    """All pairs as FAISS finds them, in float32 alone: every row's neighbours above the threshold, each pair twice."""
    # By name: it is in a dependency group of its own, which type checking goes without.
    faiss = importlib.import_module("faiss")
    unit, count = unit_rows(vectors), len(vectors)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(unit)
    queries = unit[: count // _FAISS_PART]
    index.range_search(queries, THRESHOLD)
    return count * (count - 1) // 2 * len(queries) // count


def _product(vectors: np.ndarray) -> int:
    """All pairs by tiles of the float32 product; float64 for what passes."""
    unit, count = unit_rows(vectors), len(vectors)
    cut = THRESHOLD - _MARGIN

    def strip(start: int) -> int:
        left, found = unit[start : start + _ROWS], 0
        tile = np.empty((_ROWS, _COLUMNS), np.float32)
        a, b = np.empty(_ROWS * _COLUMNS, np.int32), np.empty(_ROWS * _COLUMNS, np.int32)
        for other in range(start // _COLUMNS * _COLUMNS, count, _COLUMNS):
            right = unit[other : other + _COLUMNS]
            out = tile[: len(left), : len(right)]
            out = out if out.shape == tile.shape else np.empty((len(left), len(right)), np.float32)
            np.matmul(left, right.T, out=out)
            if some := scans.passing(out, cut, start, other, a, b):
                x, y = vectors[a[:some]].astype(np.float64), vectors[b[:some]].astype(np.float64)
                norms = np.einsum("ij,ij->i", x, x) * np.einsum("ij,ij->i", y, y)
                found += int((np.einsum("ij,ij->i", x, y) / np.sqrt(norms) > THRESHOLD).sum())
        return found

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(usable_threads()) as pool:
        list(pool.map(strip, range(0, count, _ROWS)))
    return count * (count - 1) // 2


def _product_top(vectors: np.ndarray) -> int:
    """The 20 best of every row by tiles of the float32 product, each tile for its rows and its columns."""
    unit, count, side = unit_rows(vectors), len(vectors), 1024
    best = np.full((count, NEIGHBOURS), -np.inf, np.float32)
    rows = np.full((count, NEIGHBOURS), -1, np.int32)
    blocks = range(-(-count // side))
    locks = [Lock() for _ in blocks]

    def tile(pair: tuple[int, int]) -> None:
        i, j = pair
        product = unit[i * side : (i + 1) * side] @ unit[j * side : (j + 1) * side].T
        with locks[i]:
            scans.keep_best(product, i * side, j * side, best, rows)
        if i != j:
            turned = np.ascontiguousarray(product.T)
            with locks[j]:
                scans.keep_best(turned, j * side, i * side, best, rows)

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(usable_threads()) as pool:
        list(pool.map(tile, combinations_with_replacement(blocks, 2)))
    return count * (count - 1) // 2
