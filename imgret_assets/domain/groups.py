"""Groups of images that belong together, without chains: communities, split until all are near a representative.

Belongs here: the grouping, its measure against labels, the groups table. Not here: nearest neighbours
(`domain.neighbours`), the node property (`domain.group_graph`).

Every vector is averaged with its nearest neighbours, which pulls a family together and lets go of what only resembles
one member (Arandjelovic and Zisserman, 2012). Images are linked where one is among the other's nearest and the cosine
of their averaged vectors stands high enough above that of two random images; the Leiden algorithm (Traag, Waltman and
van Eck, 2019; graspologic-native, MIT) finds the communities. A community may still hang together by links alone, so
each is split: its representative is the member nearest to its mean, what is further from it than a stated cosine
leaves and is split again.

Both limits are shares of the way from the cosine of two random images, which differs from model to model, to 1.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from imgret_assets.domain import locks, tables
from imgret_assets.domain.cores import usable_threads
from imgret_assets.domain.home import Home
from imgret_assets.domain.labels import labels_of
from imgret_assets.domain.neighbours import Neighbours, load_neighbours
from imgret_assets.domain.pairs import list_embeddings, read_vectors
from imgret_assets.domain.unit_rows import unit_rows
from imgret_assets.errors import SettingError, StaleTableError, TableError

GROUPS_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("group", pa.string()),
        ("representative", pa.bool_()),
        ("score", pa.float64()),
        ("size", pa.int32()),
        ("weakest_score", pa.float64()),
        ("community", pa.int32()),
    ]
)
AVERAGED_OVER = 5
LINKED_FROM = 0.65
SPLIT_FROM = 0.2
# Not higher: a collection that is a single family would fall into single images.
RESOLUTION = 1.0
# A background above this is no background: there are only copies, or a single family.
HIGHEST_BACKGROUND = 0.9
SEED = 20261122
_LEIDEN_ROUNDS = 3
_BLOCK_ROWS = 4096
_RANDOM_PAIRS = 125_000
# Rows of both sides of so many pairs stay in a core's cache.
_PAIRS_AT_ONCE = 256
# Links weigh in whole millionths, and scores are compared in them, so that the last digits of a product don't decide.
_STEP = 1e6
_METHOD = f"averaged {AVERAGED_OVER}, linked {LINKED_FROM}, split {SPLIT_FROM}, Leiden {RESOLUTION} seed {SEED}, 2"


class Grouping(NamedTuple):
    """What was found.

    Attributes:
        communities: int64 (n,), before the split: a number for each row, in order of appearance.
        groups: int64 (n,), after it: the row of each row's representative.
        scores: float64 (n,): cosine of each row with its representative; 1 for the representative itself.
        least: no score is less than this.
    """

    communities: np.ndarray
    groups: np.ndarray
    scores: np.ndarray
    least: float


@dataclass(frozen=True)
class Agreement:
    """How far groups agree with labels, image by image (Bagga and Baldwin, 1998; Amigo and others, 2009).

    `precision`: the share of an image's group that has its label; `recall`: the share of its label that is in its
    group; both averaged over the labelled images, themselves counted. `f1`: their harmonic mean.
    """

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class GroupsReport:
    """What a refresh of the groups did. `before` and `after` the split are None where there are no labels."""

    space: str
    images: int
    groups: int
    alone: int
    largest: int
    least: float
    communities: int
    before: Agreement | None
    after: Agreement | None
    written: bool
    seconds: float

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        there = (
            f"{self.groups:,} groups of {self.images - self.alone:,} images, the largest of {self.largest:,}; "
            f"{self.alone:,} images are alone; every member's cosine with its representative is at least {self.least:g}"
        )
        return f"{there}: {self.seconds:.1f} s." if self.written else f"{there}: nothing changed."


def random_pairs(count: int, pairs: int = _RANDOM_PAIRS) -> tuple[np.ndarray, np.ndarray]:
    """Rows of pairs of different images, the same for the same count: all where there are no more than `pairs`."""
    if count * (count - 1) // 2 <= pairs:
        a, b = np.triu_indices(count, 1)
        return a.astype(np.int64), b.astype(np.int64)
    rng = np.random.default_rng(SEED)
    a = rng.integers(0, count, pairs)
    return a, (a + rng.integers(1, count, pairs)) % count


def dots(left: np.ndarray, right: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Dot products, float64, of rows `a` of one with rows `b` of the other."""
    found = np.empty(len(a))

    def fill(start: int) -> None:
        part = slice(start, start + _PAIRS_AT_ONCE)
        found[part] = np.einsum("ij,ij->i", left[a[part]], right[b[part]], dtype=np.float64)

    starts = range(0, len(a), _PAIRS_AT_ONCE)
    if len(starts) <= 1:
        for start in starts:
            fill(start)
        return found
    # Nearly all of the time goes to fetching rows from all over the memory: cores wait for it side by side.
    with ThreadPoolExecutor(usable_threads()) as threads:
        list(threads.map(fill, starts))
    return found


