"""The HTTP API under load: fifty clients at once on ten thousand images.

Belongs here: a home with a graph of vectors, `imgret serve` as a process, clients that upload pictures. Not here: the
graph's own speed (`bench.graph`), that answers under load are those of a lone client
(`imgret_tests.attack.test_many_askers`).
"""

import http.client
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
import psutil
from PIL import Image

from bench import pairs
from bench.graph import served, threshold_for, write_tables
from bench.homes import NO_ENV, open_bench_home
from bench.report import Measure, Report
from imgret_assets.domain.graph import image_nodes, similar_to
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.models.resolution import record_space
from imgret_assets.domain.neo4j_server.host import LOCALHOST, unused_port
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage.home import Home
from imgret_assets.locations import PROJECT

MODEL = "efficientnet_lite0"
MAX_RATIO = 5.0
_BOUNDARY = "imgret-bench"
_READY_WITHIN_S = 300.0
_ANSWER_WITHIN_S = 120.0


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        images, relationships: of the graph.
        clients: who ask at once, each again as soon as it has its answer.
        warm_up_s: time before anything counts, in seconds.
        seconds: how long the clients ask.
        uploads: different pictures that are uploaded, at most 640 pixels wide.
        sources: pictures whose vectors the graph's are made from.
    """

    images: int = 10_000
    relationships: int = 100_000
    clients: int = 50
    warm_up_s: float = 10.0
    seconds: float = 60.0
    uploads: int = 100
    sources: int = 200


@dataclass
class Answers:
    """Seconds until each answer, and what was wrong with those that were none."""

    waited_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def note(self, waited_s: float, failure: str | None) -> None:
        """Note one answer."""
        with self.lock:
            self.waited_s.append(waited_s)
            if failure is not None:
                self.failures.append(failure)


def run(report: Report, sources: Sequence[Path], work: Path, *, sizes: Sizes, say: Callable[[str], None]) -> None:
    """Measure and add to the report."""
    # That of `pairs.real_vectors`, which has converted the model.
    home = open_bench_home(work / "home", model=MODEL, images=work)
    say(f"Building a graph of {sizes.images:,} nodes")
    with served(home.settings):
        _build(home, sources[:: max(1, len(sources) // sizes.sources)], work, sizes)
        bodies = _uploads(sources, sizes.uploads)
        with _serving(home, work) as (port, process):
            _measure(report, port, process, bodies, sizes, say)


def _build(home: Home, sources: Sequence[Path], work: Path, sizes: Sizes) -> None:
    """Write tables and graph of vectors that are mixtures of real ones."""
    space = record_space(home, MODEL).space
    vectors = pairs.mixtures(pairs.real_vectors(sources, work), sizes.images, space.dim)
    write_tables(home, space, vectors)
    with open_database(home.settings) as database:
        image_nodes.sync_nodes(home, database, space)
        refresh_pairs(home, space.id, threshold_for(vectors, sizes.relationships))
        similar_to.sync_relationships(home, database, space)


@contextmanager
def _serving(home: Home, work: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Run `imgret serve` for the block; yield its port and its process when it is ready."""
    port = unused_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("IMGRET_", "NEO4J_"))}
    environment |= NO_ENV | {"PYTHONPATH": str(PROJECT)}
    words = ["serve", "--port", str(port), "--home", str(home.path)]
    with (work / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "imgret_assets.cli.main", *words], env=environment, stdout=log, stderr=log
        )
    try:
        _wait_until_ready(port, server)
        yield port, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def _wait_until_ready(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline and server.poll() is None:
        if '"ready"' in _readiness(port):
            return
        time.sleep(0.3)
    raise SystemExit(f"bench: `imgret serve` did not become ready within {_READY_WITHIN_S:g} s: {_readiness(port)}")


def _readiness(port: int) -> str:
    """Return what `/readyz` answers, or why it does not."""
    connection = http.client.HTTPConnection(LOCALHOST, port, timeout=60)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().read().decode()
    except OSError as error:
        return repr(error)
    finally:
        connection.close()


def _uploads(sources: Sequence[Path], count: int) -> list[bytes]:
    """Return forms that upload pictures as a shop has them: JPEGs of at most 640 pixels a side."""
    bodies = []
    for number, file in enumerate(sources[:: max(1, len(sources) // count)][:count]):
        data = io.BytesIO()
        with Image.open(file) as image:
            small = image.convert("RGB")
        small.thumbnail((640, 640))
        small.save(data, "JPEG", quality=90)
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{number}.jpg"\r\n\r\n'
        tail = f'\r\n--{_BOUNDARY}\r\nContent-Disposition: form-data; name="k"\r\n\r\n10\r\n--{_BOUNDARY}--\r\n'
        bodies.append(head.encode() + data.getvalue() + tail.encode())
    return bodies


def _measure(
    report: Report,
    port: int,
    process: psutil.Process,
    bodies: Sequence[bytes],
    sizes: Sizes,
    say: Callable[[str], None],
) -> None:
    alone = _ask(port, bodies, clients=1, seconds=sizes.warm_up_s)
    _ask(port, bodies, clients=sizes.clients, seconds=sizes.warm_up_s)
    before, started = process.memory_info().rss, time.perf_counter()
    found = _ask(port, bodies, clients=sizes.clients, seconds=sizes.seconds)
    wall_s = time.perf_counter() - started
    p50, p99 = (float(np.quantile(found.waited_s, share)) for share in (0.5, 0.99))
    many = f"API, {sizes.clients} clients on {sizes.images:,} images"
    grown_mb = (process.memory_info().rss - before) / 2**20
    report.measures += [
        Measure("API, one client: median", 1000 * float(np.median(alone.waited_s)), unit="ms"),
        Measure(f"{many}: answers a second", len(found.waited_s) / wall_s),
        Measure(f"{many}: median", p50, unit="s"),
        Measure(f"{many}: 99th percentile", p99, unit="s"),
        Measure(f"{many}: 99th percentile / median", p99 / p50, MAX_RATIO, at_most=True, unit="x"),
        Measure(f"{many}: errors", len(found.failures), 0, at_most=True),
        Measure(f"{many}: memory of the server", process.memory_info().rss / 2**20, unit="MB"),
        Measure(f"{many}: grown by", grown_mb, unit="MB"),
    ]
    say(
        f"  {len(found.waited_s):,} answers in {wall_s:.0f} s, p50 {p50:.2f} s, p99 {p99:.2f} s, "
        f"{len(found.failures)} errors {found.failures[:3]}"
    )


def _ask(port: int, bodies: Sequence[bytes], *, clients: int, seconds: float) -> Answers:
    """Let clients upload one picture after another, each over a connection of its own that stays open."""
    answers = Answers()
    until = time.monotonic() + seconds
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(LOCALHOST, port, timeout=_ANSWER_WITHIN_S)
        turn = 7 * number
        while time.monotonic() < until:
            asked_at = time.perf_counter()
            failure = _one(connection, bodies[turn % len(bodies)], headers)
            answers.note(time.perf_counter() - asked_at, failure)
            turn += 1
        connection.close()

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return answers


def _one(connection: http.client.HTTPConnection, body: bytes, headers: Mapping[str, str]) -> str | None:
    """Ask once; return what was wrong with the answer, if anything."""
    try:
        connection.request("POST", "/v1/similar", body, dict(headers))
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return repr(error)
    if response.status != http.client.OK:
        return content.decode(errors="replace")[:300]
    hits = json.loads(content)["answers"][0]["results"]
    return None if len(hits) == 10 else f"{len(hits)} hits"
