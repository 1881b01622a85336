"""Embedding: the article's loop, the engine's bare forward pass, and the asset from files to the table.

Belongs here: these contenders and their targets. Not here: timing them (`bench.rounds`).
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import numpy as np
from PIL import Image

from bench.homes import open_bench_home
from bench.pictures import large_jpegs, repeated
from bench.report import Measure, Report
from bench.rounds import Contender, interleaved, last_json
from imgret_assets.defs.assets.raw.raw_images import build_raw_images
from imgret_assets.defs.assets.vectors.embeddings import build_embeddings
from imgret_assets.defs.partitions import range_tags, shards_definition
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.image_store import ImageStoreResource
from imgret_assets.defs.resources.run_counts import RunCounts
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.families.resnet50 import cached_weights
from imgret_assets.domain.models.resolution import Model, resolve
from imgret_assets.domain.storage.home import Home

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Sizes:
    """How much each contender does in a round."""

    article: int = 48
    resnet50: int = 300
    lite0: int = 1200
    large: int = 96
    memory: tuple[int, int] = (2_000, 20_000)


def run(
    report: Report, sources: Sequence[Path], work: Path, *, rounds: int, sizes: Sizes, say: Callable[[str], None]
) -> None:
    """Measure and add to the report."""
    weights = _resnet50_weights(work, report)
    files = repeated(sources, max(sizes.resnet50, sizes.lite0, sizes.article), work / "photos")
    resnet50, lite0 = _Bench(work, "resnet50", weights), _Bench(work, "efficientnet_lite0", None)
    large = repeated(large_jpegs(sources, 16, work / "drawn"), sizes.large, work / "large")
    say("Timing the contenders, interleaved")
    contenders = {
        "the article's loop, ResNet50": Contender(_article_loop(resnet50.model, files[: sizes.article])),
        "bare forward, ResNet50": resnet50.bare(files[: sizes.resnet50]),
        "asset embeddings, ResNet50": resnet50.asset(files[: sizes.resnet50]),
        "bare forward, EfficientNet-Lite0": lite0.bare(files[: sizes.lite0]),
        "asset embeddings, EfficientNet-Lite0": lite0.asset(files[: sizes.lite0]),
        "12 megapixels, EfficientNet-Lite0": lite0.asset(large),
        "the same, decoded at full size": _FullDecode(work, "efficientnet_lite0", None).asset(large),
    }
    timings = interleaved(contenders, rounds, say)
    report.timings |= timings
    article, bare, asset, bare_lite0, asset_lite0, scaled, full = timings.values()
    report.ratio("ResNet50: asset / article's loop", asset, article, _resnet50_target(report.machine["has"]))
    report.ratio("ResNet50: asset / bare forward", asset, bare, 0.90)
    report.measures.append(Measure("ResNet50: cores in use", asset.use, 0.90))
    report.ratio("EfficientNet-Lite0: asset / article's ResNet50 loop", asset_lite0, article, 12.0)
    report.ratio("EfficientNet-Lite0: asset / bare forward", asset_lite0, bare_lite0, None)
    report.measures.append(Measure("EfficientNet-Lite0: cores in use", asset_lite0.use))
    report.ratio("12 megapixels: scaled / full-size decode", scaled, full, 2.5)
    report.notes += [f"{one.space.id} by {one.engine}" for one in (resnet50.embedder, lite0.embedder)]


def memory(report: Report, sources: Sequence[Path], work: Path, *, sizes: Sizes, say: Callable[[str], None]) -> None:
    """Measure the peak memory of a process that lists and embeds few and many pictures."""
    # Converted once, here: the processes that are measured only load it.
    converted = open_bench_home(work / "home", model="efficientnet_lite0")
    choose_embedder(converted, resolve(converted)).load()
    peaks: list[float] = []
    for count in sizes.memory:
        say(f"Measuring the memory of {count:,} images")
        folder = work / f"memory-{count}"
        repeated(sources, count, folder)
        said = last_json("bench.embed_once", folder, work / "home-memory" / str(count), converted.path)
        if said["embedded"] != count:
            raise SystemExit(f"bench: {said['embedded']} embedded instead of {count}")
        peaks.append(said["peak_mb"])
        shutil.rmtree(folder)
    few, many = sizes.memory
    report.measures += [
        Measure(f"peak memory over {many:,} images", peaks[1], 1536.0, at_most=True, unit="MB"),
        Measure(f"peak memory, {many:,} images / {few:,}", peaks[1] / peaks[0], 1.10, at_most=True, unit="x"),
    ]


def _resnet50_target(processor: str) -> float:
    return 9.0 if "amx" in processor else 3.2 if "bf16" in processor else 1.5


def _resnet50_weights(work: Path, report: Report) -> Path:
    """The real weights where this machine has them; else drawn ones, which take as long."""
    if cached_weights().is_file():
        return cached_weights()
    import torch
    import torchvision

    torch.manual_seed(50)
    file = work / "resnet50-drawn.pth"
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), file)
    report.notes.append("resnet50's weights are not on this machine: drawn ones of the same shapes took their place")
    return file


def _article_loop(model: Model, files: Sequence[Path]) -> Callable[[], int]:
    """What the article does: one image at a time, float32, batches of one."""

    def loop() -> int:
        import torch
        from torchvision import transforms

        network = _kept(model)
        transform = transforms.Compose(
            [
                transforms.Resize((224, 224)),
                transforms.ToTensor(),
                transforms.Normalize(mean=[*IMAGENET[0]], std=[*IMAGENET[1]]),
            ]
        )
        for file in files:
            with Image.open(file) as image:
                picture: Any = transform(image.convert("RGB"))
            with torch.no_grad():
                network(picture.unsqueeze(0)).squeeze().numpy().tolist()
        return len(files)

    return loop


_networks: dict[str, Any] = {}


def _kept(model: Model) -> Any:
    if model.space.id not in _networks:
        _networks[model.space.id] = model.build()
    return _networks[model.space.id]


class _Bench:
    """One model in a home of its own; converted and compiled models are shared between rounds."""

    def __init__(self, work: Path, name: str, weights: Path | None) -> None:
        self.work = work
        self.name = name
        self.weights = weights
        self.home = open_bench_home(work / "home", model=name, weights=weights)
        self.model = self.resolve(self.home)
        self.embedder: Embedder = choose_embedder(self.home, self.model)
        self.embedder.load()

    def resolve(self, home: Home) -> Model:
        return resolve(home, self.name, self.weights)

    def bare(self, files: Sequence[Path]) -> Contender:
        """Forward passes over pictures that are prepared already."""
        pictures: list[np.ndarray] = []

        def prepare() -> None:
            if not pictures:
                for file in files[:64]:
                    with Image.open(file) as image:
                        pictures.append(self.embedder.prepare(image.convert("RGB")))

        def work() -> int:
            endless = ((str(number), pictures[number % len(pictures)]) for number in range(len(files)))
            return sum(1 for _ in self.embedder.stream(endless))

        return Contender(work, prepare)

    def asset(self, files: Sequence[Path]) -> Contender:
        """The asset `embeddings`, materialised by Dagster in a new home, after `raw_images`."""
        state: dict[str, Any] = {}

        def prepare() -> None:
            folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.work))
            images = folder / "images"
            images.mkdir()
            for file in files:
                (images / file.name).hardlink_to(file)
            image_store = ImageStoreResource(root=str(images))
            state["folder"] = folder
            state["run"] = {
                "resources": {
                    "image_store": image_store,
                    "warehouse": WarehouseResource(home=str(folder / "home"), image_store=image_store),
                    "embedder": _LoadedEmbedder(),
                    "run_counts": RunCounts(),
                },
                "tags": range_tags("00", "0f"),
            }
            _LoadedEmbedder.embedder = self.embedder
            self._materialise("raw_images", state["run"])

        def work() -> int:
            result = self._materialise("embeddings", state["run"])
            found = sum(
                int(event.materialization.metadata["dagster/partition_row_count"].value)  # type: ignore[arg-type]
                for event in result.get_asset_materialization_events()
            )
            if found != len(files):
                raise SystemExit(f"bench: {found} rows instead of {len(files)}")
            shutil.rmtree(state["folder"])
            return found

        return Contender(work, prepare)

    def _materialise(self, asset: str, run: Mapping[str, Any]) -> dg.ExecuteInProcessResult:
        shards = shards_definition(16)
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                [build_raw_images(shards), build_embeddings(shards)],
                selection=[asset],
                instance=instance,
                run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
                **run,
            )


class _FullDecode(_Bench):
    """The same model with every pixel decoded, as Pillow does by itself."""

    def resolve(self, home: Home) -> Model:
        model = super().resolve(home)
        space = model.space
        full = EmbeddingSpace(
            space.model, space.weights_sha256, replace(space.preprocessing, decoding="full"), space.dim
        )
        return Model(full, model.weights)


class _LoadedEmbedder(EmbedderResource):
    """Provides an embedder that is loaded already, as a code location does after its first run."""

    embedder: ClassVar[Embedder | None] = None

    def provide(self, home: Home) -> Embedder:
        assert _LoadedEmbedder.embedder is not None
        return _LoadedEmbedder.embedder

    def provide_additional(self, home: Home) -> list[Embedder]:
        return []

    def record_models(self, home: Home) -> Home:
        return home
