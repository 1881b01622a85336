"""Pairs to look at: those just above the threshold, where a wrong threshold shows first.

Belongs here: picking some of the table. Not here: the table (`domain.pairs`), drawing (`domain.sheet`).
"""

from imgret_assets.domain import tables
from imgret_assets.domain.home import Home

# A larger table is not read for a few pictures.
MOST_ROWS = 5_000_000


def weakest_pairs(home: Home, space: str, count: int) -> list[tuple[str, str, float]]:
    """The pairs with the lowest scores: both paths and the score, lowest first, ties by path.

    Nothing where the table is missing or has more than five million rows.

    Raises:
        TableError: the table is damaged.
    """
    path = tables.pairs_path(home.warehouse, space)
    if not path.is_file() or tables.count_rows(path) > MOST_ROWS:
        return []
    table = tables.read(path, ["path_a", "path_b", "score"])
    order = [("score", "ascending"), ("path_a", "ascending"), ("path_b", "ascending")]
    rows = table.sort_by(order).slice(0, count).to_pylist()
    return [(row["path_a"], row["path_b"], row["score"]) for row in rows]
