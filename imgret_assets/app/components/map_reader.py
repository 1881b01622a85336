"""The map of a home as the page shows it: read once, and again only after one of its tables or a decision has changed.

Belongs here: which tables the positions and the categories come from. Not here: their form
(`app.graph_chart.map_points`), drawing (`app.components.map_canvas`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from imgret_assets.app.graph_chart.map_points import (
    Colouring,
    MapPoints,
    colour_by_folder,
    colour_by_group,
    colour_by_status,
    square_positions,
)
from imgret_assets.domain.analysis.map_table import read_map
from imgret_assets.domain.duplicates.duplicate_search import EXACT, LOOK_KINDS, NEAR
from imgret_assets.domain.images.library import Library, library_stamp
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.group_list import GroupList, read_group_list
from imgret_assets.domain.review.removals import find_removals
from imgret_assets.domain.review.review_tables import read_review_tables
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import GROUPS, MAP
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImgretError, TableError

HAS_DUPLICATES, EXACT_STATE, NEAR_STATE, LOOK_STATE, NOT_NEEDED = STATES = (
    "has duplicates",
    "exact duplicate",
    "near-duplicate",
    "to look at first",
    "not needed, by a decision",
)


def read_map_points(home: Home, space: str, library: Library) -> MapPoints:
    """Return the map of a space; images that are no longer in the library are left out.

    Raises:
        TableError: the map table is missing or damaged.
    """
    files = [
        MAP.require(home.warehouse, space),
        tables.groups_path(home.warehouse, space),
        tables.duplicates_path(home.warehouse),
    ]
    stamp = (tables.stamp_of(files), library_stamp(home), _decisions_stamp(home), home.settings.protected)
    return _read(stamp, home, space, library)


def _decisions_stamp(home: Home) -> Any:
    try:
        return read_decisions(home).stamp
    except ImgretError:
        return None


@st.cache_resource(show_spinner=False, max_entries=2)
def _read(stamp: tuple[Any, ...], _home: Home, _space: str, _library: Library) -> MapPoints:
    del stamp
    table = read_map(_home, _space)
    known = set(_library.paths)
    listed = table["path"].to_pylist()
    kept = np.array([path in known for path in listed], dtype=bool)
    paths = [path for path in listed if path in known]
    positions = np.column_stack([table[name].to_numpy() for name in ("x", "y")])[kept]
    # The table's y points upwards, as in any plot.
    positions = positions * np.array([1, -1], np.float32)
    colourings = [
        _by_group(_home, _space, paths),
        colour_by_folder(paths),
        colour_by_status(read_states(_home), paths, STATES, "no duplicate known"),
    ]
    missing = len(known) - len(paths)
    return MapPoints(paths, square_positions(positions), colourings, missing, _is_current(_home, _space))


def _is_current(home: Home, space: str) -> bool:
    """Return False if the map and the groups, which a run makes together, are of different images."""
    coverages = {
        table.coverage for each in (MAP, GROUPS) if (table := each.metadata(home.warehouse, space)) is not None
    }
    return len(coverages) < 2


def _by_group(home: Home, space: str, paths: Sequence[str]) -> Colouring:
    try:
        groups = read_group_list(home, space)
    except TableError:
        groups = GroupList([], 0)
    return colour_by_group([groups.group_of(path) for path in paths], {each.name: each.size for each in groups.groups})


def read_states(home: Home) -> dict[str, str]:
    """Return the state of images by path: of those that have duplicates, are one, or are not needed by a decision.

    Empty while the duplicates table can't be read; the page Duplicates says why.
    """
    try:
        rows = tables.read(tables.duplicates_path(home.warehouse), ["path_from", "path_keep", "kind"]).to_pylist()
        return states_of(rows) | dict.fromkeys(_not_needed(home), NOT_NEEDED)
    except ImgretError:
        return {}


def states_of(rows: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the states by path that rows of the duplicates table give; a duplicate's own state comes first."""
    states: dict[str, str] = {}
    for row in rows:
        if row["kind"] in LOOK_KINDS:
            states |= {row["path_from"]: LOOK_STATE, row["path_keep"]: LOOK_STATE}
    states |= {row["path_keep"]: HAS_DUPLICATES for row in rows if row["kind"] not in LOOK_KINDS}
    for kind, state in ((NEAR, NEAR_STATE), (EXACT, EXACT_STATE)):
        states |= {row["path_from"]: state for row in rows if row["kind"] == kind}
    return states


def _not_needed(home: Home) -> list[str]:
    decisions = read_decisions(home)
    if next(decisions.in_force(), None) is None:
        return []
    review_tables = read_review_tables(home)
    return list(find_removals(review_tables.by_content, decisions, review_tables.protected_folders))
