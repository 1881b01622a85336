"""The totals of tables and graph after a run.

Belongs here: counting them. Not here: whether they are consistent (`domain.graph.consistency`).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from imgret_assets.domain.embeddings.table_reader import read_shard
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.wording import counted


@dataclass(frozen=True)
class Totals:
    """Counts after a run.

    Attributes:
        images: rows of the manifest; a camera raw file beside the JPEG of the same shot is no further image.
        usable: images that have a vector.
        embedded: images that this run embedded.
        nodes: nodes of the graph; None if the run was one of the tables alone.
        pairs: rows of the pairs table.
        relationships: SIMILAR_TO relationships of the graph; None likewise.
        model: the embedding space.
        seconds: duration of the run.
    """

    images: int
    usable: int
    embedded: int
    nodes: int | None
    pairs: int
    relationships: int | None
    model: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the document that `imgret run --json` prints."""
        return {**self.__dict__, "seconds": round(self.seconds, 2)}

    @property
    def summary(self) -> str:
        """The totals in one line."""
        if self.nodes is None or self.relationships is None:
            result = f"{counted(self.pairs, 'pair')} in the tables alone"
        else:
            result = f"{counted(self.nodes, 'node')}, {counted(self.relationships, 'relationship')}"
        return (
            f"{counted(self.images, 'image')} ({self.usable:,} usable, {self.embedded:,} embedded now), "
            f"{result} in {self.model}, {self.seconds:.1f} s"
        )


def count_totals(home: Home, database: Database | None, space: str, *, embedded: int, seconds: float) -> Totals:
    """Count the contents of tables and graph.

    Args:
        home: the home.
        database: its graph; None after a run of the tables alone.
        space: id of the embedding space.
        embedded: images that this run embedded.
        seconds: duration of the run.
    """
    images = 0
    statuses: Counter[str] = Counter()
    for shard in home.shards:
        listed = Counter(tables.read(tables.manifest_path(home.warehouse, shard), ["status"])["status"].to_pylist())
        images += listed.total() - listed[Status.RAW_OF_IMAGE]
        statuses.update(read_shard(home, space, shard, ["status"])["status"].to_pylist())
    return Totals(
        images=images,
        usable=statuses[Status.OK],
        embedded=embedded,
        nodes=None if database is None else database.rows(cypher.COUNT_IMAGES)[0]["nodes"],
        pairs=tables.read(tables.pairs_path(home.warehouse, space), ["score"]).num_rows,
        relationships=None if database is None else database.rows(cypher.COUNT_SIMILAR_TO)[0]["relationships"],
        model=space,
        seconds=seconds,
    )
