import errno
import json
import os
import socket
from typing import Any

import pytest

from imgret_assets.defs.instance.dagster_home import prepare
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.neo4j_server import host
from imgret_assets.domain.operations import doctor as module
from imgret_assets.domain.review.decision_log import decisions_path, record
from imgret_assets.domain.review.decisions import File, keep_all
from imgret_assets.domain.storage import tables
from imgret_tests.cli.conftest import Library
from imgret_tests.support.caught_up import catch_up
from imgret_tests.support.pictures import picture_bytes

LOOKS = ["python", "packages", "settings", "home", "disk", "images", "tables", "decisions", "model", "engine"]
LOOKS += ["dagster", "ports"]


def looked_at(library: Library) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and conditions by name; every one that fails says what to do."""
    done = library.run("doctor", "--json")
    conditions = json.loads(done.stdout)
    assert all(condition["remedy"] for condition in conditions if not condition["ok"])
    return done.return_value, {condition["name"]: condition for condition in conditions}


def failing(library: Library) -> list[str]:
    code, found = looked_at(library)
    names = [name for name, condition in found.items() if not condition["ok"]]
    assert code == (1 if names else 0)
    return names


@pytest.fixture
def healthy(library: Library, monkeypatch: pytest.MonkeyPatch) -> Library:
    """A library with Dagster's home and a model that this machine has."""
    monkeypatch.setenv("IMGRET_MODEL", "efficientnet_lite0")
    monkeypatch.setenv("DAGSTER_HOME", str(library.home.settings.dagster_home))
    prepare(library.home.settings)
    # The fake model has no record of its own.
    monkeypatch.setattr(module, "recorded_space", lambda _: library.space)
    catch_up(library.home, library.embedder)
    return library


def test_where_nothing_lacks_it_says_so(healthy: Library) -> None:
    code, found = looked_at(healthy)
    assert list(found) == [*LOOKS, "neo4j", "backlog"]
    assert code == 0
    assert found["tables"]["says"] == f"{healthy.space.id}: 23 images in 4 shards"
    assert found["engine"]["says"].startswith("openvino ")
    assert "is not running; it starts when it is needed" in found["neo4j"]["says"]
    assert "Neo4j 7687" in found["ports"]["says"]
    lines = healthy.run("doctor").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in found]


def test_a_damaged_decision_is_found_and_its_line_named(healthy: Library) -> None:
    assert looked_at(healthy)[1]["decisions"]["says"] == "none yet"
    path = decisions_path(healthy.home)
    record(healthy.home, [keep_all([File("a.png", "a" * 64), File("b.png", "b" * 64)])], by="anna")
    assert looked_at(healthy)[1]["decisions"]["says"].startswith("1 verified; copies of ")
    path.write_bytes(path.read_bytes().replace(b"anna", b"enna"))
    code, found = looked_at(healthy)
    assert (code, found["decisions"]["ok"]) == (1, False)
    assert f"Line 1 of {path} is damaged" in found["decisions"]["says"]
    assert f"cp {path.with_name('decisions.copies')}" in found["decisions"]["remedy"]


