"""The map's points: positions in a square, categories and their colours, the bytes for the browser."""

from itertools import combinations

import numpy as np
import pytest

from imgret_assets.app.components import map_reader
from imgret_assets.app.components.map_canvas import chosen_rows, picked_row
from imgret_assets.app.graph_chart.map_points import (
    COLOURS,
    NO_CATEGORY,
    PALETTES,
    Colouring,
    MapPoints,
    colour_by_folder,
    colour_by_group,
    colour_by_status,
    square_positions,
)


def points_of(paths: list[str]) -> MapPoints:
    positions = np.linspace(0, 1, 2 * len(paths), dtype=np.float32).reshape(-1, 2)
    return MapPoints(paths, positions, [colour_by_folder(paths), colour_by_status({}, paths, ["a"], "none")])


def labels(colouring: Colouring) -> dict[str, tuple[int, int]]:
    return {entry.label: (entry.code, entry.count) for entry in colouring.entries}


def test_positions_keep_their_proportions_in_the_square() -> None:
    placed = square_positions(np.array([[-30, 0], [10, 0], [-10, 8]], np.float32))
    assert placed.dtype == np.float32
    assert placed.min() >= 0
    assert placed.max() <= 1
    across = placed[1, 0] - placed[0, 0]
    assert across == pytest.approx(0.96)
    assert placed[2, 1] - placed[0, 1] == pytest.approx(across * 8 / 40)
    # The middle of both axes.
    assert placed[0, 0] + placed[1, 0] == pytest.approx(1)
    assert placed[0, 1] + placed[2, 1] == pytest.approx(1)


def test_images_with_one_position_lie_apart_and_near() -> None:
    grid = np.stack(np.meshgrid(np.arange(10), np.arange(10)), axis=-1).reshape(-1, 2).astype(np.float32)
    placed = square_positions(np.vstack([grid, grid[:1], grid[:1], grid[5:6]]))
    assert len(np.unique(placed, axis=0)) == 103
    alone = square_positions(grid)
    np.testing.assert_allclose(placed[:100], alone, atol=1e-6)
    between = alone[1, 0] - alone[0, 0]
    for added, origin in ((100, 0), (101, 0), (102, 5)):
        assert 0 < np.linalg.norm(placed[added] - placed[origin]) < between


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_or_equal_positions_are_a_map_too(count: int) -> None:
    placed = square_positions(np.full((count, 2), 7, np.float32))
    assert placed.shape == (count, 2)
    assert np.isfinite(placed).all()
    assert len(np.unique(placed, axis=0)) == count


def test_the_largest_groups_come_first_and_images_without_one_are_grey() -> None:
    sizes = {f"g{number}": 10 - number for number in range(COLOURS + 2)}
    names = [name for name, size in sizes.items() for _ in range(size)]
    colouring = colour_by_group([*names, None, None], sizes)
    assert colouring.codes.dtype == np.uint16
    assert colouring.codes[0] == 1
    assert colouring.codes[-1] == NO_CATEGORY
    assert labels(colouring)["group of g0"] == (1, 10)
    assert labels(colouring)["no group"] == (NO_CATEGORY, 2)
    assert len(colouring.entries) == COLOURS + 1
    assert colouring.more == "2 further groups in the same colours"
    # A group that the legend does not name has the colour of another one, not that of no group.
    assert colouring.codes[len(names) - 1] == COLOURS + 2


def test_more_groups_than_codes_never_look_like_no_group() -> None:
    sizes = {f"{number:06d}": 2 for number in range(70_000)}
    codes = colour_by_group(list(sizes), sizes).codes.astype(int)
    assert codes.min() == 1
    # Neighbours in the order differ in colour, also where the codes begin again.
    assert (np.diff((codes - 1) % COLOURS) != 0).all()


def test_folders_are_those_in_which_the_images_differ() -> None:
    paths = ["all/2020/spring/a.png", "all/2020/b.png", "all/2021/c.png", "all/2021/x/d.png", "all/2021/e.png"]
    colouring = colour_by_folder(paths)
    assert labels(colouring) == {"all/2021": (1, 3), "all/2020": (2, 2)}
    assert colouring.codes.tolist() == [2, 2, 1, 1, 1]


def test_folders_beyond_the_colours_share_the_grey() -> None:
    paths = [f"{folder}/{number}.png" for folder in range(COLOURS + 3) for number in range(20 - folder)]
    found = labels(colour_by_folder(paths))
    assert found["3 further folders"][0] == NO_CATEGORY
    assert sum(count for _, count in found.values()) == len(paths)
    assert labels(colour_by_folder(["a.png", "b/c.png", "d.png"])) == {"(root)": (1, 2), "b": (2, 1)}
    assert labels(colour_by_folder([])) == {}


