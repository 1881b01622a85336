"""`python -m bench`: measure everything, print a table, write JSON."""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from bench import (
    api,
    approximate,
    cluster,
    copies,
    driver,
    embedding,
    graph,
    loading,
    page,
    pairs,
    quality,
    refresh,
    ways,
)
from bench.pictures import source_pictures
from bench.report import Report, this_machine

SECTIONS = (
    "embedding",
    "memory",
    "pairs",
    "graph",
    "refresh",
    "files",
    "page",
    "quality",
    "ways",
    "copies",
    "api",
    "cluster",
    "loading",
    "driver",
    "approximate",
)


def main() -> None:
    """Parse the arguments and measure the sections asked for."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("sections", nargs="*", default=[], help=f"of {', '.join(SECTIONS)}; all where none is named")
    parser.add_argument("--photos", type=Path, help="pictures to repeat; ../shared/photos, else the drawn samples")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that does not")
    parser.add_argument("--json", type=Path, default=Path("bench-results.json"), help="file of the results")
    parser.add_argument("--work", type=Path, help="folder for files on the way; a temporary one where not given")
    given = parser.parse_args()
    unknown = set(given.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}")
    sections = given.sections or list(SECTIONS)
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    report = Report(this_machine())
    with tempfile.TemporaryDirectory(prefix="imgret-bench-", dir=given.work) as folder:
        work = Path(folder)
        sources = source_pictures(given.photos, work)
        sizes = embedding.Sizes()
        runs: dict[str, Callable[[], None]] = {
            "embedding": lambda: embedding.run(report, sources, work, rounds=given.rounds, sizes=sizes, say=_say),
            "memory": lambda: embedding.memory(report, sources, work, sizes=sizes, say=_say),
            "pairs": lambda: pairs.run(report, sources, work, rounds=given.rounds, say=_say),
            "graph": lambda: graph.run(
                report, sources, work, rounds=min(given.rounds, 3), sizes=graph.Sizes(), say=_say
            ),
            "refresh": lambda: refresh.run(report, work, rounds=given.rounds, say=_say),
            "files": lambda: refresh.run_many(report, sources, work, count=10_000, say=_say),
            "page": lambda: page.run(report, sources, work, rounds=given.rounds, say=_say),
            "quality": lambda: quality.run(report, sources, work, say=_say),
            "ways": lambda: ways.run(report, sources, work, say=_say),
            "copies": lambda: copies.run(report, sources, work, say=_say),
            "approximate": lambda: approximate.run(report, sources, work, say=_say),
            "cluster": lambda: cluster.run(report, sources, work, say=_say),
            "loading": lambda: loading.run(report, work, sizes=loading.Sizes(), say=_say),
            "driver": lambda: driver.run(report, work, say=_say),
            "api": lambda: api.run(report, sources, work, sizes=api.Sizes(), say=_say),
        }
        # What is measured as part of `quality` is a section of its own, too.
        chosen = {*sections, *(["ways"] if "quality" in sections else [])}
        for name in SECTIONS:
            if name in chosen:
                runs[name]()
    print(report.table())
    report.write(given.json)
    _say(f"Written to {given.json}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
