"""The order of test files on several workers: those that take longest first, so that no worker ends with one of them.

Belongs here: the order and the durations that it follows. Not here: which tests run (the Makefile).

pytest-xdist gives each file to one worker (`--dist loadfile`), by default those with the most tests first. A file of
few tests that start servers would come last. The durations are those of the last run on several workers, in pytest's
cache; before the first one, those of `seconds_of_files.txt`, which `python -m imgret_tests.support.longest_first`
writes again from the cache.
"""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from imgret_assets.locations import PROJECT

_CACHE_KEY = "imgret/seconds_of_files"
RECORDED = Path(__file__).with_name("seconds_of_files.txt")
# Shorter ones fill what the long ones leave, in any order.
_LISTED_FROM_S = 10.0
_MIN_FILES = 50
_seconds: defaultdict[str, float] = defaultdict(float)


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist keep the order of the files."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the files on a worker of pytest-xdist; every worker gets the same order."""
    if not hasattr(config, "workerinput"):
        return
    seconds = (config.cache.get(_CACHE_KEY, {}) if config.cache else {}) or read_recorded()
    items.sort(key=lambda item: -seconds.get(file_of(item.nodeid), 0.0))


def read_recorded() -> dict[str, float]:
    """Return the seconds of the listed files, by their paths; each line is a number and a path."""
    lines = (line.split() for line in RECORDED.read_text(encoding="utf-8").splitlines())
    return {file: float(seconds) for seconds, file in lines}


def file_of(nodeid: str) -> str:
    """Return the path of a test's file."""
    return nodeid.partition("::")[0]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the durations of a file's tests with their fixtures."""
    _seconds[file_of(report.nodeid)] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Record the durations of a run on several workers; not of some files alone."""
    config = session.config
    on_workers = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if on_workers and config.cache and len(_seconds) >= _MIN_FILES:
        config.cache.set(_CACHE_KEY, {file: round(seconds, 1) for file, seconds in _seconds.items()})


def _write_recorded() -> None:
    """Write the list from pytest's cache."""
    cached = PROJECT / ".pytest_cache" / "v" / _CACHE_KEY
    seconds: dict[str, float] = json.loads(cached.read_text(encoding="utf-8"))
    longest_first = sorted(seconds, key=lambda file: (-seconds[file], file))
    lines = [f"{seconds[file]:.0f} {file}\n" for file in longest_first if seconds[file] >= _LISTED_FROM_S]
    RECORDED.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    _write_recorded()
