"""The map as the browser gets it: positions and colours of all images as a few bytes each.

Belongs here: positions in a square, categories and their colours, the bytes. Not here: the table
(`domain.analysis.map_table`), reading what the categories are made from (`app.components.map_reader`), drawing
(`app.components.map_canvas`).
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from imgret_assets.wording import counted

GROUP, FOLDER, STATUS = COLOURINGS = ("group", "folder", "status")
# Colours that people who see no red or no green can tell apart, each with a contrast of at least 3 to 1 with the page.
PALETTES = {
    "light": ("#0040b2", "#c54e00", "#00845b", "#a84c9e", "#893f00", "#2d91d9"),
    "dark": ("#56b5f2", "#eb7e00", "#20a781", "#f0e442", "#d98bbb", "#e0492b"),
}
COLOURS = len(PALETTES["light"])
# The code of images that are in no category; it is drawn in grey.
NO_CATEGORY = 0
_MAX_CODE = 2**16 - 1
# Images with one position are moved apart by this share of the mean distance of neighbours.
_APART = 0.35
_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


@dataclass(frozen=True)
class LegendEntry:
    """A category in the legend: its code, its name and its number of images."""

    code: int
    label: str
    count: int


@dataclass(frozen=True)
class Colouring:
    """A category for every image.

    Attributes:
        name: of what the categories are: `group`, `folder` or `status`.
        codes: uint16 (n,), NO_CATEGORY or the number of a category from 1 on; a category has the colour number
            (code - 1) modulo the number of colours.
        entries: the categories that the legend names.
        more: text on the categories that it does not name; empty if there are none.
    """

    name: str
    codes: np.ndarray
    entries: Sequence[LegendEntry]
    more: str = ""


@dataclass(frozen=True)
class MapPoints:
    """All images of the map.

    Attributes:
        paths: of the images.
        positions: float32 (n, 2) in the square from 0 to 1, y downwards.
        colourings: categories to colour by.
        missing: number of images of the library that are not on the map.
        is_current: whether the map was made from the same images as the other tables.
    """

    paths: Sequence[str]
    positions: np.ndarray
    colourings: Sequence[Colouring]
    missing: int = 0
    is_current: bool = True

    @cached_property
    def version(self) -> str:
        """A hash of all that the browser gets, and of the paths."""
        digest = hashlib.sha256(self.payload)
        for path in self.paths:
            digest.update(path.encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()[:32]

    @cached_property
    def payload(self) -> bytes:
        """All x and all y as float32, then the codes of each colouring as uint16; little-endian, 14 bytes an image."""
        parts = [column.astype("<f4").tobytes() for column in self.positions.T]
        return b"".join([*parts, *(colouring.codes.astype("<u2").tobytes() for colouring in self.colourings)])

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """The number of each image by path."""
        return {path: row for row, path in enumerate(self.paths)}

    def colouring(self, name: str) -> Colouring:
        """Return the colouring of this name, or the first one if there is none."""
        return next((each for each in self.colourings if each.name == name), self.colourings[0])


def square_positions(positions: np.ndarray) -> np.ndarray:
    """Return positions in the square from 0 to 1 with their proportions; equal ones are moved apart.

    Args:
        positions: float (n, 2), of any unit.

    Returns:
        float32 (n, 2).
    """
    if not len(positions):
        return np.zeros((0, 2), np.float32)
    low, high = positions.min(axis=0).astype(np.float64), positions.max(axis=0).astype(np.float64)
    size = float((high - low).max()) or 1.0
    placed = (positions - (low + high) / 2) / size * 0.96 + 0.5
    _, first, counts = np.unique(positions, axis=0, return_inverse=True, return_counts=True)
    first = first.reshape(-1)
    # The place of each image among those with its position, in their order.
    order = np.argsort(first, kind="stable")
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.empty(len(positions), np.int64)
    rank[order] = np.arange(len(positions)) - starts
    distance = _APART / np.sqrt(len(positions)) * np.sqrt(rank)
    angle = rank * _GOLDEN_ANGLE
    return (placed + (distance * np.array([np.cos(angle), np.sin(angle)])).T).clip(0, 1).astype(np.float32)


def colour_by_group(groups: Sequence[str | None], sizes: Mapping[str, int]) -> Colouring:
    """Return the colouring by group, the largest ones first in the legend.

    Args:
        groups: name of the group of each image; None for no group.
        sizes: number of images of the groups by name.
    """
    ranked = sorted(sizes, key=lambda name: (-sizes[name], name))
    # More groups than codes begin again with the first colour.
    codes = {name: 1 + place % (_MAX_CODE - _MAX_CODE % COLOURS) for place, name in enumerate(ranked)}
    more = f"{counted(len(ranked) - COLOURS, 'further group')} in the same colours" if len(ranked) > COLOURS else ""
    return _colouring(
        GROUP,
        [NO_CATEGORY if name is None else codes[name] for name in groups],
        [*((code + 1, f"group of {name}") for code, name in enumerate(ranked[:COLOURS])), (NO_CATEGORY, "no group")],
        more,
    )


def colour_by_folder(paths: Sequence[str]) -> Colouring:
    """Return the colouring by the uppermost folder in which the images differ; small ones share one category."""
    depth = _common_depth(paths)
    folders = ["/".join(path.split("/")[:-1][: depth + 1]) for path in paths]
    named = [name for name, _ in sorted(Counter(folders).items(), key=lambda item: (-item[1], item[0]))]
    codes = {name: code for code, name in enumerate(named[:COLOURS], 1)}
    others = len(named) - COLOURS
    labels = [(code, name or "(root)") for name, code in codes.items()]
    if others > 0:
        labels.append((NO_CATEGORY, counted(others, "further folder")))
    return _colouring(FOLDER, [codes.get(name, NO_CATEGORY) for name in folders], labels)


def _common_depth(paths: Sequence[str]) -> int:
    """Return how many folders all paths begin with."""
    if not paths:
        return 0
    first, last = (path.split("/")[:-1] for path in (min(paths), max(paths)))
    equal = [a == b for a, b in zip(first, last, strict=False)]
    return equal.index(False) if False in equal else len(equal)


def colour_by_status(states: Mapping[str, str], paths: Sequence[str], names: Sequence[str], neither: str) -> Colouring:
    """Return the colouring by status.

    Args:
        states: status by path, of those that have one.
        paths: of all images.
        names: all states, in the order of the legend.
        neither: name of having none.
    """
    codes = {name: code for code, name in enumerate(names, 1)}
    labels = [*((code, name) for name, code in codes.items()), (NO_CATEGORY, neither)]
    return _colouring(STATUS, [codes[states[path]] if path in states else NO_CATEGORY for path in paths], labels)


def _colouring(name: str, codes: Sequence[int], labels: Sequence[tuple[int, str]], more: str = "") -> Colouring:
    counts = Counter(codes)
    entries = [LegendEntry(code, label, counts[code]) for code, label in labels if counts[code]]
    return Colouring(name, np.array(codes, np.uint16), entries, more)
