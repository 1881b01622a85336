"""The models and embedding spaces of a home: their tables, whether their weights are present, and measured speeds.

Belongs here: reading what exists, and the note of measured speeds. Not here: resolving a model to a space
(`domain.models.registry`), writing tables (`domain.embeddings.embeddings_table`), removing them
(`domain.operations.cleanup`), switching the graph to another space (`domain.graph.image_nodes`). Nothing here imports
torch.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgret_assets.domain.models import embedding_space
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.registry import NAMED_MODELS, weights_state
from imgret_assets.domain.models.resolution import has_text_tower, space_of_last_run
from imgret_assets.domain.models.space_records import recorded_spaces
from imgret_assets.domain.storage import atomic_files, tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError
from imgret_assets.settings import DEFAULT_MODEL


@dataclass(frozen=True)
class SpaceTables:
    """The tables of one embedding space.

    Attributes:
        space: the embedding space.
        shards: number of shards that have an intact embeddings table.
        rows: number of rows of these tables.
        pairs: number of pairs; None where there is no pairs table.
        damaged: number of embeddings tables that can't be read.
    """

    space: EmbeddingSpace
    shards: int
    rows: int
    pairs: int | None
    damaged: int


@dataclass(frozen=True)
class KnownModel:
    """A model, in one of its embedding spaces where the home has used it.

    Attributes:
        name: the model's name.
        dim: dimension of its vectors.
        size: height and width of its input in pixels.
        decoding, pooling: of the space; None where the home has not used the model.
        space: id of the space; None where the home has not used the model.
        asks_by_text: whether its images can be asked by text.
        weights: `here`, `missing`, or `at the hub`: not on this machine, and downloaded when the model is used.
        tables: tables of the space; None where there are none.
        in_graph: whether the home's last run was in this space, so that the graph is expected to be in it.
        speeds: images per second by engine, as measured on this machine.
    """

    name: str
    dim: int
    size: tuple[int, int]
    decoding: str | None
    pooling: str | None
    space: str | None
    asks_by_text: bool
    weights: str
    tables: SpaceTables | None
    in_graph: bool
    speeds: dict[str, float]

    @property
    def exact_only(self) -> bool:
        """Whether the vectors have too many dimensions for Neo4j's vector index."""
        return self.dim > embedding_space.MAX_INDEXED_DIM

    def as_json(self) -> dict[str, Any]:
        """Return the document that `imgret models --json` prints."""
        document = {
            key: getattr(self, key)
            for key in (
                "name",
                "space",
                "dim",
                "size",
                "decoding",
                "pooling",
                "asks_by_text",
                "weights",
                "in_graph",
                "exact_only",
            )
        }
        counts = None
        if self.tables:
            counts = {"shards": self.tables.shards, "rows": self.tables.rows, "pairs": self.tables.pairs}
        return document | {"tables": counts, "images_per_second": self.speeds}


def exact_only_notice(space: EmbeddingSpace) -> str | None:
    """Return a notice for a run in a space that Neo4j can't index; None for any other space."""
    if space.dim <= embedding_space.MAX_INDEXED_DIM:
        return None
    return (
        f"{space.model} has vectors of {space.dim:,} dimensions, and Neo4j indexes at most "
        f"{embedding_space.MAX_INDEXED_DIM:,}: there is no vector index, and every query compares with all images."
    )


def spaces_with_tables(home: Home) -> dict[str, SpaceTables]:
    """Return the spaces that have an embeddings table by id."""
    spaces = {}
    for folder in sorted(tables.embeddings_folder(home.warehouse).glob("model=*")):
        space_tables = _read_space_tables(home, folder)
        if space_tables is not None:
            spaces[space_tables.space.id] = space_tables
    return spaces


def _read_space_tables(home: Home, folder: Path) -> SpaceTables | None:
    space, rows, shards, damaged = None, 0, 0, 0
    for shard in home.shards:
        file = folder / f"shard={shard}.parquet"
        if not file.is_file():
            continue
        try:
            space = EmbeddingSpace.from_metadata(tables.read_metadata(file))
            rows += tables.count_rows(file)
            shards += 1
        except (TableError, KeyError, ValueError, TypeError):
            damaged += 1
    if space is None or folder.name != f"model={space.id}":
        return None
    pairs = tables.pairs_path(home.warehouse, space.id)
    return SpaceTables(space, shards, rows, tables.count_rows(pairs) if pairs.is_file() else None, damaged)


def known_models(home: Home) -> list[KnownModel]:
    """Return the models that need no download, and every space that this home remembers or has tables of."""
    space_tables, speeds, last = spaces_with_tables(home), read_speeds(home), space_of_last_run(home)
    spaces = {space: (stored.space, weights_state(stored.space.model, None)) for space, stored in space_tables.items()}
    for known in recorded_spaces(home):
        # The same weights may have been given as several files; one that exists is enough.
        if spaces.get(known.space.id, (None, "missing"))[1] != "here":
            spaces[known.space.id] = (known.space, weights_state(known.space.model, known.weights))
    rows = [
        KnownModel(
            name=space.model,
            dim=space.dim,
            size=space.preprocessing.size,
            decoding=space.preprocessing.decoding,
            pooling=space.pooling,
            space=space.id,
            asks_by_text=has_text_tower(space),
            weights=state,
            tables=space_tables.get(space.id),
            in_graph=last is not None and last.id == space.id,
            speeds=speeds.get(space.id, {}),
        )
        for space, state in spaces.values()
    ]
    used = {row.name for row in rows}
    rows += [
        KnownModel(
            name=model.name,
            dim=model.dim,
            size=model.preprocessing.size,
            decoding=None,
            pooling=None,
            space=None,
            asks_by_text=model.has_text_tower,
            weights=weights_state(model.name, None),
            tables=None,
            in_graph=False,
            speeds={},
        )
        for model in NAMED_MODELS
        if model.name not in used
    ]
    named = {model.name for model in NAMED_MODELS}
    return sorted(rows, key=lambda row: (row.name not in named, row.name != DEFAULT_MODEL, row.name, row.space or ""))


def read_speeds(home: Home) -> dict[str, dict[str, float]]:
    """Read images per second on this machine, by space id and engine; empty where nothing was measured."""
    try:
        document = json.loads(_speeds_path(home).read_text(encoding="utf-8"))
        return {space: {engine: float(rate) for engine, rate in rates.items()} for space, rates in document.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        # A damaged note is replaced by the next measurement.
        return {}


def record_speed(home: Home, space_id: str, engine: str, images_per_second: float) -> None:
    """Write how fast an engine embeds in a space; the speed noted earlier is replaced.

    Args:
        home: the home.
        space_id: id of the space.
        engine: name of the engine as stored with each vector, such as `openvino-cpu-bfloat16`.
        images_per_second: rate from files to vectors.

    Raises:
        LockTimeoutError: another process holds the lock.
    """
    with home.hold(["speeds"], "noting a speed"):
        document = read_speeds(home)
        document.setdefault(space_id, {})[engine] = round(images_per_second, 1)
        atomic_files.write_json(_speeds_path(home), document)


def _speeds_path(home: Home) -> Path:
    return home.path / "models" / "speeds.json"
