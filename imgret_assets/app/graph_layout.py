"""Where the pictures of a graph are put: related ones close, none on top of another, all inside a box.

Belongs here: positions, as pure numbers. Not here: which pictures there are (`app.graph_payload`). ECharts' own
force layout knows neither the size of a picture nor the edge of its canvas.
"""

import math
from collections.abc import Sequence

import numpy as np

_STEPS = 150
_PUSHES = 200
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
# Of the box's longer side, a step at the beginning.
_FIRST_STEP = 0.1
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
    pull = np.zeros((count, count))
    for one, other, weight in links:
        pull[one, other] = pull[other, one] = max(pull[one, other], weight)
    # Of many links each pulls less, or a dense group would lie on one spot.
    crowd = np.sqrt(np.maximum((pull > 0).sum(axis=1), 1))
    spread = _settled(_spiral(count, space), pull / np.sqrt(crowd[:, None] * crowd[None, :]), space)
    return _pushed_apart(_filling(spread, space), sizes, space)


def _spiral(count: int, space: np.ndarray) -> np.ndarray:
    """The first in the middle, the others round it in their order."""
    turns = np.arange(count) * _GOLDEN_ANGLE
    radii = 0.5 * np.sqrt(np.arange(count) / count)
    return space * (0.5 + radii[:, None] * np.column_stack((np.cos(turns), np.sin(turns))))


def _settled(positions: np.ndarray, pull: np.ndarray, space: np.ndarray) -> np.ndarray:
    """Fruchterman and Reingold's steps: all repel each other, links pull, the steps become smaller."""
    near = math.sqrt(space.prod() / len(positions))
    for step in range(_STEPS):
        apart = positions[:, None] - positions[None, :]
        distance = np.maximum(np.linalg.norm(apart, axis=2), 1e-3)
        force = near**2 / distance**2 - pull * distance / near
        moves = (apart * force[..., None]).sum(axis=1) + _GRAVITY * (space / 2 - positions)
        length = np.maximum(np.linalg.norm(moves, axis=1, keepdims=True), 1e-9)
        longest = _FIRST_STEP * space.max() * (1 - step / _STEPS)
        positions = positions + moves / length * np.minimum(length, longest)
    return positions


def _filling(positions: np.ndarray, space: np.ndarray) -> np.ndarray:
    """The same stretched over the space; the outermost are drawn in, so that one of them doesn't squeeze the rest."""
    drawn = np.tanh((positions - positions.mean(axis=0)) / np.maximum(positions.std(axis=0), 1e-9) / _REACH)
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    return (drawn - low) / np.maximum(high - low, 1e-9) * space


def _pushed_apart(positions: np.ndarray, sizes: np.ndarray, space: np.ndarray) -> np.ndarray:
    """The same with overlapping boxes moved away from each other, along the axis where they overlap less."""
    needed = (sizes[:, None] + sizes[None, :]) / 2
    order = np.sign(np.arange(len(sizes))[:, None] - np.arange(len(sizes))[None, :]).astype(np.float64)
    for _ in range(_PUSHES):
        apart = positions[:, None] - positions[None, :]
        overlap = needed - np.abs(apart)
        touching = (overlap > 0).all(axis=2) & (order != 0)
        if not touching.any():
            break
        sideways = (overlap[..., 0] <= overlap[..., 1])[..., None] == np.array([True, False])
        direction = np.where(apart == 0, order[..., None], np.sign(apart))
        pushes = np.where(touching[..., None] & sideways, direction * (overlap / 2 + 0.5), 0.0)
        positions = np.clip(positions + pushes.sum(axis=1) * 0.6, 0.0, space)
    return positions
