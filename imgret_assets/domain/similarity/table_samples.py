"""Samples of the tables for people to look at: the pairs just above the threshold and some images' neighbours.

Belongs here: which rows are shown. Not here: the tables (`domain.similarity.pairs_table`,
`domain.similarity.neighbours_table`), drawing images (`domain.images.contact_sheets`).
"""

import numpy as np
import pyarrow as pa

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.checked_parquet import CheckedParquetFile
from imgret_assets.domain.storage.home import Home

# A larger pairs table is not read for a few images.
MAX_ROWS = 5_000_000


def weakest_pairs(home: Home, space: str, count: int) -> list[tuple[str, str, float]]:
    """Return the pairs with the lowest scores, where a wrong threshold shows first.

    Returns:
        Both paths and the score of each pair, lowest score first, ties by path; nothing where the table is missing or
        has more than `MAX_ROWS` rows.

    Raises:
        TableError: the table is damaged.
    """
    path = tables.pairs_path(home.warehouse, space)
    if not path.is_file() or tables.count_rows(path) > MAX_ROWS:
        return []
    table = tables.read(path, ["path_a", "path_b", "score"])
    order = [("score", "ascending"), ("path_a", "ascending"), ("path_b", "ascending")]
    rows = table.sort_by(order).slice(0, count).to_pylist()
    return [(row["path_a"], row["path_b"], row["score"]) for row in rows]


def sample_neighbours(
    home: Home, space: str, image_count: int, neighbour_count: int
) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return the nearest neighbours of a few images, spread evenly over the table.

    Only the row groups with these images are read.

    Returns:
        Each image's path with the paths and scores of its neighbours, nearest first; nothing where the table is
        missing.

    Raises:
        TableError: the table is damaged.
    """
    path = tables.nearest_path(home.warehouse, space)
    if not path.is_file():
        return []
    # By path: in a small table several sampled rows may be of one image.
    neighbours_of: dict[str, list[tuple[str, float]]] = {}
    with tables.open_parquet(path) as file:
        group_rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        group_ends = np.cumsum(group_rows, dtype=np.int64)
        row_count = int(group_ends[-1]) if group_rows else 0
        sampled_rows = sorted({row_count * image // image_count for image in range(image_count)}) if row_count else []
        for row in sampled_rows:
            group = int(np.searchsorted(group_ends, row, side="right"))
            paths = file.read_row_group(group, columns=["path"])["path"]
            image = paths[row - int(group_ends[group]) + group_rows[group]].as_py()
            rows = _rows_of_image(file, group, image).sort_by("rank").slice(0, neighbour_count)
            neighbours_of[image] = list(zip(rows["neighbour"].to_pylist(), rows["score"].to_pylist(), strict=True))
    return list(neighbours_of.items())


def _rows_of_image(file: CheckedParquetFile, group: int, image: str) -> pa.Table:
    """Return all rows of an image that has rows in a row group; they may go on in the groups beside it."""
    columns = ["path", "rank", "neighbour", "score"]
    parts = [tables.where_equal(file.read_row_group(group, columns=columns), "path", image)]
    for beside in (range(group - 1, -1, -1), range(group + 1, file.num_row_groups)):
        for other_group in beside:
            rows = tables.where_equal(file.read_row_group(other_group, columns=columns), "path", image)
            if not len(rows):
                break
            parts.append(rows)
    return pa.concat_tables(parts)
