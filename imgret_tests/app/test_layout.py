"""Positions of images in a chart: inside the box, not overlapping, related ones close, known ones unchanged."""

import random

import numpy as np
import pytest

from imgret_assets.app.graph_chart.layout import lay_out

BOX = (880.0, 800.0)


def overlap(positions: np.ndarray, sizes: np.ndarray) -> float:
    """Return the largest area that two boxes share, as a share of the first box."""
    depth = (sizes[:, None] + sizes[None, :]) / 2 - np.abs(positions[:, None] - positions[None, :])
    np.fill_diagonal(depth[..., 0], -1)
    return float(np.clip(depth, 0, None).prod(axis=2).max() / sizes[0].prod())


def links_of(kind: str, count: int) -> list[tuple[int, int, float]]:
    generator = random.Random(7)  # noqa: S311 - the same links every time
    links = {
        "star": [(0, row, 0.9) for row in range(1, count)],
        "clique": [(row, other_row, 0.9) for row in range(count) for other_row in range(row)],
        "random": [
            (generator.randrange(count), generator.randrange(count), generator.random()) for _ in range(3 * count)
        ],
        "none": [],
    }[kind]
    return [(row, other_row, weight) for row, other_row, weight in links if row != other_row]


@pytest.mark.parametrize("count", [2, 3, 13, 60, 150])
@pytest.mark.parametrize("kind", ["star", "clique", "random", "none"])
def test_no_two_boxes_overlap(count: int, kind: str) -> None:
    sizes = np.full((count, 2), (70.0, 60.0)) * min(1.0, (20 / count) ** 0.5)
    positions = lay_out(sizes, links_of(kind, count), box=(880, 485 if count < 60 else 800))
    assert np.isfinite(positions).all()
    assert (positions >= 0).all()
    assert (positions <= BOX).all()
    assert overlap(positions, sizes) <= 0.05


def test_a_group_apart_from_all_others_is_not_squeezed_into_a_line() -> None:
    # Two dense groups without a link between them, as many images as a chart shows.
    cliques = [(start + row, start + other, 0.9) for start, size in ((0, 270), (270, 30)) for row in range(size)
               for other in range(max(0, row - 6), row)]  # fmt: skip
    sizes = np.full((300, 2), (45.0, 36.0))
    positions = lay_out(sizes, cliques, box=(880, 1105))
    width, height = np.ptp(positions[270:], axis=0)
    assert min(width, height) >= 90
    # Rounding errors of a processor move every box: .48 to .51.
    assert overlap(positions, sizes) <= 0.55


@pytest.mark.parametrize("count", [0, 1])
def test_no_box_and_one_box_are_laid_out(count: int) -> None:
    assert lay_out(np.full((count, 2), 50.0), [], box=(100, 60)).tolist() == [[50.0, 30.0]] * count


def test_linked_boxes_are_closer() -> None:
    sizes = np.full((12, 2), 10.0)
    links = [(0, 1, 1.0), *((0, row, 0.05) for row in range(2, 12))]
    positions = lay_out(sizes, links, box=(800, 600))
    distances = np.linalg.norm(positions - positions[0], axis=1)
    assert distances[1] == distances[1:].min()


def test_the_same_arguments_give_the_same_positions() -> None:
    sizes, links = np.full((60, 2), 30.0), links_of("random", 60)
    np.testing.assert_array_equal(lay_out(sizes, links, box=BOX), lay_out(sizes, links, box=BOX))


def kept_order(before: np.ndarray, after: np.ndarray) -> float:
    """Return the share of pairs that are on the same side of each other as before, over both axes."""
    pairs = np.triu_indices(len(before), 1)
    signs = [np.sign(positions[:, None] - positions[None, :])[pairs] for positions in (before, after)]
    return float((signs[0] == signs[1]).mean())


@pytest.mark.parametrize("kind", ["star", "clique", "random"])
def test_known_boxes_keep_their_arrangement_and_make_room_for_new_ones(kind: str) -> None:
    few, many = 13, 40
    links = links_of(kind, few)
    before = lay_out(np.full((few, 2), 60.0), links, box=BOX)
    sizes, known = np.full((many, 2), 40.0), dict(enumerate(map(tuple, before.tolist())))
    # All new boxes are linked to one of the known boxes, as if this image was expanded.
    after = lay_out(sizes, [*links, *((5, row, 0.9) for row in range(few, many))], box=BOX, known=known)
    # Without the known positions 0.54 to 0.81.
    assert kept_order(before, after[:few]) >= 0.85
    assert (after >= 0).all()
    assert (after <= BOX).all()
    assert overlap(after, sizes) <= 0.05


def test_known_boxes_stay_if_others_go() -> None:
    sizes = np.full((40, 2), 40.0)
    before = lay_out(sizes, links_of("random", 40), box=BOX)
    known = dict(enumerate(map(tuple, before[:13].tolist())))
    np.testing.assert_array_equal(lay_out(sizes[:13], [], box=BOX, known=known), before[:13])
