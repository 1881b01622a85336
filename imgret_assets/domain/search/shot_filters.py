"""Filters by date and camera on the tables, for modes that don't ask the database which images may be hits.

Belongs here: reading which images match. Not here: the same filters in Cypher (`domain.graph.cypher.FILTERS`), where
the columns come from (`domain.images.exif_facts`).
"""

import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.search.query import Query
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home


def paths_of_shots(home: Home, query: Query) -> set[str]:
    """Return the paths of the manifest that match the query's dates and its camera; a null matches no filter.

    Raises:
        TableError: a manifest is damaged.
    """
    filters = query.filters
    conditions = [
        (compare, column, filters[name])
        for compare, column, name in (
            ("greater_equal", "taken", "since"),
            ("less_equal", "taken", "until"),
            ("equal", "camera", "camera"),
        )
        if filters[name] is not None
    ]
    found: set[str] = set()
    for shard in home.shards:
        table = tables.read(tables.manifest_path(home.warehouse, shard), ["path", "taken", "camera"])
        for compare, column, value in conditions:
            table = _matching(table, compare, column, value)
        found.update(table["path"].to_pylist())
    return found


def _matching(table: pa.Table, compare: str, column: str, value: object) -> pa.Table:
    if column not in table.column_names:
        # The manifest of an earlier version.
        return table.slice(0, 0)
    stored, expected = table[column], pa.scalar(value, table.schema.field(column).type)
    if isinstance(value, str):
        stored, expected = (pc.call_function("utf8_lower", [each]) for each in (stored, expected))
    return table.filter(pc.call_function(compare, [stored, expected]))
