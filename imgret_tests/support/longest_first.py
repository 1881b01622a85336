"""The order of test files on several workers: those that take longest first, so that no worker ends with one of them.

Belongs here: the order and the durations that it follows. Not here: which tests run (the Makefile).

pytest-xdist gives each file to one worker (`--dist loadfile`), by default those with the most tests first. A file of
few tests that start servers would come last. The durations are those of the last run on several workers, in pytest's
cache; before the first one, the files that start whole programs come first.
"""

from collections import defaultdict

import pytest

_CACHE_KEY = "imgret/seconds_of_files"
# Used until there are durations: each starts servers, browsers or commands.
_SUSPECTED = (
    *("server/test_page_in_browser.py", "attack/test_kill_points.py", "server/test_killed_runs.py"),
    *("docs/test_docs_commands.py", "server/test_command_line.py", "cli/test_installed_wheel.py"),
    *("server/test_webserver.py", "attack/test_many_askers.py", "server/test_pipeline.py"),
    *("unit/inference/test_openvino_engine.py", "unit/inference/test_torch_engine.py"),
)
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
    seconds = expected_seconds(config.cache.get(_CACHE_KEY, {}) if config.cache else {})
    items.sort(key=lambda item: -seconds.get(file_of(item.nodeid), 0.0))


def expected_seconds(recorded: dict[str, float]) -> dict[str, float]:
    """Return the expected duration of each file that is known, by its path."""
    return recorded or {
        f"imgret_tests/{file}": -float(place) for place, file in enumerate(_SUSPECTED, -len(_SUSPECTED))
    }


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
