"""When a search is approximate, with how many cells, and when an approximate table is made again.

Belongs here: these rules, which pairs and neighbours share. Not here: the cells
(`domain.similarity.approximate.cells`), the searches.
"""

import math
from dataclasses import dataclass

from imgret_assets.domain.storage.table_metadata import ComparedMetadata
from imgret_assets.settings import Settings

# Value of IMGRET_PAIR_SEARCH.
APPROXIMATE = "approximate"
# Stored in the metadata of a table: another text makes the next run search all rows again.
METHOD = "k-means cells by FAISS 1"
# Of fewer images the exact search takes about as long as finding the cells.
LEAST_ROWS = 200_000
# Times the square root of the number of rows: more cells would need more probes for the same recall.
_CELLS = 2
# Cells are numbered by two bytes.
_MOST_CELLS = 65_535
# New rows are compared exactly with all rows as long as that takes at most so many times the pairs of an approximate
# search of all rows.
_EXACT_WORK = 4


@dataclass(frozen=True)
class CellOptions:
    """How an approximate search is done.

    Attributes:
        probes: number of cells that each row visits, the one in which it lives included.
        cells: number of cells; None for as many as suit the number of rows.
    """

    probes: int
    cells: int | None = None

    def cell_count(self, row_count: int) -> int:
        """Return the number of cells of a search of so many rows."""
        fitting = self.cells or round(_CELLS * math.sqrt(row_count))
        return max(1, min(fitting, row_count, _MOST_CELLS))


def is_approximate(algorithm: str, row_count: int) -> bool:
    """Return whether a comparison of all rows is approximate, by the value of IMGRET_PAIR_SEARCH."""
    return algorithm == APPROXIMATE and row_count >= LEAST_ROWS


def answers_settings(settings: Settings, current: ComparedMetadata, row_count: int) -> bool:
    """Return whether a table of the present embeddings is one that these settings allow; an exact one always is."""
    return reason_to_search_all(settings, current, row_count, 0) is None


def reason_to_search_all(settings: Settings, earlier: ComparedMetadata, row_count: int, due_count: int) -> str | None:
    """Return why an earlier table can't be completed by exact comparisons of some rows; None where it can.

    A table that is exact stays exact this way, whatever the setting.

    Args:
        settings: the present settings.
        earlier: metadata of the earlier table.
        row_count: number of rows.
        due_count: number of rows that would be compared exactly with all.
    """
    wanted = is_approximate(settings.pair_search, row_count)
    if not earlier.exact:
        if not wanted:
            return "the earlier table is approximate"
        if (earlier.method, earlier.probes) != (METHOD, settings.probes):
            return f"the earlier table was made by {earlier.method} with {earlier.probes} probes"
    if not wanted:
        return None
    share = settings.probes / CellOptions(settings.probes).cell_count(row_count)
    if due_count > _EXACT_WORK * share * row_count:
        return f"{due_count:,} images would be compared exactly with all {row_count:,}"
    return None
