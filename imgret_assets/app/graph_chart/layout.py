"""Positions of the images in a graph chart: related ones close together, none on top of another, all inside a box.

Belongs here: positions, as pure numbers. Not here: which images there are (`app.graph_chart.hit_graph`,
`app.graph_chart.neighbourhood`), the chart's options (`app.graph_chart.echarts_options`).

ECharts' own force layout knows neither the size of an image nor the edge of its canvas. networkx' `spring_layout` takes
the same steps with the same result, but ten times as long for 300 images: 0.31 s instead of 0.03 s on one core.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

_STEPS = 100
_ROUNDS, _PUSHES = 12, 10
# Only pairs of boxes within this distance are compared within a round of pushes.
_CLOSE_PX = 24.0
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
# Length of the first step as a share of the space's longer side: from a new start, and from known positions, which are
# meant to change no more than new boxes need.
_FIRST_STEP, _FIRST_STEP_FROM_KNOWN = 0.1, 0.02
# Boxes that are closer than this repel each other no more than at this distance.
_MIN_DISTANCE_PX = 0.5
_GRAVITY = 0.03
# Standard deviations up to which positions are hardly drawn in.
_REACH = 1.4
# Of a position, how much is the box's rank along the axis; the rest is the distance.
_RANK_SHARE = 0.5


def lay_out(
    sizes: np.ndarray,
    links: Sequence[tuple[int, int, float]],
    *,
    box: tuple[float, float],
    known: Mapping[int, tuple[float, float]] | None = None,
) -> np.ndarray:
    """Return positions of linked boxes; the same for the same arguments.

    Args:
        sizes: float64 (n, 2), width and height of each box, more than 0.
        links: two rows of `sizes` and how strongly they pull, 0 to 1.
        box: width and height of the space for the centres.
        known: rows of `sizes` with the position that they have, such as images that are already on the chart. They make
            room for the others, and keep their arrangement: left of, right of, above, below. Without others they stay.

    Returns:
        float64 (n, 2), centres in [0, width] x [0, height]; no two boxes overlap if there is enough space.
    """
    count = len(sizes)
    space = np.array(box, dtype=np.float64)
    if count < 2:
        return np.tile(space / 2, (count, 1))
    if not known:
        positions = _settle(_spiral(count, space), *_pulls(count, links), space, _FIRST_STEP)
        return _push_apart(_fill(positions, space), sizes, space)
    positions = _spiral(count, space)
    for row, position in known.items():
        positions[row] = position
    if len(known) < count:
        positions = _settle(positions, *_pulls(count, links), space, _FIRST_STEP_FROM_KNOWN)
        positions = _fill(positions, space)
    return _push_apart(positions, sizes, space)


def _pulls(count: int, links: Sequence[tuple[int, int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair of linked boxes once, int64 (m, 2), and how strongly it pulls, float64 (m,)."""
    strongest: dict[tuple[int, int], float] = {}
    for row, other_row, weight in links:
        pair = (min(row, other_row), max(row, other_row))
        strongest[pair] = max(strongest.get(pair, 0.0), weight)
    pairs = np.array(list(strongest), dtype=np.int64).reshape(-1, 2)
    # Each of many links pulls less; otherwise a dense group would lie on one spot.
    crowd = np.sqrt(np.maximum(np.bincount(pairs.ravel(), minlength=count), 1))
    return pairs, np.array(list(strongest.values())) / np.sqrt(crowd[pairs[:, 0]] * crowd[pairs[:, 1]])


def _spiral(count: int, space: np.ndarray) -> np.ndarray:
    """Return positions with the first box in the middle and the others around it in their order."""
    turns = np.arange(count) * _GOLDEN_ANGLE
    radii = 0.5 * np.sqrt(np.arange(count) / count)
    return space * (0.5 + radii[:, None] * np.column_stack((np.cos(turns), np.sin(turns))))


