"""What every test may rely on: no settings of this machine, a seeded generator, small generated pictures.

Belongs here: isolation and shared fixtures. Not here: starting anything (`support/neo4j_server.py`), fakes
(`fakes.py`).
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from imgret_assets.domain.images import manifest
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.settings import Settings, load_settings

pytest_plugins = [
    "imgret_tests.support.longest_first",
    "imgret_tests.support.neo4j_server",
    "imgret_tests.support.memory_bucket",
    "imgret_tests.support.forked_commands",
    "imgret_tests.support.command_place",
    "imgret_tests.support.s3_server",
]

# Before any test module is imported: a test must never read the user's .env or reach the user's database.
for _name in [name for name in os.environ if name.startswith(("IMGRET_", "NEO4J_", "DAGSTER_"))]:
    if not _name.startswith("IMGRET_TEST_"):
        del os.environ[_name]
os.environ["IMGRET_ENV_FILE"] = os.devnull
# Tests start hundreds of commands: each would compile the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test falls back to the project's own home, or to the Dagster instance that the one before has opened."""
    monkeypatch.setenv("IMGRET_HOME", str(tmp_path / "home"))
    main = sys.modules["__main__"]
    yield
    # Streamlit's AppTest leaves its page there, and a process that a later test spawns would run it.
    sys.modules["__main__"] = main
    os.environ.pop("DAGSTER_HOME", None)
    # Dagster gives SIGTERM the handler of SIGINT, which a background job ignores: a child would ignore both.
    if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files of tests need not outlive a power failure; only tests of syncing itself replace this again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def lite0_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which EfficientNet-Lite0 is converted and compiled: that takes longer than most tests."""
    from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
    from imgret_assets.domain.models.resolution import record_space

    # The folder of the whole run, in which each worker has one of its own.
    shared = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else None
    converted = (shared or tmp_path_factory.getbasetemp()) / "converted-lite0"
    with FileLock(f"{converted}.lock"):
        if not (converted / "done").exists():
            model = record_space(open_home(load_settings({"home": converted})), "efficientnet_lite0")
            OpenVinoEmbedder(model, converted / "models").load()
            (converted / "done").touch()
    folder = tmp_path_factory.mktemp("lite0")
    shutil.copytree(converted, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("done"))
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that gives every test the same numbers, whatever ran before."""
    return np.random.default_rng(20261122)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """An empty image root."""
    root = tmp_path / "images"
    root.mkdir()
    return root


@pytest.fixture
def settings(tmp_path: Path, images: Path) -> Settings:
    """Settings of a temporary home over `images`, four shards, short waits."""
    return load_settings({"home": tmp_path / "home", "images": images, "shards": 4, "lock_timeout_s": 10})


@pytest.fixture
def home(settings: Settings) -> Home:
    """An opened temporary home."""
    return open_home(settings)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old as soon as they are listed: their ctime can't be set back to make them so."""
    monkeypatch.setattr(manifest, "RACY_NS", 0)
