"""How good the answers are to each way to ask: one image, several together, after marking hits, a part of an image.

Belongs here: the ways, the measures, the table of docs/guide/queries.md. Not here: how parts become one vector
(`imgret_assets.domain.search.query_parts`), near-duplicates (`bench.quality`).

The folder of a photo is its label. Of each label five photos are held out at a time, in four rounds, and never in the
collection that is asked; queries of several images are all combinations of these five.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from bench.homes import open_bench_home
from bench.report import Measure, Report
from imgret_assets.domain.images.crop import PERCENT, Crop
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.search.query_embedding import embed_image
from imgret_assets.domain.search.query_parts import QueryPart, QueryVector, combine_vectors

HELD_OUT, ROUNDS = 5, 4
MARKED = 10
MIDDLE = Crop(20, 20, 60, 60, PERCENT)
_MAX_PIXELS = 200_000_000
ONE, TOGETHER, BEST = "one image", "{} images together", "{} images, best single match"
REST, REST_WRONG = "after the first ten", "after the first ten, some of them wrong"
UNMARKED, MORE, MORE_LESS = "nothing marked", "right ones marked", "right and wrong ones marked"
WHOLE, CROPPED = "two photos side by side, whole", "two photos side by side, cropped to one"


@dataclass(frozen=True)
class Photos:
    """Photos with labels: unit vectors float64 (n, dim), labels (n,) and files."""

    unit: np.ndarray
    labels: np.ndarray
    files: list[Path]


def run(report: Report, sources: Sequence[Path], work: Path, *, say: Callable[[str], None]) -> None:
    """Measure all ways on the photos of labels that have more than enough of them."""
    embedder = open_embedder(work / "home-ways")
    photos = _embed(embedder, _with_enough(sources))
    if not len(photos.files):
        say("ways: no folder has as many photos as are needed")
        return
    say(f"ways: {len(photos.files):,} photos embedded")
    measured: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for held, kept in _folds(photos):
        for way, measures in _measure_fold(photos, held, kept, embedder):
            measured[way].append(measures)
    means = {way: np.mean(rows, axis=0) for way, rows in measured.items()}
    report.notes += [
        "| way to ask | queries | P@1 | P@10 | mAP |",
        "|---|---|---|---|---|",
        *(f"| {way} | {len(measured[way]):,} | {_cells(mean)} |" for way, mean in means.items()),
    ]
    five, best = means[TOGETHER.format(5)][2], means[BEST.format(5)][2]
    report.measures += [
        Measure("mAP of one image", float(means[ONE][2])),
        Measure("mAP of five images together", float(five), float(best)),
        Measure("mAP of the rest after marking ten", float(means[f"{REST}: {MORE_LESS}"][2])),
    ]


def open_embedder(folder: Path) -> Embedder:
    """Return the embedder of the bundled model, in a home of its own."""
    home = open_bench_home(folder, model="efficientnet_lite0")
    return choose_embedder(home, resolve(home))


def _with_enough(sources: Sequence[Path]) -> list[Path]:
    by_label: dict[str, list[Path]] = defaultdict(list)
    for file in sources:
        by_label[file.parent.name].append(file)
    return [file for files in by_label.values() if len(files) >= HELD_OUT * ROUNDS for file in files]


def _embed(embedder: Embedder, files: list[Path]) -> Photos:
    vectors = [_vector(embedder, file.read_bytes()) for file in files]
    return Photos(np.array(vectors), np.array([file.parent.name for file in files]), files)


def _vector(embedder: Embedder, data: bytes, crop: Crop | None = None) -> np.ndarray:
    vector = embed_image(embedder, QueryImage("query", data), max_pixels=_MAX_PIXELS, crop=crop).astype(np.float64)
    return vector / np.linalg.norm(vector)


def _folds(photos: Photos) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows that are held out, and those of the collection."""
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(np.flatnonzero(photos.labels == label)) for label in np.unique(photos.labels)]
    for fold in range(ROUNDS):
        held = np.concatenate([rows[fold * HELD_OUT : (fold + 1) * HELD_OUT] for rows in shuffled])
        yield held, np.setdiff1d(np.arange(len(photos.labels)), held)