def _settle(
    positions: np.ndarray, pairs: np.ndarray, pull: np.ndarray, space: np.ndarray, first_step: float
) -> np.ndarray:
    """Take Fruchterman and Reingold's steps: all boxes repel each other, links pull, the steps become smaller."""
    unit = math.sqrt(space.prod() / len(positions))
    left, right = pairs.T
    # Relative to the middle, so that squares are small and their differences exact.
    positions = positions - space / 2
    force = np.empty((len(positions), len(positions)))
    for step in range(_STEPS):
        squares = (positions**2).sum(axis=1)
        np.matmul(-2 * positions, positions.T, out=force)
        force += squares[:, None]
        force += squares[None, :]
        np.maximum(force, _MIN_DISTANCE_PX**2, out=force)
        np.divide(unit**2, force, out=force)
        np.fill_diagonal(force, 0.0)
        # The sum of force * (position - other position), without an array of all differences.
        moves = force.sum(axis=1)[:, None] * positions - force @ positions - _GRAVITY * positions
        attraction = positions[left] - positions[right]
        attraction *= (pull * np.linalg.norm(attraction, axis=1) / unit)[:, None]
        moves += _sum_by_row(right, attraction, len(positions)) - _sum_by_row(left, attraction, len(positions))
        length = np.maximum(np.linalg.norm(moves, axis=1, keepdims=True), 1e-9)
        longest = first_step * space.max() * (1 - step / _STEPS)
        positions = positions + moves / length * np.minimum(length, longest)
    return positions


def _sum_by_row(rows: np.ndarray, moves: np.ndarray, count: int) -> np.ndarray:
    """Return the sums of moves, float64 (m, 2), by the row they belong to: float64 (count, 2)."""
    return np.column_stack([np.bincount(rows, weights=moves[:, axis], minlength=count) for axis in (0, 1)])


def _fill(positions: np.ndarray, space: np.ndarray) -> np.ndarray:
    """Stretch the positions over the space.

    The outermost are drawn in, so that one of them does not squeeze the rest; ranks count half, so that a group far
    from all others does not become a line at the edge.
    """
    drawn_in = np.tanh((positions - positions.mean(axis=0)) / np.maximum(positions.std(axis=0), 1e-9) / _REACH)
    low, high = drawn_in.min(axis=0), drawn_in.max(axis=0)
    distances = (drawn_in - low) / np.maximum(high - low, 1e-9)
    ranks = positions.argsort(axis=0, kind="stable").argsort(axis=0) / (len(positions) - 1)
    return ((1 - _RANK_SHARE) * distances + _RANK_SHARE * ranks) * space


def _push_apart(positions: np.ndarray, sizes: np.ndarray, space: np.ndarray) -> np.ndarray:
    """Move overlapping boxes away from each other, along the axis on which they overlap less."""
    width, height = ((sizes[:, None, axis] + sizes[None, :, axis]) / 2 for axis in (0, 1))
    each_pair_once = np.triu(np.ones((len(sizes), len(sizes)), bool), 1)
    for _ in range(_ROUNDS):
        # Only close pairs are compared in each push: all pairs are many.
        x, y = positions.T
        close = np.abs(x[:, None] - x) < width + _CLOSE_PX
        close &= np.abs(y[:, None] - y) < height + _CLOSE_PX
        left, right = np.nonzero(close & each_pair_once)
        needed = np.column_stack((width[left, right], height[left, right]))
        positions, none_overlaps = _push(positions, left, right, needed, space)
        if none_overlaps:
            break
    return positions


def _push(
    positions: np.ndarray, left: np.ndarray, right: np.ndarray, needed: np.ndarray, space: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Push pairs of boxes apart that overlap; return the positions, and True if no pair overlapped.

    `needed` is the distance that each pair needs along x and y, float64 (m, 2).
    """
    for turn in range(_PUSHES):
        apart = positions[left] - positions[right]
        overlap = needed - np.abs(apart)
        touching = (overlap[:, :1] > 0) & (overlap[:, 1:] > 0)
        if not touching.any():
            return positions, turn == 0
        across = overlap[:, :1] <= overlap[:, 1:]
        axes = np.hstack((across, ~across))
        direction = np.where(apart == 0, -1.0, np.sign(apart))
        pushes = np.where(axes & touching, direction * (overlap / 2 + 0.5), 0.0) * 0.6
        moves = _sum_by_row(left, pushes, len(positions)) - _sum_by_row(right, pushes, len(positions))
        positions = np.clip(positions + moves, 0.0, space)
    return positions, False
