"""What embedding spaces a home has: their tables, weights, speeds, and how good they are side by side.

Belongs here: looking. Not here: making a space or its tables (`domain.models.registry`,
`domain.embeddings.embeddings_table`), removing them (`domain.operations.cleanup`), switching the graph
(`domain.graph.image_nodes`). Nothing here imports torch.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgret_assets.domain.models import embedding_space
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.registry import NAMED_MODELS, weights_state
from imgret_assets.domain.models.resolution import space_of_last_run
from imgret_assets.domain.models.space_records import recorded_spaces
from imgret_assets.domain.storage import atomic_files, tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError
from imgret_assets.settings import DEFAULT_MODEL


@dataclass(frozen=True)
class SpaceTables:
    """The tables of one space: shards that have one, their rows, pairs (None: no table), files that are damaged."""

    space: EmbeddingSpace
    shards: int
    rows: int
    pairs: int | None
    damaged: int


@dataclass(frozen=True)
class KnownModel:
    """A model that can be named here, in one of its spaces.

    Attributes:
        name: as a user gives it.
        dim: numbers in a vector.
        size: height and width of its input.
        decoding, pooling: of the space; None where the home has not used it.
        space: id of the space; None where the home has not used the model.
        weights: `here`, `missing`, or `at the hub`: not found, to be fetched when it is used.
        tables: of the space; None where there are none.
        in_graph: the home's last run was in this space, so the graph should be.
        speeds: images a second by engine, as measured on this machine.
    """

    name: str
    dim: int
    size: tuple[int, int]
    decoding: str | None
    pooling: str | None
    space: str | None
    weights: str
    tables: SpaceTables | None
    in_graph: bool
    speeds: dict[str, float]

    @property
    def exact_only(self) -> bool:
        """True where Neo4j can't index the vectors."""
        return self.dim > embedding_space.MAX_INDEXED_DIM

    def as_json(self) -> dict[str, Any]:
        """As `imgret models --json` prints it."""
        said = {
            key: getattr(self, key)
            for key in ("name", "space", "dim", "size", "decoding", "pooling", "weights", "in_graph", "exact_only")
        }
        there = self.tables
        counts = {"shards": there.shards, "rows": there.rows, "pairs": there.pairs} if there else None
        return said | {"tables": counts, "images_per_second": self.speeds}


def exact_only_notice(space: EmbeddingSpace) -> str | None:
    """A sentence for the start of a run in a space that Neo4j can't index; None for any other."""
    if space.dim <= embedding_space.MAX_INDEXED_DIM:
        return None
    return (
        f"{space.model} gives {space.dim:,} numbers, and Neo4j indexes at most {embedding_space.MAX_INDEXED_DIM:,}: "
        "there will be no vector index, and every query compares with all images."
    )


def tables_in(home: Home) -> dict[str, SpaceTables]:
    """The spaces that have an embeddings table, by id."""
    found = {}
    for folder in sorted(tables.embeddings_folder(home.warehouse).glob("model=*")):
        there = _tables_of(home, folder)
        if there is not None:
            found[there.space.id] = there
    return found


def _tables_of(home: Home, folder: Path) -> SpaceTables | None:
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
    """The models that need no download, and every space that this home remembers or has tables of."""
    there, rates, last = tables_in(home), speeds(home), space_of_last_run(home)
    spaces = {found.space.id: (found.space, weights_state(found.space.model, None)) for found in there.values()}
    for known in recorded_spaces(home):
        # The same weights may have been given as several files; one that is there is enough.
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
            weights=state,
            tables=there.get(space.id),
            in_graph=last is not None and last.id == space.id,
            speeds=rates.get(space.id, {}),
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


def speeds(home: Home) -> dict[str, dict[str, float]]:
    """Images a second on this machine, by space id and engine; nothing where nothing was measured."""
    try:
        said = json.loads(_speeds_path(home).read_text(encoding="utf-8"))
        return {space: {engine: float(rate) for engine, rate in rates.items()} for space, rates in said.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        # Only a note of what was measured: it is made again.
        return {}


def record_speed(home: Home, space_id: str, engine: str, images_per_second: float) -> None:
    """Note how fast an engine embeds in a space, instead of what was noted before.

    Args:
        home: the home.
        space_id: id of the space.
        engine: as it is stored with each vector, such as `openvino-cpu-bfloat16`.
        images_per_second: from files to vectors.

    Raises:
        LockTimeoutError: another process holds the note for longer than is waited.
    """
    with home.hold(["speeds"], "noting a speed"):
        said = speeds(home)
        said.setdefault(space_id, {})[engine] = round(images_per_second, 1)
        atomic_files.write_json(_speeds_path(home), said)


def _speeds_path(home: Home) -> Path:
    return home.path / "models" / "speeds.json"
