"""Pairs to look at: those just above the threshold, where a wrong threshold shows first, and some images' nearest.

Belongs here: picking some of the tables. Not here: the tables (`domain.similarity.pairs_table`,
`domain.similarity.neighbours_table`), drawing (`domain.images.contact_sheets`).
"""

import numpy as np
import pyarrow.parquet as pq

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home

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


def some_neighbours(home: Home, space: str, images: int, shown: int) -> list[tuple[str, list[tuple[str, float]]]]:
    """The nearest of a few images, spread evenly over the table: an image's path, and paths and scores, nearest first.

    Nothing where the table is missing. Of a large table only the row groups of these images are read.

    Raises:
        TableError: the table is damaged.
    """
    path = tables.nearest_path(home.warehouse, space)
    if not path.is_file():
        return []
    found: list[tuple[str, list[tuple[str, float]]]] = []
    with tables.open_parquet(path) as file:
        groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        ends = np.cumsum(groups, dtype=np.int64)
        every = int(ends[-1]) if groups else 0
        wanted = sorted({every * image // images for image in range(images)}) if every else []
        for row in wanted:
            number = int(np.searchsorted(ends, row, side="right"))
            names = file.read_row_group(number, columns=["path"])["path"]
            image = names[row - int(ends[number]) + groups[number]].as_py()
            # By name, because an image's rows may lie in two groups.
            its = pq.read_table(path, columns=["rank", "neighbour", "score"], filters=[("path", "=", image)])
            its = its.sort_by("rank").slice(0, shown)
            found.append((image, list(zip(its["neighbour"].to_pylist(), its["score"].to_pylist(), strict=True))))
    # Of few images several rows may have been met.
    return list(dict(found).items())
