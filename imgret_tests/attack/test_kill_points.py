"""kill -9 of a run at random points, then another run: the state is that of a run from nothing, and nothing is stuck.

Each attack draws its points from a seeded generator: half of them are moments of the run, half events of the file
system (a file opened to be written, a rename, a removal, a lock, a connection). Every fourth run is that of `imgret
run`, with Dagster's records. The killed runs are processes of their own (`refresh_process.py`). Points with a name and
a reason are in `server/test_killed_runs.py`.

A point that its run did not reach is followed by another one.

An attack prints one line: points tried, of them killed before the end, failed by name, stuck, different.
"""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from filelock import FileLock, Timeout
from neo4j import Driver, GraphDatabase

from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.domain.neo4j_server import lifecycle
from imgret_assets.domain.neo4j_server.host import process_start
from imgret_assets.domain.storage import tables
from imgret_assets.settings import load_settings
from imgret_tests.support.full_disk import SmallDisk, small_disk
from imgret_tests.support.graph_fixtures import Graph, chain_on, refresh_all, write_blends
from imgret_tests.support.neo4j_server import MEMORY, TestedServer, clean_environment, empty
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.processes import Process
from imgret_tests.support.refresh_process import RefreshProcess
from imgret_tests.support.tree import put

SEED = 20261126
# Every fourth run is one of `imgret run`, which takes several times as long.
LASTING_EVERY = 4
NEVER = 10**9
# Of a tmpfs: a run of 28 images with Dagster's records takes about 3 MB.
DISK_MB = 24.0
# Failures that a run without room may end with; all others are differences.
NAMES_OF_A_FULL_DISK = ("DiskFullError", "No room on the disk")


@dataclass
class Tally:
    """Outcomes of an attack.

    Attributes:
        counts: of points by outcome.
        differences: what was not as after a run from nothing, with its point.
    """

    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def note(self, outcome: str, difference: str) -> None:
        """Note a point that was stuck or different."""
        self.counts[outcome] += 1
        self.differences.append(difference)
        self.print_outcomes()

    def print_outcomes(self) -> None:
        """Print the outcomes so far."""
        counts = {name: self.counts[name] for name in ("tried", "killed", "failed by name", "stuck", "different")}
        print(f"KILL POINTS {self.kind}: {json.dumps(counts)} in {time.monotonic() - self.started:.0f} s", flush=True)  # noqa: T201
        for difference in self.differences:
            print(f"KILL POINTS {self.kind}: {difference}", flush=True)  # noqa: T201

    def finish(self) -> None:
        """Print the outcomes and fail if something was stuck or different."""
        self.print_outcomes()
        assert self.differences == []


