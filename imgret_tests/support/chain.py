"""The chain over a temporary home, run through Dagster in this process, and what it should have made.

Belongs here: running the refresh job with the fake embedder, and a brute-force reference computed from the files
alone, sharing no code with what it checks but the hash and the fake model. Not here: pictures (`pictures.py`).
"""

import atexit
import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
from PIL import Image

from imgret_assets.defs.build import build_defs
from imgret_assets.defs.jobs import REFRESH
from imgret_assets.defs.partitions import range_tags
from imgret_assets.defs.resources.image_store import ImageStoreResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import shard_keys
from imgret_assets.settings import Settings
from imgret_tests.support.fake_model import FakeEmbedder, fake_embedder
from imgret_tests.support.fakes import FakeEmbedderResource

TABLES = ["raw_images", "embeddings", "similarity_pairs"]
THRESHOLD = 0.8
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@cache
def _unread_records() -> dg.DagsterInstance:
    """Dagster's records of all runs that no test looks up: to make some takes a third of a small run's time."""
    made = dg.DagsterInstance.ephemeral()
    atexit.register(made.dispose)
    return made


@dataclass(frozen=True)
class Chain:
    """A home, its embedder by name, and how its runs are started.

    Attributes:
        settings: of the home; `neo4j` names the server.
        model: name of the fake model.
    """

    settings: Settings
    model: str = "fake"
    beside: str | None = None

    @property
    def home(self) -> Home:
        return open_home(self.settings)

    @property
    def root(self) -> Path:
        return self.home.images.folder

    @property
    def embedder(self) -> FakeEmbedder:
        return fake_embedder(self.model)

    @property
    def space(self) -> EmbeddingSpace:
        return self.embedder.space

    @property
    def resources(self) -> dict[str, Any]:
        settings, found = self.settings, self.settings.neo4j
        image_store = ImageStoreResource(root=str(settings.images) if settings.images else None)
        return {
            "image_store": image_store,
            "warehouse": WarehouseResource(
                home=str(settings.home),
                shards=settings.shards,
                lock_timeout_s=settings.lock_timeout_s,
                image_store=image_store,
            ),
            "embedder": FakeEmbedderResource(name=self.model, beside=self.beside),
            # A port that nobody listens on, rather than an embedded server that a test did not ask for.
            "neo4j": Neo4jResource(
                uri=found.uri or "bolt://127.0.0.1:1",
                username=found.username,
                password=found.password or "",
                retries=0,
            ),
        }

    @property
    def definitions(self) -> dg.Definitions:
        return build_defs(settings=self.settings, resources=self.resources)

    def refresh_tables(self, *, threshold: float = THRESHOLD) -> None:
        """What a run of `TABLES` does, by the functions alone: many times as fast as through Dagster."""
        refresh_manifest(self.home)
        refresh_embeddings(self.home, self.embedder)
        refresh_pairs(self.home, self.space.id, threshold)

    def run(
        self,
        *,
        assets: Sequence[str] | None = None,
        shards: tuple[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        threshold: float | None = None,
        instance: dg.DagsterInstance | None = None,
    ) -> "Outcome":
        """Execute the refresh job over a range of shards, all where None; a failure raises its own cause."""
        keys = shard_keys(self.home.record.shards)
        ops = dict(config or {})
        if threshold is not None:
            ops["similarity_pairs"] = {"config": {"threshold": threshold}}
        before = self.embedder.embedded
        result = self.definitions.resolve_job_def(REFRESH).execute_in_process(
            {"ops": ops, **QUIET},
            instance=instance or _unread_records(),
            tags=range_tags(*(shards or (keys[0], keys[-1]))),
            asset_selection=[dg.AssetKey(name) for name in assets] if assets else None,
        )
        return Outcome(result, self.embedder.embedded - before)

    def check(self, *assets: str) -> dict[str, dg.AssetCheckEvaluation]:
        """Execute the checks of these assets alone; evaluations by name."""
        job = dg.define_asset_job(
            "look", dg.AssetSelection.checks_for_assets(*assets), executor_def=dg.in_process_executor
        )
        definitions = dg.Definitions.merge(self.definitions, dg.Definitions(jobs=[job]))
        result = definitions.resolve_job_def("look").execute_in_process(QUIET, instance=_unread_records())
        return {check.check_name: check for check in result.get_asset_check_evaluations()}

    def expected(self, *, threshold: float = THRESHOLD) -> "Expected":
        """What tables and graph should hold, from the files as they are now."""
        return brute_force(self.root, self.settings.shards or 16, self.embedder, threshold)

    def manifest(self) -> pd.DataFrame:
        return pd.read_parquet(self.settings.home / "warehouse" / "manifest").sort_values("path", ignore_index=True)

    def vectors(self) -> dict[str, np.ndarray]:
        """The stored vectors by path, from the tables as any reader opens them."""
        frame = pd.read_parquet(self.settings.home / "warehouse" / "embeddings" / f"model={self.space.id}")
        usable = frame[frame["status"] == "ok"]
        return dict(zip(usable["path"], usable["embedding"], strict=True))

    def pairs(self) -> dict[tuple[str, str], float]:
        frame = pd.read_parquet(self.settings.home / "warehouse" / "pairs" / f"model={self.space.id}")
        found = zip(frame["path_a"], frame["path_b"], frame["score"], strict=True)
        rows = {(a, b): score for a, b, score in found}
        assert len(rows) == len(frame), "a pair is in the table twice"
        return rows


@dataclass(frozen=True)
class Outcome:
    """A finished run; `embedded` counts the pictures the fake model was given in it."""

    result: dg.ExecuteInProcessResult
    embedded: int

    def metadata(self, asset: str) -> list[dict[str, Any]]:
        """Metadata values of each of the asset's materialisations, in order."""
        events = self.result.asset_materializations_for_node(asset)
        return [{key: value.value for key, value in event.metadata.items()} for event in events]

    def total(self, asset: str, name: str) -> int:
        """Sum of a number over the asset's partitions."""
        return sum(found[name] for found in self.metadata(asset))

    @property
    def failed_checks(self) -> list[str]:
        return [check.check_name for check in self.result.get_asset_check_evaluations() if not check.passed]

    @property
    def checks(self) -> dict[str, dg.AssetCheckEvaluation]:
        return {check.check_name: check for check in self.result.get_asset_check_evaluations()}


@dataclass
class Expected:
    """Nodes (all properties but `indexed_at`) and vectors by path, scores by pair of paths."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    pairs: dict[tuple[str, str], float] = field(default_factory=dict)


def brute_force(root: Path, shards: int, embedder: FakeEmbedder, threshold: float) -> Expected:
    """Every picture embedded by itself, every pair compared in float64."""
    expected = Expected()
    model = copy.deepcopy(embedder)  # counts for itself
    for file in sorted(root.rglob("*.png")):
        path = file.relative_to(root).as_posix()
        data = file.read_bytes()
        with Image.open(file) as image:
            expected.vectors[path] = model.embed(model.prepare(image.convert("RGB"))[np.newaxis])[0]
            size = image.size
        number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") % shards
        expected.nodes[path] = {
            "path": path,
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "width": size[0],
            "height": size[1],
            "format": "PNG",
            "label": path.rpartition("/")[0] or None,
            "shard": f"{number:02x}",
            "model": model.space.id,
            "engine": model.engine,
        }
    expected.pairs = brute_force_pairs(expected.vectors, threshold)
    return expected


def brute_force_pairs(vectors: Mapping[str, np.ndarray], threshold: float) -> dict[tuple[str, str], float]:
    """Cosine of every pair above the threshold, smaller path first."""
    paths = sorted(vectors)
    found: dict[tuple[str, str], float] = {}
    for row, a in enumerate(paths):
        for b in paths[row + 1 :]:
            score = cosine(vectors[a], vectors[b])
            if score > threshold:
                found[a, b] = score
    return found


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    x, y = np.asarray(left, np.float64), np.asarray(right, np.float64)
    return float(np.dot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y)))


def assert_same_scores(found: Mapping[tuple[str, str], float], expected: Mapping[tuple[str, str], float]) -> None:
    """The same pairs, scores within 1e-9."""
    assert sorted(found) == sorted(expected)
    off = {pair: (found[pair], expected[pair]) for pair in expected if abs(found[pair] - expected[pair]) > 1e-9}
    assert not off


def assert_tables_right(chain: Chain, *, threshold: float = THRESHOLD) -> None:
    """Manifest, embeddings and pairs say what a brute-force look at the files says."""
    expected = chain.expected(threshold=threshold)
    manifest = chain.manifest()
    usable = manifest[manifest["status"] == "ok"]
    assert usable["path"].tolist() == sorted(expected.nodes)
    for name in ("sha256", "bytes", "width", "height", "format", "label"):
        wanted = [expected.nodes[path][name] for path in usable["path"]]
        assert [None if pd.isna(value) else value for value in usable[name].tolist()] == wanted, name
    vectors = chain.vectors()
    assert sorted(vectors) == sorted(expected.vectors)
    for path, vector in expected.vectors.items():
        np.testing.assert_allclose(vectors[path], vector, rtol=0, atol=1e-6, err_msg=path)
    assert_same_scores(chain.pairs(), expected.pairs)
