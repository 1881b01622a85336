"""What the driver of a search of very many images holds and takes, without their vectors.

Belongs here: the figures and their target. Not here: the process that is measured (`bench.driver_once`).
"""

from collections.abc import Callable
from pathlib import Path

from bench.report import Measure, Report
from bench.rounds import last_json

COUNT = 10_000_000
# 4 GB and 200 bytes an image.
MOST_GB = 4 + 200 * COUNT / 2**30


def run(report: Report, work: Path, *, say: Callable[[str], None]) -> None:
    """Measure and add to the report."""
    found = last_json("bench.driver_once", COUNT, work)
    name = f"driver of {COUNT // 1_000_000} million images"
    for part, figures in found["parts"].items():
        say(f"  {name}, {part}: {figures['seconds']:.0f} s, at most {figures['peak_mb']:,.0f} MB")
        report.measures.append(Measure(f"{name}, {part}", figures["seconds"], unit="s"))
    peak_gb = max(figures["peak_mb"] for figures in found["parts"].values()) / 1024
    report.measures.append(Measure(f"{name}, {found['pairs']:,} pairs: memory", peak_gb, MOST_GB, True, "GB"))
    report.notes.append(f"driver: {found['pieces']:,} pieces with made-up answers; no vectors")