@dataclass
class Attack:
    """A home under attack, and the processes that run for it."""

    graph: Graph
    env: dict[str, str]
    tally: Tally
    rng: np.random.Generator
    running: list[RefreshProcess] = field(default_factory=list)
    calibrated: dict[bool, tuple[float, int]] = field(default_factory=dict)

    def start(self, *, lasting: bool, die_at_event: int | None = None) -> RefreshProcess:
        refresh = RefreshProcess(self.env, lasting=lasting, die_at_event=die_at_event)
        self.running.append(refresh)
        return refresh

    def calibrate(self, *, lasting: bool) -> tuple[float, int]:
        """Return the seconds and the events of an undisturbed run; of the first one in such a state."""
        if lasting not in self.calibrated:
            refresh = self.start(lasting=lasting, die_at_event=NEVER)
            started = time.monotonic()
            refresh.go()
            refresh.expect("done")
            self.calibrated[lasting] = time.monotonic() - started, refresh.expect("events")
        return self.calibrated[lasting]

    def run_to_random_point(self, *, lasting: bool, scale: tuple[float, int]) -> str:
        """Run until a random moment or event, kill, and return the point in words."""
        seconds, events = scale
        if self.rng.random() < 0.5:
            number = int(self.rng.integers(1, events + 1))
            refresh = self.start(lasting=lasting, die_at_event=number)
            refresh.go()
            point = f"event {number} of {events}"
            refresh.process.join(60)
        else:
            moment = float(self.rng.uniform(0.0, seconds))
            refresh = self.start(lasting=lasting)
            refresh.go()
            refresh.process.join(moment)
            refresh.process.kill()
            point = f"after {moment:.3f} of {seconds:.3f} s"
        refresh.process.join(10)
        self.tally.counts["killed"] += refresh.process.exitcode == -signal.SIGKILL
        return f"{point}, {'imgret run' if lasting else 'functions alone'}"

    def until_killed(self, points: int) -> Iterator[int]:
        """Yield numbers of points until so many runs were killed before their end, at most twice as many."""
        for number in range(2 * points):
            if self.tally.counts["killed"] == points:
                return
            yield number

    def recover(self, point: str, *, lasting: bool) -> None:
        """Run again, compare with a run from nothing, and note what is stuck or different."""
        self.tally.counts["tried"] += 1
        again = self.start(lasting=lasting)
        again.go()
        try:
            again.expect("done")
        except AssertionError as error:
            self.tally.note("stuck" if "silent" in str(error) else "different", f"{point}: {error}")
            again.process.kill()
            return
        again.process.join(30)
        try:
            self.assert_as_from_nothing()
        except AssertionError as error:
            self.tally.note("different", f"{point}: {error}")
        if self.tally.counts["tried"] % 10 == 0:
            self.tally.print_outcomes()

    def assert_as_from_nothing(self) -> None:
        """Tables equal a fresh home's as rows, the graph equals them, and nothing is left of the killed run."""
        home = self.graph.chain.home
        expected = rows_from_nothing(self.graph)
        assert rows_of(home.path, list(expected)) == expected
        self.graph.assert_right()
        stored = tables.read(tables.duplicates_path(home.warehouse)).to_pylist()
        assert self.graph.copies() == {
            (row["path_from"], row["path_keep"]): (row["kind"], row["distance"], row["reason"]) for row in stored
        }
        leftovers = [path for name in ("warehouse", "work") for path in (home.path / name).rglob("*.tmp")]
        leftovers += list((home.path / "warehouse").rglob(".*"))
        assert leftovers == []
        assert held_locks(home.locks) == []
        if (self.graph.chain.settings.dagster_home / ".imgret-ready").is_file():
            with open_instance(self.graph.chain.settings) as instance:
                unfinished = [run for run in instance.get_runs() if not run.is_finished]
            # Of those, the next run of Dagster's kind reports the dead ones; the last run has done so.
            assert [run.status for run in unfinished if run.status != dg.DagsterRunStatus.STARTED] == []

    def assert_no_dead_run_is_left(self) -> None:
        """One more `imgret run` ends everything that earlier ones left started."""
        last = self.start(lasting=True)
        last.go()
        last.expect("done")
        last.process.join(30)
        with open_instance(self.graph.chain.settings) as instance:
            assert [run for run in instance.get_runs() if not run.is_finished] == []

    def end(self) -> None:
        for refresh in self.running:
            refresh.process.kill()


def rows_of(folder: Path, names: list[str]) -> dict[str, list[str]]:
    """Return the rows of tables in a form that can be compared, by the tables' paths; an absent table has None."""
    found: dict[str, list[str]] = {}
    for name in names:
        path = folder / "warehouse" / name
        # Positions of the map depend on the runs before, which keep those of known images.
        columns = ["path"] if name.startswith("map/") else None
        found[name] = sorted(map(repr, tables.read(path, columns).to_pylist())) if path.is_file() else ["absent"]
    return found


_expected: dict[object, dict[str, list[str]]] = {}


