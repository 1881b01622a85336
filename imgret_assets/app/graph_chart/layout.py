"""Where the pictures of a graph are put: related ones close, none on top of another, all inside a box.

Belongs here: positions, as pure numbers. Not here: which pictures there are (`app.graph_chart.echarts_options`).
ECharts' own force layout knows neither the size of a picture nor the edge of its canvas.
"""

import math
from collections.abc import Sequence

import numpy as np

_STEPS = 100
_ROUNDS, _PUSHES = 12, 10
# Pairs of boxes within so many pixels are pushed on in one round.
_CLOSE = 24.0
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
# Of the box's longer side, a step at the beginning.
_FIRST_STEP = 0.1
# In pixels; what lies closer repels no more than this.
_CLOSEST = 0.5
_GRAVITY = 0.03
# Standard deviations up to which positions are hardly drawn in.
_REACH = 1.4


def lay_out(sizes: np.ndarray, links: Sequence[tuple[int, int, float]], *, box: tuple[float, float]) -> np.ndarray:
    """Positions of boxes that are joined by links; the same for the same input.

    Args:
        sizes: float64 (n, 2), width and height of each box, more than 0.
        links: two rows of `sizes` and how strongly they pull, 0 to 1.
        box: width and height of the space for the centres.

    Returns:
        float64 (n, 2), centres in [0, width] x [0, height]; no two boxes overlap where there is room enough.
    """
    count = len(sizes)
    space = np.array(box, dtype=np.float64)
    if count < 2:
        return np.tile(space / 2, (count, 1))
    spread = _settled(_spiral(count, space), *_pulls(count, links), space)
    return _pushed_apart(_filling(spread, space), sizes, space)


def _pulls(count: int, links: Sequence[tuple[int, int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of joined boxes once, int64 (m, 2), and how strongly it pulls, float64 (m,)."""
    strongest: dict[tuple[int, int], float] = {}
    for one, other, weight in links:
        pair = (min(one, other), max(one, other))
        strongest[pair] = max(strongest.get(pair, 0.0), weight)
    pairs = np.array(list(strongest), dtype=np.int64).reshape(-1, 2)
    # Of many links each pulls less, or a dense group would lie on one spot.
    crowd = np.sqrt(np.maximum(np.bincount(pairs.ravel(), minlength=count), 1))
    return pairs, np.array(list(strongest.values())) / np.sqrt(crowd[pairs[:, 0]] * crowd[pairs[:, 1]])


def _spiral(count: int, space: np.ndarray) -> np.ndarray:
    """The first in the middle, the others round it in their order."""
    turns = np.arange(count) * _GOLDEN_ANGLE
    radii = 0.5 * np.sqrt(np.arange(count) / count)
    return space * (0.5 + radii[:, None] * np.column_stack((np.cos(turns), np.sin(turns))))


def _settled(positions: np.ndarray, pairs: np.ndarray, pull: np.ndarray, space: np.ndarray) -> np.ndarray:
    """Fruchterman and Reingold's steps: all repel each other, links pull, the steps become smaller."""
    near = math.sqrt(space.prod() / len(positions))
    one, other = pairs.T
    # Round the middle, so that squares are small and their differences exact.
    positions = positions - space / 2
    force = np.empty((len(positions), len(positions)))
    for step in range(_STEPS):
        squares = (positions**2).sum(axis=1)
        np.matmul(-2 * positions, positions.T, out=force)
        force += squares[:, None]
        force += squares[None, :]
        np.maximum(force, _CLOSEST**2, out=force)
        np.divide(near**2, force, out=force)
        np.fill_diagonal(force, 0.0)
        # The sum of force * (own place - other's place), without an array of all differences.
        moves = force.sum(axis=1)[:, None] * positions - force @ positions - _GRAVITY * positions
        drawn = positions[one] - positions[other]
        drawn *= (pull * np.linalg.norm(drawn, axis=1) / near)[:, None]
        moves += _summed(other, drawn, len(positions)) - _summed(one, drawn, len(positions))
        length = np.maximum(np.linalg.norm(moves, axis=1, keepdims=True), 1e-9)
        longest = _FIRST_STEP * space.max() * (1 - step / _STEPS)
        positions = positions + moves / length * np.minimum(length, longest)
    return positions


def _summed(rows: np.ndarray, moves: np.ndarray, count: int) -> np.ndarray:
    """Sums of moves, float64 (m, 2), by the row they belong to: float64 (count, 2)."""
    return np.column_stack([np.bincount(rows, weights=moves[:, axis], minlength=count) for axis in (0, 1)])


def _filling(positions: np.ndarray, space: np.ndarray) -> np.ndarray:
    """The same stretched over the space; the outermost are drawn in, so that one of them doesn't squeeze the rest."""
    drawn = np.tanh((positions - positions.mean(axis=0)) / np.maximum(positions.std(axis=0), 1e-9) / _REACH)
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    return (drawn - low) / np.maximum(high - low, 1e-9) * space


def _pushed_apart(positions: np.ndarray, sizes: np.ndarray, space: np.ndarray) -> np.ndarray:
    """The same with overlapping boxes moved away from each other, along the axis where they overlap less."""
    wide, tall = ((sizes[:, None, axis] + sizes[None, :, axis]) / 2 for axis in (0, 1))
    first = np.triu(np.ones((len(sizes), len(sizes)), bool), 1)
    for _ in range(_ROUNDS):
        # Only what lies close is looked at again and again: all pairs are many.
        x, y = positions.T
        close = (np.abs(x[:, None] - x) < wide + _CLOSE) & (np.abs(y[:, None] - y) < tall + _CLOSE) & first
        one, other = np.nonzero(close)
        needed = np.column_stack((wide[one, other], tall[one, other]))
        positions, done = _pushed(positions, one, other, needed, space)
        if done:
            break
    return positions


def _pushed(
    positions: np.ndarray, one: np.ndarray, other: np.ndarray, needed: np.ndarray, space: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Some pushes between pairs of boxes that need to be so far apart, and whether none was necessary."""
    for turn in range(_PUSHES):
        apart = positions[one] - positions[other]
        overlap = needed - np.abs(apart)
        touching = (overlap[:, :1] > 0) & (overlap[:, 1:] > 0)
        if not touching.any():
            return positions, turn == 0
        across = overlap[:, :1] <= overlap[:, 1:]
        sideways = np.hstack((across, ~across))
        direction = np.where(apart == 0, -1.0, np.sign(apart))
        pushes = np.where(sideways & touching, direction * (overlap / 2 + 0.5), 0.0) * 0.6
        moves = _summed(one, pushes, len(positions)) - _summed(other, pushes, len(positions))
        positions = np.clip(positions + moves, 0.0, space)
    return positions, False