def background(unit: np.ndarray) -> float:
    """The median cosine of two random images; 0 where there is no pair."""
    a, b = random_pairs(len(unit))
    return round(float(np.median(dots(unit, unit, a, b))), 6) if len(a) else 0.0


def averaged(unit: np.ndarray, neighbours: np.ndarray, scores: np.ndarray, over: int = AVERAGED_OVER) -> np.ndarray:
    """Directions of each row with its nearest neighbours added, each by its cosine (0 where that is negative).

    Args:
        unit: float32 (n, dim), unit rows.
        neighbours: int (n, k), rows, nearest first; -1 where there are no more.
        scores: float64 (n, k), their cosines.
        over: how many of them are added.
    """
    rows = neighbours[:, :over]
    weights = np.where(rows >= 0, np.maximum(scores[:, :over], 0.0), 0.0).astype(np.float32)
    found = unit.copy()
    for start in range(0, len(unit), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        for column in range(rows.shape[1]):
            found[part] += weights[part, column, np.newaxis] * unit[np.maximum(rows[part, column], 0)]
    return unit_rows(found)


def links(neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows a < b of which one is among the other's neighbours, each once, sorted."""
    count = len(neighbours)
    row = np.repeat(np.arange(count, dtype=np.int64), neighbours.shape[1])
    other = neighbours.ravel().astype(np.int64)
    there = other >= 0
    keys = np.unique(np.minimum(row, other)[there] * count + np.maximum(row, other)[there])
    return keys // max(1, count), keys % max(1, count)


def communities(count: int, a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Leiden communities of a weighted graph over `count` rows: int64 (count,), numbered in order of appearance.

    Rows without a link are alone. The same graph gives the same communities.
    """
    if not len(a):
        return np.arange(count)
    from graspologic_native import leiden_csr  # type: ignore[attr-defined]

    row, column, both = np.concatenate([a, b]), np.concatenate([b, a]), np.concatenate([weights, weights])
    order = np.lexsort((column, row))
    starts = np.searchsorted(row[order], np.arange(count + 1)).astype(np.int64)
    _, found = leiden_csr(
        starts,
        column[order].astype(np.int32),
        both[order].astype(np.float64),
        count,
        resolution=RESOLUTION,
        iterations=_LEIDEN_ROUNDS,
        seed=SEED,
    )
    linked = np.zeros(count, bool)
    linked[row] = True
    numbers = np.array([found.get(node, -1) if linked[node] else -1 for node in range(count)], np.int64)
    numbers[numbers < 0] = np.arange(count)[numbers < 0] + count
    return _by_appearance(numbers)


def _by_appearance(numbers: np.ndarray) -> np.ndarray:
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def split(unit: np.ndarray, numbers: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Split groups until every member's cosine with its group's representative is at least `least`.

    The representative is the member nearest to the mean of what is left of the group, the first of equals; what is
    further away becomes the next group to split.

    Returns:
        the representative's row of every row, int64 (n,), and the cosine with it, float64 (n,).
    """
    representatives, scores = np.empty(len(unit), np.int64), np.empty(len(unit))
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    for members in np.split(order, starts[1:]) if len(order) else []:
        left = members
        while len(left):
            mean = unit[left].sum(axis=0, dtype=np.float64)
            nearest = left[int(np.argmax(np.round(unit[left] @ mean * _STEP)))]
            found = dots(unit, unit, left, np.full(len(left), nearest))
            found[left == nearest] = 1.0
            inside = found >= least
            representatives[left[inside]], scores[left[inside]] = nearest, np.minimum(found[inside], 1.0)
            left = left[~inside]
    return representatives, scores


def find_groups(vectors: np.ndarray, neighbours: Neighbours, *, least: float | None = None) -> Grouping:
    """Group images by their vectors.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; rows as in `neighbours`, by sorted path.
        neighbours: the nearest of each row.
        least: cosine of every member with its representative; by the background's distance from 1 where None.

    Raises:
        SettingError: `least` is no cosine.
    """
    if least is not None and not -1 <= least <= 1:
        raise SettingError(f"least_score is {least}", expected="a cosine, -1 to 1")
    unit = unit_rows(vectors)
    if least is None:
        least = round(_above(min(background(unit), HIGHEST_BACKGROUND), SPLIT_FROM), 3)
    smooth = averaged(unit, neighbours.rows, neighbours.scores)
    ground = min(background(smooth), HIGHEST_BACKGROUND)
    a, b = links(neighbours.rows)
    weights = (dots(smooth, smooth, a, b) - ground) / (1 - ground)
    kept = weights > LINKED_FROM
    numbers = communities(len(unit), a[kept], b[kept], np.round(weights[kept] * _STEP) / _STEP)
    return Grouping(numbers, *split(unit, numbers, least), least)


def _above(ground: float, share: float) -> float:
    return ground + share * (1 - ground)


def agreement(numbers: np.ndarray, labels: Sequence[str | None]) -> Agreement | None:
    """B-cubed precision, recall and F1 of groups against labels; None where fewer than two labels are known."""
    known = np.flatnonzero([bool(label) for label in labels])
    names = np.unique([label for label in labels if label], return_inverse=True)[1] if len(known) else np.empty(0, int)
    if not len(known) or names.max() == 0:
        return None
    group = np.unique(np.asarray(numbers)[known], return_inverse=True)[1]
    _, cell, both = np.unique(group * (names.max() + 1) + names, return_inverse=True, return_counts=True)
    precision = float(np.mean(both[cell] / np.bincount(group)[group]))
    recall = float(np.mean(both[cell] / np.bincount(names)[names]))
    return Agreement(precision, recall, 2 * precision * recall / (precision + recall))


def groups_path(warehouse: Path, space: str) -> Path:
    """File of the groups in one embedding space."""
    return warehouse / "groups" / f"model={space}" / "groups.parquet"


def check_neighbours(home: Home, space: str, coverage: str) -> None:
    """Nothing, if the nearest neighbours were made from the embeddings of this coverage.

    Raises:
        TableError: the table is missing.
        StaleTableError: it was made from others.
    """
    path = tables.require(tables.nearest_path(home.warehouse, space), "The nearest neighbours", "nearest_neighbours")
    if tables.read_metadata(path).get("coverage") != coverage:
        raise StaleTableError(
            "The nearest neighbours are older than the embeddings",
            remedy="materialise `nearest_neighbours`, or run `imgret run`",
        )


def refresh_groups(home: Home, space: str, *, least: float | None = None) -> GroupsReport:
    """Bring the groups table up to date; nothing is computed where vectors and limits are the same.

    Args:
        home: the home.
        space: id of the embedding space.
        least: see `find_groups`.

    Raises:
        TableError, StaleTableError: tables are missing or don't belong together.
        LockTimeoutError: another run writes pairs or the graph.
    """
    with locks.held(home.locks, [locks.GRAPH], timeout_s=home.settings.lock_timeout_s, purpose="grouping images"):
        started = time.monotonic()
        listing = list_embeddings(home, space)
        check_neighbours(home, space, listing.coverage)
        labels = labels_of(home, listing.paths)
        path = groups_path(home.warehouse, space)
        asked = {"space": space, "coverage": listing.coverage, "method": _METHOD, "asked_least": repr(least)}
        metadata = tables.read_metadata(path) if path.is_file() else {}
        if asked.items() <= metadata.items():
            return _report(space, float(metadata["least"]), *_read_numbers(path), labels, None)
        found = find_groups(read_vectors(home, space, listing), load_neighbours(home, space), least=least)
        tables.write(path, as_table(listing.paths, found), asked | {"least": repr(found.least)})
        return _report(space, found.least, found.communities, found.groups, labels, time.monotonic() - started)


def as_table(paths: Sequence[str], found: Grouping) -> pa.Table:
    """One row an image, sorted by path. A group's name is its representative's path; `community` its number before."""
    _, inverse, sizes = np.unique(found.groups, return_inverse=True, return_counts=True)
    weakest = np.ones(len(sizes))
    np.minimum.at(weakest, inverse, found.scores)
    names = pa.array(list(paths), pa.string())
    columns = [
        names,
        names.take(pa.array(found.groups)),
        pa.array(found.groups == np.arange(len(names))),
        pa.array(found.scores),
        pa.array(sizes[inverse].astype(np.int32)),
        pa.array(weakest[inverse]),
        pa.array(found.communities.astype(np.int32)),
    ]
    return pa.Table.from_arrays(columns, schema=GROUPS_SCHEMA)


def largest_groups(home: Home, space: str, count: int) -> list[dict[str, Any]]:
    """The largest groups: `group` (path of the representative), `size` and `weakest_score`; ties by path."""
    columns = ["path", "group", "representative", "size", "weakest_score"]
    rows = tables.read(groups_path(home.warehouse, space), columns)
    heads = rows.filter(rows["representative"]).sort_by([("size", "descending"), ("group", "ascending")])
    found = heads.slice(0, count).select(["group", "size", "weakest_score"]).to_pylist()
    return [row for row in found if row["size"] > 1]


def read_groups(home: Home, space: str, coverage: str) -> dict[str, str | None]:
    """Each image's group by path; None for an image that is alone.

    Raises:
        TableError: the table is missing or of another space.
        StaleTableError: it was made from other embeddings.
    """
    path = tables.require(groups_path(home.warehouse, space), "The groups table", "image_groups")
    metadata = tables.read_metadata(path)
    if metadata.get("space") != space:
        raise TableError(f"{path} is of space {metadata.get('space')}", expected=space, remedy="remove it")
    if metadata.get("coverage") != coverage:
        raise StaleTableError(
            "The groups are older than the embeddings", remedy="materialise `image_groups`, or run `imgret run`"
        )
    rows = tables.read(path, ["path", "group", "size"]).to_pydict()
    return {
        name: group if size > 1 else None
        for name, group, size in zip(rows["path"], rows["group"], rows["size"], strict=True)
    }


def _read_numbers(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = tables.read(path, ["path", "group", "community"]).to_pydict()
    row_of = {name: row for row, name in enumerate(rows["path"])}
    return np.array(rows["community"], np.int64), np.array([row_of[name] for name in rows["group"]], np.int64)


def _report(
    space: str,
    least: float,
    before: np.ndarray,
    after: np.ndarray,
    labels: Sequence[str | None],
    seconds: float | None,
) -> GroupsReport:
    sizes = np.unique(after, return_counts=True)[1]
    return GroupsReport(
        space=space,
        images=len(after),
        groups=int(np.count_nonzero(sizes > 1)),
        alone=int(np.count_nonzero(sizes == 1)),
        largest=int(sizes.max()) if len(sizes) else 0,
        least=least,
        communities=len(np.unique(before)),
        before=agreement(before, labels),
        after=agreement(after, labels),
        written=seconds is not None,
        seconds=seconds or 0.0,
    )