def rows_from_nothing(graph: Graph) -> dict[str, list[str]]:
    """Return the rows of all tables that a fresh home makes of the graph's files."""
    files = sorted((str(path.relative_to(graph.root)), path.stat().st_mtime_ns) for path in graph.root.rglob("*.png"))
    key = (str(graph.root), *files)
    if key not in _expected:
        with tempfile.TemporaryDirectory() as folder:
            settings = replace(graph.chain.settings, home=Path(folder))
            refresh_all(settings, graph.chain.embedder, tables_only=True)
            warehouse = Path(folder) / "warehouse"
            names = [path.relative_to(warehouse).as_posix() for path in sorted(warehouse.rglob("[!.]*.parquet"))]
            _expected[key] = rows_of(Path(folder), names)
    return _expected[key]


def held_locks(folder: Path) -> list[str]:
    """Return the names of locks that a process holds."""
    held = []
    for file in sorted(folder.rglob("*.lock")):
        try:
            with FileLock(file).acquire(timeout=0):
                pass
        except Timeout:
            held.append(file.stem)
    return held


def write_collection(root: Path) -> None:
    """Write 28 images: families, blends between two, and two exact duplicates."""
    for number, path in enumerate([*write_blends(root, 6)[:1], *write_pictures(root, 20)[:1]]):
        put(root, f"copies/again{number:04d}.png", (root / path).read_bytes())


def change_collection(root: Path, rng: np.random.Generator, number: int) -> None:
    """Rewrite, remove, rename and add images, a few at random."""
    files = sorted(root.rglob("*.png"))
    rewritten, removed, renamed = (files[index] for index in rng.choice(len(files), 3, replace=False))
    rewritten.write_bytes(picture_bytes(3000 + number, family=number % 5))
    removed.unlink()
    renamed.rename(renamed.with_name(f"renamed{number:04d}.png"))
    write_pictures(root, 1, start=1000 + number)
    put(root, f"copies/more{number:04d}.png", rewritten.read_bytes())


def sampled(sample: int, exhaustive: int) -> list[Any]:
    """Return the numbers of points: a few in `make test`, many in `make test-all`."""
    return [sample, pytest.param(exhaustive, marks=pytest.mark.exhaustive)]


@contextlib.contextmanager
def attack_on(server: TestedServer, driver: Driver, folder: Path, kind: str) -> Iterator[Attack]:
    """Provide a home over the collection, whose graph is in the server under test."""
    chain = chain_on(server, folder, images=folder / "images")
    write_collection(chain.root)
    attack = Attack(Graph(chain, driver), environment(chain.settings.home, chain.root), Tally(kind), _generator(kind))
    found = server.connection
    attack.env |= {"NEO4J_URI": found.uri, "NEO4J_USERNAME": found.username, "NEO4J_PASSWORD": found.password}
    try:
        yield attack
    finally:
        attack.end()


def environment(home: Path, images: Path) -> dict[str, str]:
    return {"IMGRET_HOME": str(home), "IMGRET_IMAGES": str(images), "IMGRET_SHARDS": "4", "IMGRET_LOCK_TIMEOUT_S": "60"}


def _generator(kind: str) -> np.random.Generator:
    return np.random.default_rng([SEED, *kind.encode()])


def is_lasting(number: int) -> bool:
    return number % LASTING_EVERY == LASTING_EVERY - 1


@pytest.mark.server
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("points", sampled(2, 75))
def test_killed_from_nothing(tested_server: TestedServer, database: Driver, tmp_path: Path, points: int) -> None:
    with attack_on(tested_server, database, tmp_path, "from nothing") as attack:
        home = attack.graph.chain.settings.home
        for number in attack.until_killed(points):
            lasting = is_lasting(number)
            if lasting not in attack.calibrated:
                shutil.rmtree(home, ignore_errors=True)
                empty(database)
                attack.calibrate(lasting=lasting)
            shutil.rmtree(home)
            empty(database)
            point = attack.run_to_random_point(lasting=lasting, scale=attack.calibrated[lasting])
            attack.recover(point, lasting=lasting)
        attack.tally.finish()
        attack.assert_no_dead_run_is_left()