def _measure_fold(
    photos: Photos, held: np.ndarray, kept: np.ndarray, embedder: Embedder
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Yield the name of each way with the measures of one query."""
    collection, labels = photos.unit[kept], photos.labels[kept]
    for label in np.unique(labels):
        queries = held[photos.labels[held] == label]
        relevant = labels == label
        for row in queries:
            scores = collection @ photos.unit[row]
            yield ONE, measures_of(scores, relevant)
            middle = _vector(embedder, photos.files[row].read_bytes(), MIDDLE)
            yield "the middle of one image, 60 % of each side", measures_of(collection @ middle, relevant)
            yield from _marked(collection, photos.unit[row], scores, relevant)
        for count in range(2, HELD_OUT + 1):
            for rows in combinations(queries, count):
                unit = photos.unit[list(rows)]
                yield TOGETHER.format(count), measures_of(collection @ _combined(unit), relevant)
                yield BEST.format(count), measures_of((collection @ unit.T).max(axis=1), relevant)
    yield from _side_by_side(photos, held, kept, embedder)


def _marked(
    collection: np.ndarray, query: np.ndarray, scores: np.ndarray, relevant: np.ndarray
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Yield the measures of the rest of the list, before and after the first ten hits are marked."""
    first = np.argsort(-scores, kind="stable")[:MARKED]
    rest = np.setdiff1d(np.arange(len(scores)), first)
    if not relevant[rest].any():
        return
    right, wrong = collection[first[relevant[first]]], collection[first[~relevant[first]]]
    more = _combined(np.vstack([query, right]))
    both = _combined(np.vstack([query, right]), wrong)
    for text in [REST] if not len(wrong) else [REST, REST_WRONG]:
        for way, vector in ((UNMARKED, query), (MORE, more), (MORE_LESS, both)):
            yield f"{text}: {way}", measures_of((collection @ vector)[rest], relevant[rest])


def _combined(more: np.ndarray, less: np.ndarray | None = None) -> np.ndarray:
    """Return the direction of a query of several vectors."""
    sides = [(vector, False) for vector in more] + [(vector, True) for vector in ([] if less is None else less)]
    parts = [QueryPart(QueryVector("vector", vector), less=is_less) for vector, is_less in sides]
    return combine_vectors(parts, [vector for vector, _ in sides]).astype(np.float64)


def _side_by_side(
    photos: Photos, held: np.ndarray, kept: np.ndarray, embedder: Embedder
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Yield the measures of queries by a photo that has another one beside it, whole and cropped to the one."""
    collection, labels = photos.unit[kept], photos.labels[kept]
    for row, other in zip(held, np.roll(held, HELD_OUT), strict=True):
        data, crop = _joined(photos.files[row], photos.files[other])
        relevant = labels == photos.labels[row]
        yield WHOLE, measures_of(collection @ _vector(embedder, data), relevant)
        yield CROPPED, measures_of(collection @ _vector(embedder, data, crop), relevant)


def _joined(file: Path, other: Path) -> tuple[bytes, Crop]:
    """Return a PNG of two photos side by side, and the crop that is the first of them."""
    left, right = (Image.open(path).convert("RGB") for path in (file, other))
    right = right.resize((max(1, round(right.width * left.height / right.height)), left.height))
    joined = Image.new("RGB", (left.width + right.width, left.height))
    joined.paste(left, (0, 0))
    joined.paste(right, (left.width, 0))
    written = io.BytesIO()
    joined.save(written, "PNG")
    return written.getvalue(), Crop(0, 0, left.width, left.height)


def measures_of(scores: np.ndarray, relevant: np.ndarray) -> tuple[float, float, float]:
    """Return P@1, P@10 and average precision of one ranking.

    Args:
        scores: float64 (n,), of each image of the collection.
        relevant: bool (n,), the images with the query's label, at least one.
    """
    ranked = relevant[np.argsort(-scores, kind="stable")]
    places = np.flatnonzero(ranked)
    return float(ranked[0]), float(ranked[:10].mean()), float(np.mean(np.arange(1, len(places) + 1) / (places + 1)))


def _cells(mean: np.ndarray) -> str:
    return " | ".join(f"{value:.3f}" for value in mean)