def test_each_lack_is_found_and_says_what_to_do(healthy: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "FREE_GB", 1e9)
        assert failing(healthy) == ["disk"]
    with monkeypatch.context() as patch:
        patch.setattr(module.sys, "version_info", (3, 9, 1))
        assert failing(healthy) == ["python"]
    with monkeypatch.context() as patch:
        patch.setattr(module.importlib.metadata, "requires", lambda _: ["click>=99", "no-such-thing-here", "numpy"])
        assert failing(healthy) == ["packages"]
        said = looked_at(healthy)[1]["packages"]["says"]
        assert "click is 8" in said
        assert "no-such-thing-here is missing" in said
    with monkeypatch.context() as patch:
        patch.setenv("IMGRET_MODEL", "no-such-model")
        assert set(failing(healthy)) == {"model", "engine"}
    with monkeypatch.context() as patch:
        patch.setenv("IMGRET_WEIGHTS", "/nowhere/weights.pth")
        assert set(failing(healthy)) == {"model", "engine"}
    with monkeypatch.context() as patch:
        patch.setattr(module, "import_openvino", lambda: (_ for _ in ()).throw(ImportError("no libopenvino.so")))
        assert failing(healthy) == ["engine"]
    with monkeypatch.context() as patch:
        patch.setattr(host, "unused_port", lambda: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
        assert failing(healthy) == ["ports"]
    with monkeypatch.context() as patch:
        patch.setenv("NEO4J_URI", "bolt://127.0.0.1:1")
        # What another database holds is not known.
        assert failing(healthy) == ["neo4j", "backlog"]
    assert failing(healthy) == []


def test_a_storage_elsewhere_needs_no_mark_in_this_container(healthy: Library) -> None:
    """Each container has a DAGSTER_HOME of its own and the database in common."""
    folder = healthy.home.settings.dagster_home
    (folder / ".imgret-ready").unlink()
    config = {"base_dir": str(healthy.home.path / "other")}
    custom = {"module": "imgret_tests.support.other_storage", "class": "OtherStorage", "config": config}
    (folder / "dagster.yaml").write_text(json.dumps({"storage": {"custom": custom}}))
    code, found = looked_at(healthy)
    assert (code, found["dagster"]["says"]) == (0, f"{folder}, 0 runs in OtherStorage")


def test_a_storage_elsewhere_that_does_not_answer_is_found(healthy: Library) -> None:
    folder = healthy.home.settings.dagster_home
    login = {"hostname": "127.0.0.1", "port": 1, "username": "dagster", "password": "", "db_name": "dagster"}
    (folder / "dagster.yaml").write_text(json.dumps({"storage": {"postgres": {"postgres_db": login}}}))
    code, found = looked_at(healthy)
    assert code == 1
    assert found["dagster"]["says"].startswith("Dagster's storage does not answer (DagsterPostgresStorage: ")
    assert found["dagster"]["remedy"] == f"start the database that {folder / 'dagster.yaml'} names"


def test_what_lacks_on_the_disk_is_found(healthy: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tables.embeddings_path(healthy.home.warehouse, healthy.space.id, "01")
    whole = damaged.rename(healthy.home.path / "whole")
    damaged.write_bytes(b"no parquet")
    assert failing(healthy) == ["tables", "backlog"]
    whole.rename(damaged)
    (healthy.home.settings.dagster_home / ".imgret-ready").rename(healthy.home.path / "away")
    assert failing(healthy) == ["dagster"]
    (healthy.home.path / "away").rename(healthy.home.settings.dagster_home / ".imgret-ready")
    monkeypatch.setenv("IMGRET_IMAGES", "/nowhere/pictures")
    assert failing(healthy) == ["images", "backlog"]
    empty = healthy.home.path / "empty"
    empty.mkdir()
    monkeypatch.setenv("IMGRET_IMAGES", str(empty))
    assert failing(healthy) == ["images", "backlog"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written_is_found(healthy: Library) -> None:
    first = min(healthy.root.rglob("*.png"))
    for file in healthy.root.rglob("*.*g"):
        file.chmod(0)
    assert failing(healthy) == ["images"], first
    healthy.home.warehouse.chmod(0o500)
    assert "home" in failing(healthy)
    healthy.home.warehouse.chmod(0o700)


@pytest.mark.parametrize(("number", "says"), [(errno.EROFS, "can't be written"), (errno.EIO, "Input/output error")])
def test_an_error_of_the_file_system_is_one_condition_among_the_others(
    healthy: Library, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/home/of/images")

    monkeypatch.setattr(module, "find_damaged", fail)
    code, found = looked_at(healthy)
    assert (code, set(LOOKS) - set(found)) == (1, set())
    assert says in found["tables"]["says"]
    assert "/home/of/images" in found["tables"]["says"]


def test_a_record_that_is_damaged_ends_the_looking_at_the_home(healthy: Library) -> None:
    (healthy.home.path / "home.json").write_text("{")
    code, found = looked_at(healthy)
    assert (code, list(found)[-1], found["home"]["ok"]) == (1, "home", False)


def test_a_port_in_use_is_told_and_no_lack(healthy: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        monkeypatch.setattr(module, "PORTS", {"page": port})
        code, found = looked_at(healthy)
    assert (code, found["ports"]["says"]) == (0, f"page {port} in use")


def test_what_a_failed_run_left_behind_is_told_until_it_is_caught_up(healthy: Library) -> None:
    assert looked_at(healthy)[1]["backlog"]["says"] == "embeddings, tables and graph are current"
    (healthy.root / "new.png").write_bytes(picture_bytes(81))
    refresh_manifest(healthy.home)
    assert failing(healthy) == ["backlog"]
    assert "embeddings (older in 1 of 4 shards)" in looked_at(healthy)[1]["backlog"]["says"]
    catch_up(healthy.home, healthy.embedder)
    assert failing(healthy) == []