@pytest.mark.server
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("points", sampled(2, 75))
def test_killed_after_changes(tested_server: TestedServer, database: Driver, tmp_path: Path, points: int) -> None:
    with attack_on(tested_server, database, tmp_path, "incremental") as attack:
        attack.graph.refresh_all()
        for number in attack.until_killed(points):
            lasting = is_lasting(number)
            if lasting not in attack.calibrated:
                change_collection(attack.graph.root, attack.rng, points + number)
                attack.calibrate(lasting=lasting)
            change_collection(attack.graph.root, attack.rng, number)
            point = attack.run_to_random_point(lasting=lasting, scale=attack.calibrated[lasting])
            attack.recover(point, lasting=lasting)
        attack.tally.finish()
        attack.assert_no_dead_run_is_left()


@pytest.mark.server
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("points", sampled(2, 60))
def test_killed_on_a_full_disk(tested_server: TestedServer, database: Driver, tmp_path: Path, points: int) -> None:
    """The disk has room for a random part of the run; half of the runs are killed before they notice."""
    with small_disk(tmp_path / "disk", DISK_MB) as disk, attack_on(tested_server, database, tmp_path, "disk") as attack:
        settings = replace(attack.graph.chain.settings, home=disk.path / "home")
        attack.graph = replace(attack.graph, chain=replace(attack.graph.chain, settings=settings))
        attack.env["IMGRET_HOME"] = str(settings.home)
        room: dict[bool, int] = {}
        for number in range(points):
            lasting = is_lasting(number)
            if lasting not in room:
                _start_anew(disk, database)
                before = shutil.disk_usage(disk.path).free
                attack.calibrate(lasting=lasting)
                room[lasting] = before - shutil.disk_usage(disk.path).free
            _start_anew(disk, database)
            leaving = int(attack.rng.integers(0, room[lasting]))
            disk.fill(leaving=leaving)
            if number % 2:
                point = attack.run_to_random_point(lasting=lasting, scale=attack.calibrated[lasting])
            else:
                point = run_without_room(attack, lasting=lasting)
            disk.free()
            attack.recover(f"{point}, room for {leaving:,} of {room[lasting]:,} bytes", lasting=lasting)
        attack.tally.finish()
        attack.assert_no_dead_run_is_left()


def _start_anew(disk: SmallDisk, database: Driver) -> None:
    shutil.rmtree(disk.path / "home", ignore_errors=True)
    disk.free()
    empty(database)


def run_without_room(attack: Attack, *, lasting: bool) -> str:
    """Run on a full disk until the run ends by itself: with the name of what it could not write."""
    refresh = attack.start(lasting=lasting)
    refresh.go()
    assert refresh.pipe.poll(120), "silent on a full disk"
    outcome, message = refresh.pipe.recv()
    refresh.process.join(30)
    if outcome == "failed":
        if any(name in message for name in NAMES_OF_A_FULL_DISK):
            attack.tally.counts["failed by name"] += 1
        else:
            attack.tally.note("different", f"failed without a name on a full disk: {message}")
    return f"{outcome} on a full disk, {'imgret run' if lasting else 'functions alone'}"


