"""Timing contenders against each other on a machine that is never quiet.

Belongs here: interleaved rounds, processor time and memory of a process. Not here: contenders.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.locations import PROJECT


@dataclass
class Timing:
    """What a contender took: one entry for each round.

    Attributes:
        things: what it did in a round, such as the number of images.
        seconds: wall time of each round.
        busy: share of the machine's cores that this process used, of each round, 0..1.
    """

    things: int
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Things a second: the median round's."""
        return self.things / median(self.seconds)

    @property
    def use(self) -> float:
        """Share of the cores in use: the median round's."""
        return median(self.busy)

    def as_json(self) -> dict[str, Any]:
        """For the results file."""
        return {"things": self.things, "seconds": self.seconds, "per_second": self.rate, "cpu_use": self.use}


@dataclass(frozen=True)
class Contender:
    """One way to do the work: `prepare` is not timed, `work` is and returns how many things it did."""

    work: Callable[[], int]
    prepare: Callable[[], None] = lambda: None


def interleaved(contenders: Mapping[str, Contender], rounds: int, say: Callable[[str], None]) -> dict[str, Timing]:
    """Run every contender once a round, so that a slow spell of the machine hits all of them.

    A first round that is not counted warms caches: compiled kernels, models, files.
    """
    timings: dict[str, Timing] = {}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            contender.prepare()
            cpu, started = _cpu_s(), time.perf_counter()
            things = contender.work()
            seconds = time.perf_counter() - started
            if number == 0:
                timings[name] = Timing(things)
                continue
            timings[name].seconds.append(seconds)
            timings[name].busy.append((_cpu_s() - cpu) / seconds / usable_threads())
            say(f"  round {number}: {name}: {things / seconds:,.1f} a second")
    return timings


def last_json(module: str, *arguments: object) -> Any:
    """Run `python -m module` to its end; what it printed last, read as JSON."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def own_peak_memory_mb() -> float:
    """The most memory that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not ru_maxrss: on Linux it starts with what the parent held when it forked.
        (line,) = [line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
