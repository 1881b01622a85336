"""The page over many images: a search, a decision and a change of page, once the page is warm.

Belongs here: a home full of generated images and its graph, these interactions and their targets. Not here: many
visitors at once (`imgret_tests/attack/test_many_askers.py`), what a page shows (`imgret_tests/app`).

The script of the page runs in a thread of this process, as Streamlit runs it for a visitor, without a browser: the
processor time is that of the page's server, the wall time that until the last element is ready to be sent. What the
main thread does, which is reading the view as a browser would, counts only in the wall time. Vectors are made from
small versions of the images by a random projection, because no model is measured here.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from bench.homes import NO_ENV, open_bench_home
from bench.report import Measure, Report
from imgret_assets.domain.analysis.groups_table import refresh_groups
from imgret_assets.domain.analysis.map_table import refresh_map
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.graph import image_nodes, node_groups
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.graph.relationship_kinds import KINDS
from imgret_assets.domain.graph.relationship_sync import table_of
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.resolution import record_space
from imgret_assets.domain.neo4j_server import lifecycle
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage.home import Home

MODEL = "efficientnet_lite0"
PAGES = ("search", "duplicates", "groups", "graph", "compare", "review", "overview")
# Milliseconds of processor time.
TARGETS = {"search": 300.0, "decision": 150.0, "change of page": 500.0}
_SIDE_PX = 160
# Every so many images, one is a near-duplicate of the one before.
_DUPLICATE_EVERY = 50
_GRID = 6


@dataclass
class _Times:
    """Milliseconds of an interaction, one entry for each time: of all processors, and until the view was ready."""

    processor_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Add what the block takes."""
        cpu, reading, started = time.process_time(), time.thread_time(), time.perf_counter()
        yield
        self.processor_ms.append(1000 * (time.process_time() - cpu - (time.thread_time() - reading)))
        self.wall_ms.append(1000 * (time.perf_counter() - started))


def run(
    report: Report, sources: Sequence[Path], work: Path, *, rounds: int, say: Callable[[str], None], count: int = 10_000
) -> None:
    """Measure and add to the report."""
    say(f"Writing {count:,} images")
    images = work / "page-images"
    _write_images(sources, count, images)
    home = open_bench_home(work / "page-home", model=MODEL, images=images)
    try:
        _build(home, say)
        with _environment(home):
            times = _interactions(home, rounds, say)
    finally:
        lifecycle.stop(home.settings)
    for name, taken in times.items():
        kind = next((target for target in TARGETS if name.startswith(target)), name)
        target = TARGETS.get(kind)
        report.measures += [
            Measure(f"{name}, processor", median(taken.processor_ms), target, at_most=True, unit="ms"),
            Measure(f"{name}, until it is ready", median(taken.wall_ms), unit="ms"),
        ]
    shutil.rmtree(home.path)


def _write_images(sources: Sequence[Path], count: int, folder: Path) -> None:
    """Write small JPEG files: parts of the sources, in folders named as theirs, some of them as near-duplicates."""
    rng = np.random.default_rng(15)
    large = []
    for source in sources[:200]:
        with Image.open(source) as image:
            image.thumbnail((3 * _SIDE_PX, 3 * _SIDE_PX))
            large.append((source.parent.name, image.convert("RGB")))
    part = large[0][1]
    for number in range(count):
        label, image = large[number % len(large)]
        quality = 85
        if number % _DUPLICATE_EVERY or not number:
            width, height = (int(side * rng.uniform(0.4, 0.9)) for side in image.size)
            left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
            part = image.crop((int(left), int(top), int(left) + width, int(top) + height))
            part.thumbnail((_SIDE_PX, _SIDE_PX))
        else:
            quality = 60
        file = folder / label / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        data = BytesIO()
        part.save(data, "JPEG", quality=quality)
        file.write_bytes(data.getvalue())


