"""Filters by folder, date and camera on the tables, for searches that don't ask the database which images may be hits.

Belongs here: reading which images match. Not here: the same filters in Cypher (`domain.graph.cypher.FILTERS`), where
the columns come from (`domain.images.exif_facts`).
"""

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.search.query import Query
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home

# How each filter of `Query.filters` compares a column of the manifest.
_FILTERS = (
    ("equal", "label", "label"),
    ("starts_with", "path", "folder"),
    ("greater_equal", "taken", "since"),
    ("less_equal", "taken", "until"),
    ("equal", "camera", "camera"),
)


def paths_of_shots(home: Home, query: Query) -> set[str]:
    """Return the paths of the manifest that match the query's dates and its camera; a null matches no filter.

    Raises:
        TableError: a manifest is damaged.
    """
    anywhere = replace(query, label=None, folder=None)
    return {path for shard in home.shards for path in matching_paths(home, shard, anywhere).to_pylist()}


def matching_paths(home: Home, shard: str, query: Query) -> pa.ChunkedArray:
    """Return the paths of one shard's manifest that match all filters of a query; a null matches no filter.

    Raises:
        TableError: the manifest is damaged.
    """
    filters = query.filters
    columns = dict.fromkeys(["path", *(column for _, column, _ in _FILTERS)])
    table = tables.read(tables.manifest_path(home.warehouse, shard), list(columns))
    for compare, column, name in _FILTERS:
        if filters[name] is not None:
            table = _matching(table, compare, column, filters[name])
    return table["path"]


def _matching(table: pa.Table, compare: str, column: str, value: object) -> pa.Table:
    if column not in table.column_names:
        # The manifest of an earlier version.
        return table.slice(0, 0)
    if compare == "starts_with":
        return table.filter(pc.call_function(compare, [table[column]], pc.MatchSubstringOptions(str(value))))
    stored, expected = table[column], pa.scalar(value, table.schema.field(column).type)
    if column == "camera":
        stored, expected = (pc.call_function("utf8_lower", [each]) for each in (stored, expected))
    return table.filter(pc.call_function(compare, [stored, expected]))