def test_states_come_from_duplicates_and_an_images_own_state_first() -> None:
    rows = [
        {"path_from": "b", "path_keep": "a", "kind": "exact"},
        {"path_from": "c", "path_keep": "a", "kind": "near"},
        {"path_from": "d", "path_keep": "c", "kind": "look_first"},
        {"path_from": "e", "path_keep": "f", "kind": "mirrored"},
    ]
    states = map_reader.states_of(rows)
    assert states == {
        "a": map_reader.HAS_DUPLICATES,
        "b": map_reader.EXACT_STATE,
        "c": map_reader.NEAR_STATE,
        "d": map_reader.LOOK_STATE,
        "e": map_reader.LOOK_STATE,
        "f": map_reader.LOOK_STATE,
    }
    colouring = colour_by_status(states, ["a", "b", "x"], map_reader.STATES, "none")
    assert labels(colouring) == {
        map_reader.HAS_DUPLICATES: (1, 1),
        map_reader.EXACT_STATE: (2, 1),
        "none": (NO_CATEGORY, 1),
    }
    assert len(map_reader.STATES) <= COLOURS


def test_the_bytes_hold_positions_and_codes() -> None:
    points = points_of(["a/1.png", "a/2.png", "b/3.png"])
    assert len(points.payload) == 3 * (4 + 4 + 2 * len(points.colourings))
    np.testing.assert_array_equal(np.frombuffer(points.payload, "<f4", 3), points.positions[:, 0])
    np.testing.assert_array_equal(np.frombuffer(points.payload, "<f4", 3, 12), points.positions[:, 1])
    assert np.frombuffer(points.payload, "<u2", 3, 24).tolist() == [1, 1, 2]
    assert points.version != points_of(["a/1.png", "a/2.png", "b/4.png"]).version
    assert points.version == points_of(["a/1.png", "a/2.png", "b/3.png"]).version


def test_a_hundred_thousand_images_take_few_bytes() -> None:
    count = 100_000
    codes = np.zeros(count, np.uint16)
    colourings = [Colouring(name, codes, []) for name in ("group", "folder", "status")]
    points = MapPoints([], np.zeros((count, 2), np.float32), colourings)
    assert len(points.payload) == 1_400_000


def test_an_event_of_another_map_or_beyond_its_images_is_nothing() -> None:
    points = points_of(["a", "b", "c"])
    version = points.version
    assert picked_row({"version": version, "row": 2}, points) == 2
    for event in (None, {}, {"version": "old", "row": 1}, *({"version": version, "row": row} for row in (-1, 3, "1"))):
        assert picked_row(event, points) is None
    # Two images, one of them twice, and one that there is not: little-endian numbers of four bytes.
    rows = chosen_rows({"version": version, "rows": "AgAAAAAAAAACAAAACQAAAA=="}, points)
    assert rows is not None
    assert rows.tolist() == [0, 2]
    for event in (
        None,
        {"version": "old", "rows": ""},
        {"version": version, "rows": "??"},
        {"version": version, "rows": "AA=="},
    ):
        assert chosen_rows(event, points) is None


# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
NO_RED = np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]])
NO_GREEN = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]])
NO_BLUE = np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]])
GROUNDS = {"light": "#ffffff", "dark": "#0e1117"}


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


# Ottosson (2020): linear RGB to the eye's three cones, and their cube roots to lightness and two colour axes.
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(rgb: np.ndarray) -> np.ndarray:
    return TO_OKLAB @ np.cbrt(TO_CONES @ rgb.clip(0, 1))


@pytest.mark.parametrize("theme", sorted(PALETTES))
def test_colours_differ_for_everyone_and_from_the_page(theme: str) -> None:
    ground = luminance(GROUNDS[theme])
    for colour in PALETTES[theme]:
        contrast = (max(luminance(colour), ground) + 0.05) / (min(luminance(colour), ground) + 0.05)
        assert contrast >= 3, colour
    for sight in (np.eye(3), NO_RED, NO_GREEN, NO_BLUE):
        for one, other in combinations(PALETTES[theme], 2):
            difference = np.linalg.norm(oklab(sight @ linear(one)) - oklab(sight @ linear(other)))
            assert difference > 0.08, (one, other, sight[0, 0])