class _Projection:
    """An embedder that multiplies a small version of the image by random numbers."""

    family = "openvino"
    engine = "openvino-bench-float32"
    batch_size = 256
    forward_s = 0.0

    def __init__(self, space: EmbeddingSpace) -> None:
        self.space = space
        self._weights = np.random.default_rng(1).normal(size=(3 * _GRID**2, space.dim)).astype(np.float32)

    def load(self) -> None:
        """There is nothing to load."""

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return the small version, uint8 (6, 6, 3)."""
        return np.asarray(image.resize((_GRID, _GRID), Image.Resampling.BOX))

    def embed(self, batch: np.ndarray) -> np.ndarray:
        """Return vectors float32 (n, dim)."""
        return (batch.reshape(len(batch), -1).astype(np.float32) / 255 - 0.5) @ self._weights

    def stream(self, images: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the vector of each image with its key."""
        for key, prepared in images:
            yield key, self.embed(prepared[np.newaxis])[0]


def _build(home: Home, say: Callable[[str], None]) -> None:
    """Make all tables and the graph, as a run does."""
    space = record_space(home, MODEL).space
    home = home.update(model=MODEL, root=str(home.images))
    started = time.perf_counter()
    refresh_manifest(home)
    refresh_embeddings(home, _Projection(space))
    say(f"  tables of the images: {time.perf_counter() - started:.0f} s")
    refresh_pairs(home, space.id, 0.97)
    refresh_neighbours(home, space.id)
    refresh_duplicates(home, space.id)
    refresh_groups(home, space.id)
    refresh_map(home, space.id)
    say(f"  pairs, neighbours, duplicates, groups, map: {time.perf_counter() - started:.0f} s")
    lifecycle.ensure_running(home.settings)
    with open_database(home.settings) as database:
        image_nodes.sync_nodes(home, database, space)
        for kind in KINDS:
            table_of(kind).sync_relationships(home, database, space)
        node_groups.sync_groups(home, database, space)
    say(f"  graph: {time.perf_counter() - started:.0f} s")


@contextmanager
def _environment(home: Home) -> Iterator[None]:
    """Let the page, which reads its settings from the environment, open the home."""
    before = dict(os.environ)
    chosen = {"IMGRET_HOME": str(home.path), "IMGRET_IMAGES": str(home.images), "IMGRET_MODEL": MODEL}
    # As `imgret app` starts the page.
    chosen |= {"STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false", "STREAMLIT_RUNNER_POST_SCRIPT_GC": "false"}
    try:
        os.environ.update(NO_ENV | chosen)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _interactions(home: Home, rounds: int, say: Callable[[str], None]) -> dict[str, _Times]:
    """Measure each interaction after a first time that does not count."""
    paths = sorted(str(file.relative_to(home.images.folder)) for file in home.images.folder.rglob("*.jpg"))
    times = {"search": _searches(paths, rounds), "decision": _decisions(rounds)}
    for name in PAGES:
        times[f"change of page to {name}"] = _changes(name, rounds)
    for name, taken in times.items():
        say(f"  {name}: {median(taken.processor_ms):.0f} ms of processor, {median(taken.wall_ms):.0f} ms until ready")
    return times


def _page(name: str) -> Any:
    # Imported here: Streamlit takes longer to load than all other sections need to start.
    from imgret_tests.support.fake_search import page_test

    return page_test(name)


def _searches(paths: Sequence[str], rounds: int) -> _Times:
    """Search with one image of the library after another."""
    times = _Times()
    page = _page("search")
    for number, path in enumerate(paths[:: len(paths) // (rounds + 2)][: rounds + 2]):
        page.query_params["image"] = path
        with times.measured() if number > 1 else _Times().measured():
            page.run()
        _require(page, "search")
    return times


def _decisions(rounds: int) -> _Times:
    """Accept the proposal of one set of near-duplicates after another."""
    times = _Times()
    page = _page("duplicates")
    page.query_params["kind"] = "near"
    page.run()
    for number in range(rounds + 1):
        button = next((button for button in page.button if button.label.startswith("Accept proposal")), None)
        if button is None:
            raise SystemExit("bench: no set of duplicates is left to decide about")
        button.click()
        with times.measured() if number else _Times().measured():
            page.run()
        _require(page, "duplicates")
    return times


def _changes(name: str, rounds: int) -> _Times:
    """Open a page as a visitor does who comes from another one."""
    times = _Times()
    for number in range(rounds + 1):
        page = _page(name)
        with times.measured() if number else _Times().measured():
            page.run()
        _require(page, name)
    return times


def _require(page: Any, name: str) -> None:
    if page.exception or page.error:
        problems = [str(element.value) for element in (*page.exception, *page.error)]
        raise SystemExit(f"bench: the page {name} shows {problems}")
