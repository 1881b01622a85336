"""How much there is after a run.

Belongs here: counting tables and graph. Not here: whether they are right (`domain.graph.consistency`).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from imgret_assets.domain.embeddings.table_reader import read_shard
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home


@dataclass(frozen=True)
class Totals:
    """Counts after a run: `images` are manifest rows, `embedded` forward passes in this run, the rest totals."""

    images: int
    usable: int
    embedded: int
    nodes: int
    pairs: int
    relationships: int
    model: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """As `imgret run --json` prints it."""
        return {**self.__dict__, "seconds": round(self.seconds, 2)}

    @property
    def summary(self) -> str:
        """A line for people."""
        return (
            f"{self.images:,} images ({self.usable:,} usable, {self.embedded:,} embedded now), {self.nodes:,} nodes, "
            f"{self.relationships:,} relationships in {self.model}, {self.seconds:.1f} s"
        )


def totals(home: Home, database: Database, space: str, *, embedded: int, seconds: float) -> Totals:
    """Count what the tables and the graph hold."""
    images = 0
    statuses: Counter[str] = Counter()
    for shard in home.shards:
        images += tables.read(tables.manifest_path(home.warehouse, shard), ["path"]).num_rows
        statuses.update(read_shard(home, space, shard, ["status"])["status"].to_pylist())
    return Totals(
        images=images,
        usable=statuses[Status.OK],
        embedded=embedded,
        nodes=database.rows(cypher.COUNT_IMAGES)[0]["nodes"],
        pairs=tables.read(tables.pairs_path(home.warehouse, space), ["score"]).num_rows,
        relationships=database.rows(cypher.COUNT_SIMILAR_TO)[0]["relationships"],
        model=space,
        seconds=seconds,
    )
