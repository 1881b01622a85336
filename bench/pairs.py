"""Pairs and nearest neighbours: the cascade beside the matrix product done well.

Belongs here: these contenders and their targets. Not here: timing them (`bench.rounds`).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from bench import scans
from bench.report import Measure, Report
from bench.rounds import Contender, cores, interleaved
from imgret_assets.domain.cascade import Cascade
from imgret_assets.domain.cascade_nearest import nearest
from imgret_assets.domain.engines import choose_embedder
from imgret_assets.domain.home import open_home
from imgret_assets.domain.models import resolve
from imgret_assets.settings import load_settings

THRESHOLD = 0.8
NEIGHBOURS = 20
_ROWS, _COLUMNS = 512, 1024
# Farther than the float32 product's error at 2,048 numbers.
_MARGIN = 2e-4


def run(report: Report, sources: Sequence[Path], work: Path, *, rounds: int, say: Callable[[str], None]) -> None:
    """Measure and add to the report."""
    real = _real_vectors(sources, work)
    say(f"{len(real):,} vectors of real pictures, grown by mixtures")
    wide = mixtures(real, 40_000, 1280)
    wider = mixtures(real, 40_000, 2048)
    some = np.ascontiguousarray(wider[:10_000])
    contenders = {
        "product, 40,000 x 1,280": Contender(lambda: _product(wide)),
        "cascade, 40,000 x 1,280": Contender(lambda: _cascade(wide)),
        "product, 40,000 x 2,048": Contender(lambda: _product(wider)),
        "cascade, 40,000 x 2,048": Contender(lambda: _cascade(wider)),
        "product, 10,000 x 2,048": Contender(lambda: _product(some)),
        "cascade, 10,000 x 2,048": Contender(lambda: _cascade(some)),
        "product and top 20, 40,000 x 1,280": Contender(lambda: _product_top(wide)),
        "nearest 20, 40,000 x 1,280": Contender(lambda: _nearest(wide)),
        "1 % new, 40,000 x 1,280": Contender(lambda: _cascade(wide, np.arange(400) * 100)),
    }
    timings = interleaved(contenders, rounds, say)
    report.timings |= timings
    product, cascade, product_2048, cascade_2048, product_10, cascade_10, top, near, new = timings.values()
    fast = "bf16" in report.machine["has"]
    report.ratio("pairs of 40,000 x 1,280: cascade / product", cascade, product, 5.0 if fast else 3.5)
    report.ratio("pairs of 40,000 x 2,048: cascade / product", cascade_2048, product_2048, 7.0 if fast else 4.5)
    report.ratio("pairs of 10,000 x 2,048: cascade / product", cascade_10, product_10, 1.5)
    report.ratio("nearest 20 of 40,000: cascade / product", near, top, 1.5)
    report.measures.append(Measure("1 % new images: share of all pairs' time", _median(new) / _median(cascade)))
    report.notes.append(
        "product: tiles of 512 x 1,024, one BLAS thread a tile, a compiled scan, float64 where it passes"
    )


def _median(timing: Any) -> float:
    return float(np.median(timing.seconds))


def mixtures(real: np.ndarray, count: int, dim: int) -> np.ndarray:
    """`count` vectors float32 of `dim` numbers from fewer real ones: each a mixture of three, of any length.

    Of each mixture one real vector is the larger part, so that near ones are as rare as among pictures. More numbers
    than the real ones have come from a random projection behind them.
    """
    rng = np.random.default_rng(count + dim)
    unit = real / np.linalg.norm(real, axis=1, keepdims=True)
    one, two, three = (unit[rng.integers(len(unit), size=count)] for _ in range(3))
    share, rest = rng.uniform(0.35, 0.8, (count, 1)), rng.uniform(0.0, 0.3, (count, 1))
    out = share * one + (1 - share) * two + rest * three
    out[: len(unit)] = unit[:count]
    if dim > real.shape[1]:
        projection = rng.normal(size=(real.shape[1], dim - real.shape[1])) / np.sqrt(real.shape[1])
        out = np.concatenate([out, out @ projection], axis=1)
    out *= rng.uniform(5, 20, (count, 1))
    return out[rng.permutation(count)].astype(np.float32)


def _real_vectors(sources: Sequence[Path], work: Path) -> np.ndarray:
    """Of each picture and of two parts of it, by EfficientNet-Lite0."""
    home = open_home(load_settings({"home": work / "home", "model": "efficientnet_lite0"}, env=_NO_ENV))
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


def _cascade(vectors: np.ndarray, rows: np.ndarray | None = None) -> int:
    cascade = Cascade(vectors, THRESHOLD, rows=rows)
    for block in cascade.blocks:
        cascade.pairs_of(block)
    return cascade.compared


def _nearest(vectors: np.ndarray) -> int:
    nearest(vectors, NEIGHBOURS)
    return len(vectors) * (len(vectors) - 1) // 2


def _unit(vectors: np.ndarray) -> np.ndarray:
    out = np.empty_like(vectors)
    for start in range(0, len(vectors), 4096):
        part = vectors[start : start + 4096].astype(np.float64)
        out[start : start + 4096] = part / np.sqrt(np.einsum("ij,ij->i", part, part))[:, np.newaxis]
    return out


def _product(vectors: np.ndarray) -> int:
    """All pairs by tiles of the float32 product; float64 for what passes."""
    unit, count = _unit(vectors), len(vectors)
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

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores()) as pool:
        list(pool.map(strip, range(0, count, _ROWS)))
    return count * (count - 1) // 2


def _product_top(vectors: np.ndarray) -> int:
    """The 20 best of every row by tiles of the float32 product, each tile for its rows and its columns."""
    unit, count, side = _unit(vectors), len(vectors), 1024
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

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores()) as pool:
        list(pool.map(tile, combinations_with_replacement(blocks, 2)))
    return count * (count - 1) // 2


# Settings of the benchmark are its own, whatever `.env` says.
_NO_ENV = {"IMGRET_ENV_FILE": "/dev/null"}