@pytest.mark.server
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("points", [pytest.param(20, marks=pytest.mark.exhaustive)])
def test_the_server_killed_beside_a_run(tested_server: TestedServer, tmp_path: Path, points: int) -> None:
    """The embedded server of the home is killed in the middle of a run, which ends by name or goes on."""
    chain = chain_on(tested_server, tmp_path)
    write_collection(chain.root)
    flags = {"home": chain.settings.home, "images": chain.root, "shards": 4, "lock_timeout_s": 60}
    settings = load_settings(flags, env=clean_environment() | MEMORY)
    env = environment(settings.home, chain.root) | MEMORY
    if "IMGRET_CACHE" in os.environ:
        env["IMGRET_CACHE"] = os.environ["IMGRET_CACHE"]
    tally, rng = Tally("server"), _generator("server")
    chain = replace(chain, settings=settings)
    seconds = 0.0
    try:
        for number in range(-1, points):
            connection = lifecycle.ensure_running(settings, ready_within_s=180)
            if number >= 0:
                change_collection(chain.root, rng, number)
            with GraphDatabase.driver(connection.uri, auth=(connection.username, connection.password)) as driver:
                attack = Attack(Graph(chain, driver), env, tally, rng)
                run = attack.start(lasting=False)
                started = time.monotonic()
                run.go()
                if number < 0:
                    run.expect("done")
                    seconds = time.monotonic() - started
                    continue
                moment = float(rng.uniform(0.0, seconds))
                run.process.join(moment)
                assert connection.pid is not None
                os.kill(connection.pid, signal.SIGKILL)
                # A process of this size takes a moment to end; until then it counts as running.
                while process_start(connection.pid) is not None:
                    time.sleep(0.05)
                tally.counts["killed"] += 1
                if number % 2:
                    run.process.kill()
                elif run.pipe.poll(180) and run.pipe.recv()[0] == "failed":
                    tally.counts["failed by name"] += 1
                run.process.join(30)
            connection = lifecycle.ensure_running(settings, ready_within_s=180)
            with GraphDatabase.driver(connection.uri, auth=(connection.username, connection.password)) as driver:
                attack = Attack(Graph(chain, driver), env, tally, rng)
                attack.recover(f"server killed after {moment:.3f} of {seconds:.3f} s", lasting=False)
                attack.end()
        tally.finish()
    finally:
        lifecycle.stop(settings, within_s=20)


CONVERT = """
import os, signal, threading, time
from pathlib import Path
import numpy as np
import timm, torch
from imgret_assets.domain.inference.converted_network import import_openvino
from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.models.resolution import record_space
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings

import_openvino()
home = open_home(load_settings({"home": Path(sys.argv[1])}, env={"IMGRET_ENV_FILE": "/dev/null"}))
model = record_space(home, "timm:test_resnet", Path(sys.argv[2]))
embedder = OpenVinoEmbedder(model, home.path / "models", lock_timeout_s=30)
say("ready")
wait()
started = time.monotonic()
embedder.load()
height, width = model.space.preprocessing.size
vectors = embedder.embed((np.arange(height * width * 3) % 251).astype(np.uint8).reshape(1, height, width, 3))
say(f"{time.monotonic() - started} {vectors.tobytes().hex()}")
"""


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("points", [pytest.param(20, marks=pytest.mark.exhaustive)])
def test_killed_while_converting_a_model(tmp_path: Path, points: int) -> None:
    import timm
    import torch

    torch.manual_seed(5)
    weights = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), weights)
    tally, rng = Tally("model conversion"), _generator("conversion")
    with Process(CONVERT, [tmp_path / "undisturbed", weights]) as process:
        assert process.hear() == "ready"
        process.go()
        seconds, expected = process.hear().split()
    for number in range(points):
        home = tmp_path / f"home{number}"
        moment = float(rng.uniform(0.0, float(seconds)))
        with Process(CONVERT, [home, weights]) as process:
            assert process.hear() == "ready"
            process.go()
            time.sleep(moment)
            tally.counts["killed"] += process.popen.poll() is None
        with Process(CONVERT, [home, weights]) as process:
            tally.counts["tried"] += 1
            assert process.hear() == "ready"
            process.go()
            _, vectors = process.hear().split()
        leftovers = list((home / "models").rglob(".*"))
        if vectors != expected or leftovers or held_locks(home):
            tally.note("different", f"killed after {moment:.3f} of {seconds} s: {leftovers}")
        shutil.rmtree(home)
    tally.finish()
