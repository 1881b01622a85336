"""`imgret run` as a user starts it: over the samples of which nothing or one file has changed, and over 10,000 files.

Belongs here: whole runs in processes of their own, and what such a process costs without our work: loading the code
location, a Dagster job of one empty op. Not here: parts of a run (`bench.embedding`, `bench.pairs`, `bench.graph`).

The servers are embedded ones of the benchmark's own homes, stopped at the end.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from bench.graph import served
from bench.homes import NO_ENV, open_bench_home
from bench.report import Measure, Report
from imgret_assets.domain.storage.home import Home
from imgret_assets.locations import PROJECT
from imgret_assets.samples.folders import draw_catalogue

UNCHANGED, CHANGED = "run without changes", "run with one changed file"
LOCATION, EMPTY = "loading the code location", "Dagster job of one empty op"


@dataclass
class _Taken:
    """Seconds of each round: wall time, and processor time of the process with those that it started."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def run(report: Report, work: Path, *, rounds: int, say: Callable[[str], None]) -> None:
    """Measure runs over the samples, every kind once a round, so that a slow spell of the machine hits all of them."""
    images = work / "refresh-samples"
    say("Drawing the samples")
    draw_catalogue(images)
    home = open_bench_home(work / "refresh-home", model="efficientnet_lite0", images=images)
    environment = _environment(home, images)
    imgret_run = ["-c", "from imgret_assets.cli.main import main; main()", "run", "--json"]
    changed = max(images.rglob("*.jpg"), key=lambda file: file.stat().st_size)
    commands: dict[str, list[str]] = {
        UNCHANGED: imgret_run,
        CHANGED: imgret_run,
        LOCATION: ["-m", "dagster", "definitions", "validate", "-m", "imgret_assets.definitions"],
        EMPTY: ["-m", "bench.empty_run"],
    }
    taken = {name: _Taken() for name in commands}
    with served(home.settings):
        count = json.loads(_process(imgret_run, environment)[0])["images"]
        for number in range(rounds + 1):
            for name, command in commands.items():
                if name == CHANGED:
                    _change(changed, number)
                output, wall, processor = _process(command, environment)
                expected = {UNCHANGED: 0, CHANGED: 1}.get(name)
                if expected is not None and json.loads(output)["embedded"] != expected:
                    raise SystemExit(f"bench: {name} embedded {json.loads(output)['embedded']}")
                if number:
                    taken[name].wall.append(wall)
                    taken[name].processor.append(processor)
                say(f"  round {number}: {name}: {wall:.1f} s, {processor:.1f} s of the processor")
    for name, each in taken.items():
        title = f"{name}, {count} samples" if name in (UNCHANGED, CHANGED) else name
        report.measures += [
            Measure(title, median(each.wall), {UNCHANGED: 3.0, CHANGED: 4.0}.get(name), at_most=True, unit="s"),
            Measure(f"{title}: processor", median(each.processor), unit="s"),
        ]


def _process(arguments: Sequence[str], environment: dict[str, str]) -> tuple[str, float, float]:
    """Run Python to its end; return what it printed, its wall time, and processor time with that of its children."""
    # Files, not pipes: nothing has to be read while the process runs, and `wait4` alone waits for it.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=PROJECT, env=environment, stdout=output, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (output, errors):
            file.seek(0)
        if process.returncode:
            raise SystemExit(f"bench: {' '.join(arguments)} failed\n{errors.read()[-2000:]}")
        return output.read(), seconds, usage.ru_utime + usage.ru_stime


def _change(file: Path, seed: int) -> None:
    """Give a JPEG file other content: the same image, a little darker in one place."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB")).copy()
    top = 10 * (seed % 10)
    pixels[top : top + 40, :40] //= 2
    Image.fromarray(pixels).save(file, quality=90)


def run_many(report: Report, sources: Sequence[Path], work: Path, *, count: int, say: Callable[[str], None]) -> None:
    """Measure a run over many files, over the same, and after one in a hundred is new: every asset, Neo4j too."""
    folder = work / "files"
    say(f"Writing {count:,} pictures")
    _parts(sources, range(count), folder)
    home = open_bench_home(work / "files-home", model="efficientnet_lite0", images=folder)
    with served(home.settings):
        full = _run(home, folder)
        say(f"  everything over {count:,} files: {full['seconds']:.1f} s")
        same = _run(home, folder)
        _parts(sources, range(count, count + max(1, count // 100)), folder)
        new = _run(home, folder)
        say(f"  nothing changed: {same['seconds']:.1f} s; 1 % new: {new['seconds']:.1f} s")
        if (full["embedded"], same["embedded"], new["embedded"]) != (count, 0, max(1, count // 100)):
            raise SystemExit(f"bench: embedded {full['embedded']}, {same['embedded']} and {new['embedded']}")
    for name, each in {
        f"run over {count:,} files, all assets": full,
        "the same again, nothing changed": same,
        "1 % new, all assets": new,
    }.items():
        report.measures += [
            Measure(name, each["seconds"], unit="s"),
            Measure(f"{name}: processor", each["processor"], unit="s"),
        ]
    for name, key in (("", "seconds"), (", of the processor", "processor")):
        share = new[key] / full[key]
        report.measures.append(Measure(f"1 % new, all assets: share of the full run{name}", share, 0.05, at_most=True))


def _run(home: Home, images: Path) -> dict[str, Any]:
    """`imgret run --json` in a process of its own, with its wall and processor time from start to end."""
    command = ["-c", "from imgret_assets.cli.main import main; main()", "run", "--json"]
    output, seconds, processor = _process(command, _environment(home, images))
    return json.loads(output) | {"seconds": seconds, "processor": processor}


def _environment(home: Home, images: Path) -> dict[str, str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("IMGRET_", "NEO4J_", "DAGSTER_"))
    }
    chosen = {"IMGRET_HOME": str(home.path), "IMGRET_IMAGES": str(images), "IMGRET_MODEL": "efficientnet_lite0"}
    return environment | NO_ENV | chosen


def _parts(sources: Sequence[Path], numbers: range, folder: Path) -> None:
    """A JPEG file of at most 320 pixels a side for each number: a part of a picture, in a folder named as its own."""
    for number in numbers:
        rng = np.random.default_rng(number)
        source = sources[number % len(sources)]
        with Image.open(source) as image:
            width, height = (max(32, int(side * rng.uniform(0.5, 0.9))) for side in image.size)
            left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
            part = image.convert("RGB").crop((int(left), int(top), int(left) + width, int(top) + height))
        part.thumbnail((320, 320))
        file = folder / source.parent.name / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        part.save(file, quality=88)
