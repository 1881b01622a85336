"""The results as a table to read and a file to compare.

Belongs here: targets beside measures. Not here: measuring.
"""

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.rounds import Timing
from imgret_assets.domain.runtime.cpu import usable_threads


@dataclass(frozen=True)
class Measure:
    """One figure, and the target it is held against where there is one.

    Attributes:
        name: what was measured.
        value: the figure.
        target: what it should reach.
        at_most: True where less is better.
        unit: behind the figure.
    """

    name: str
    value: float
    target: float | None = None
    at_most: bool = False
    unit: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return bool(self.value <= self.target if self.at_most else self.value >= self.target)


@dataclass
class Report:
    """All that one run of the benchmark found."""

    machine: dict[str, Any]
    timings: dict[str, Timing] = field(default_factory=dict)
    measures: list[Measure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ratio(self, name: str, above: Timing, below: Timing, target: float | None) -> None:
        """How many times one rate is the other: the median of the rounds, since a slow spell hits both of a round."""
        rounds = zip(above.seconds, below.seconds, strict=True)
        each = [(above.things / mine) / (below.things / its) for mine, its in rounds]
        self.measures.append(Measure(name, median(each), target, unit="x"))

    def table(self) -> str:
        """The whole report as text."""
        lines = [" ".join(f"{key}: {value}" for key, value in self.machine.items()), ""]
        width = max([len(name) for name in self.timings] + [len(measure.name) for measure in self.measures])
        lines.append(f"{'':{width}}  {'a second':>12}  {'cores in use':>12}  rounds (s)")
        for name, timing in self.timings.items():
            rounds = " ".join(f"{seconds:.2f}" for seconds in timing.seconds)
            lines.append(f"{name:{width}}  {timing.rate:12,.1f}  {timing.use:12.0%}  {rounds}")
        lines += ["", f"{'':{width}}  {'measured':>12}  {'target':>12}"]
        for measure in self.measures:
            sign = "" if measure.target is None else ("<= " if measure.at_most else ">= ") + f"{measure.target:g}"
            verdict = {True: "reached", False: "MISSED", None: ""}[measure.reached]
            shown = (
                f"{measure.value:,.3g} {measure.unit}"
                if measure.value < 100
                else f"{measure.value:,.0f} {measure.unit}"
            )
            lines.append(f"{measure.name:{width}}  {shown:>12}  {sign:>12}  {verdict}")
        return "\n".join(lines + [""] * bool(self.notes) + self.notes)

    def write(self, file: Path) -> None:
        """Write it as JSON."""
        said = {
            "machine": self.machine,
            "timings": {name: timing.as_json() for name, timing in self.timings.items()},
            # Medians and the like may be NumPy's numbers, which JSON doesn't know.
            "measures": [asdict(one) | {"value": float(one.value), "reached": one.reached} for one in self.measures],
            "notes": self.notes,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def this_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    flags: set[str] = set()
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "flags":
                flags = set(value.split())
            elif key.strip() == "model name":
                name = value.strip()
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "processor": name,
        "cores": usable_threads(),
        "has": "+".join(flag for flag in known if flag in flags) or "?",
    }
