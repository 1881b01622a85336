"""The precedence of settings in processes that Dagster's commands start, which read `.env` over the environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgret_assets.defs.environment import Start, is_dagster_command, started_environment, without_env_file
from imgret_tests.support.neo4j_server import clean_environment

# A code location that writes down, once when it is loaded and once in a run, what its resources resolve.
LOCATION = """
import json
import os
from pathlib import Path

import dagster as dg

from imgret_assets.defs.build import build_defs
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.image_store import ImageStoreResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.errors import DatabaseError


def write_settings(file: str) -> None:
    home = WarehouseResource(image_store=ImageStoreResource()).open()
    try:
        with Neo4jResource().open(home):
            graph = ""
    except DatabaseError as error:
        graph = str(error)
    shards = build_defs().resolve_assets_def("raw_images").partitions_def.get_partition_keys()
    seen = {"images": str(home.images), "model": EmbedderResource().space(home).model, "shards": len(shards)}
    Path(file).write_text(json.dumps(seen | {"graph": graph}))


@dg.op
def write_in_a_run() -> None:
    write_settings("run.json")


@dg.job
def resolve() -> None:
    write_in_a_run()


write_settings("load.json")
defs = dg.Definitions(jobs=[resolve])
"""
FILE = """
IMGRET_IMAGES=/from/the/file
IMGRET_MODEL=resnet50
IMGRET_SHARDS=3
NEO4J_URI=bolt://127.0.0.1:2
NEO4J_PASSWORD=x
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "location.py").write_text(LOCATION)
    (tmp_path / ".env").write_text(FILE)
    return tmp_path


def dagster(folder: Path, *words: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *words],
        env=clean_environment()
        | {"IMGRET_HOME": str(folder / "home"), "DAGSTER_HOME": "", "IMGRET_ENV_FILE": str(folder / ".env")}
        | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (("job", "execute", "-f", "location.py", "-j", "resolve"), ("load.json", "run.json")),
        (("definitions", "validate", "-f", "location.py"), ("load.json",)),
    ],
    ids=["in the command's own process and a step's", "in a code server"],
)
def test_the_environment_wins_over_the_env_file(folder: Path, words: tuple[str, ...], files: tuple[str, ...]) -> None:
    dagster(
        folder,
        *words,
        IMGRET_IMAGES="/from/the/environment",
        IMGRET_MODEL="efficientnet_lite0",
        NEO4J_URI="bolt://127.0.0.1:1",
    )
    for file in files:
        seen = json.loads((folder / file).read_text())
        assert (seen["images"], seen["model"]) == ("/from/the/environment", "efficientnet_lite0")
        assert "127.0.0.1:1" in seen["graph"]
        assert seen["shards"] == 3, "what the environment doesn't set comes from the file"


def test_what_was_set_after_the_start_keeps_its_value() -> None:
    start = Start(
        environment={"replaced": "a", "later": "a", "removed": "a", "empty": "", "emptied": "a"},
        file_values={"replaced": "b", "later": "b", "removed": "b", "empty": "b", "emptied": "", "new": "b"},
    )
    now = {"replaced": "b", "later": "c", "empty": "b", "emptied": "", "new": "b", "unrelated": "d"}
    assert without_env_file(now, start) == now | {"replaced": "a", "emptied": "a"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/venv/bin/python /venv/bin/dagster dev -w workspace.yaml", True),
        ("/venv/bin/python -m dagster job execute", True),
        ("python -m dagster._daemon run", True),
        ("/venv/bin/python -X utf8 -m dagster_webserver", True),
        ("/venv/bin/python3 /venv/bin/dg launch", True),
        ("/venv/bin/python /venv/bin/imgret run --images dagster", False),
        ("/venv/bin/python -m pytest -m dagster", False),
        ("bash", False),
        ("", False),
    ],
)
def test_commands_of_dagster_are_recognised(line: str, expected: bool) -> None:
    assert is_dagster_command(line.split()) is expected


def test_elsewhere_it_is_the_process_s_own_environment() -> None:
    assert started_environment() is os.environ
