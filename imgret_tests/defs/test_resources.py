"""The resources: how they complete themselves from the settings, and what they keep to themselves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import dagster as dg
import pytest

from imgret_assets.defs.build import build_defs
from imgret_assets.defs.jobs import REFRESH
from imgret_assets.defs.partitions import range_tags
from imgret_assets.defs.resources import default_resources
from imgret_assets.defs.resources import neo4j as neo4j_module
from imgret_assets.defs.resources.image_store import ImageStoreResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, HomeError, SettingError, UnreachableDatabaseError
from imgret_assets.settings import Settings
from imgret_tests.support.chain import QUIET, Chain
from imgret_tests.support.pictures import write_pictures

SECRET = "open-sesame-2026"


@pytest.fixture
def warehouse() -> WarehouseResource:
    return WarehouseResource(image_store=ImageStoreResource())


@pytest.fixture
def opened_with(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `Neo4jResource.open` opens a database with; none is opened."""
    seen: list[Settings] = []

    @contextmanager
    def recording(settings: Settings) -> Iterator[Database]:
        seen.append(settings)
        yield cast("Database", None)

    monkeypatch.setattr(neo4j_module, "open_database", recording)
    return seen


def test_the_warehouse_is_completed_from_the_environment(
    warehouse: WarehouseResource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IMGRET_HOME", str(tmp_path / "from-environment"))
    monkeypatch.setenv("IMGRET_IMAGES", str(tmp_path / "pictures"))
    monkeypatch.setenv("IMGRET_SHARDS", "7")
    monkeypatch.setenv("IMGRET_LOCK_TIMEOUT_S", "3.5")
    monkeypatch.setenv("IMGRET_MAX_PIXELS", "1234")
    home = warehouse.open()
    assert home.path == tmp_path / "from-environment"
    assert home.images.folder == tmp_path / "pictures"
    assert len(home.shards) == 7
    assert (home.settings.lock_timeout_s, home.settings.max_pixels) == (3.5, 1234)


def test_configuration_takes_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMGRET_HOME", str(tmp_path / "from-environment"))
    monkeypatch.setenv("IMGRET_IMAGES", str(tmp_path / "pictures"))
    monkeypatch.setenv("IMGRET_SHARDS", "7")
    image_store = ImageStoreResource(root=str(tmp_path / "others"), max_pixels=99)
    home = WarehouseResource(home=str(tmp_path / "given"), shards=3, lock_timeout_s=1.0, image_store=image_store).open()
    assert (home.path, home.images.folder, len(home.shards)) == (tmp_path / "given", tmp_path / "others", 3)
    assert (home.settings.lock_timeout_s, home.settings.max_pixels) == (1.0, 99)
    assert not (tmp_path / "from-environment").exists()


def test_the_environment_is_read_when_a_resource_is_used(
    warehouse: WarehouseResource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IMGRET_HOME", str(tmp_path / "later"))
    assert warehouse.open().path == tmp_path / "later"


def test_a_number_of_shards_other_than_that_of_the_home_is_an_error(settings: Settings, home: Home) -> None:
    del home
    other = WarehouseResource(home=str(settings.home), shards=5, image_store=ImageStoreResource())
    with pytest.raises(SettingError, match=r"IMGRET_SHARDS is 5, but .* was made with 4 shards.*reshard 5"):
        other.open()


def test_a_home_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HomeError, match="IMGRET_HOME"):
        WarehouseResource(home=str(tmp_path / "file" / "home"), image_store=ImageStoreResource()).open()


def test_neo4j_is_completed_from_the_environment(
    home: Home, opened_with: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"URI": "bolt://db:1", "USERNAME": "me", "PASSWORD": SECRET, "DATABASE": "pics"}.items():
        monkeypatch.setenv(f"NEO4J_{name}", value)
    with Neo4jResource().open(home):
        pass
    found = opened_with[0].neo4j
    assert (found.uri, found.username, found.password, found.database) == ("bolt://db:1", "me", SECRET, "pics")
    assert opened_with[0].home == home.path


def test_configured_neo4j_takes_precedence_over_the_environment(
    home: Home, opened_with: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEO4J_URI", "bolt://db:1")
    with Neo4jResource(uri="bolt://other:2", username="you", password="given", database="d").open(home):
        pass
    found = opened_with[0].neo4j
    assert (found.uri, found.username, found.password, found.database) == ("bolt://other:2", "you", "given", "d")


def test_without_a_uri_the_embedded_server_is_used(home: Home, opened_with: list[Settings]) -> None:
    with Neo4jResource().open(home):
        pass
    assert opened_with[0].neo4j.embedded


def test_the_password_can_be_an_environment_variable(
    home: Home, opened_with: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_PASSWORD", SECRET)

    @dg.op
    def opening(neo4j: Neo4jResource) -> None:
        with neo4j.open(home):
            pass

    @dg.job(resource_defs={"neo4j": Neo4jResource(uri="bolt://db:1", password=dg.EnvVar("A_PASSWORD"))})
    def asking() -> None:
        opening()

    assert asking.execute_in_process(QUIET).success
    assert opened_with[0].neo4j.password == SECRET


def test_the_password_is_not_in_the_text_of_the_resource(settings: Settings) -> None:
    resource = Neo4jResource(uri="bolt://db:1", password=SECRET)
    assert SECRET not in repr(resource)
    assert SECRET not in str(resource)
    del settings


def test_the_password_of_the_environment_is_in_no_record_of_a_run(
    chain: Chain, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEO4J_URI", "bolt://127.0.0.1:1")
    monkeypatch.setenv("NEO4J_PASSWORD", SECRET)
    write_pictures(chain.root, 2)
    resources = chain.resources | {"neo4j": Neo4jResource(retries=0)}
    job = build_defs(settings=chain.settings, resources=resources).resolve_job_def(REFRESH)
    with pytest.raises(DatabaseError, match=r"bolt://127\.0\.0\.1:1 can't be reached"):
        job.execute_in_process(QUIET, instance=instance, tags=range_tags("00", "03"))
    [run] = instance.get_runs()
    logged = instance.all_logs(run.run_id)
    assert len(logged) > 10
    assert SECRET not in repr(run)
    assert not any(SECRET in entry.to_json() for entry in logged)


def test_the_embedded_server_ignores_a_password_of_the_environment(
    home: Home, opened_with: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", SECRET)
    with Neo4jResource().open(home):
        pass
    assert opened_with[0].neo4j.password is None
    assert "NEO4J_PASSWORD ignored" in opened_with[0].warnings[0]


def test_default_resources_contain_no_value_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", SECRET)
    monkeypatch.setenv("IMGRET_MODEL", "timm:resnet18")
    said = repr(default_resources())
    assert SECRET not in said
    assert "resnet18" not in said
    assert os.environ["IMGRET_HOME"] not in said


def test_a_step_that_writes_the_graph_is_tried_again_where_the_server_is_away(
    chain: Chain, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that step, and only as often as the resource says; the run then ends with the server's name."""
    monkeypatch.setattr(neo4j_module, "RETRY_PAUSE_S", 0.01)
    write_pictures(chain.root, 2)
    away = Neo4jResource(uri="bolt://127.0.0.1:1", username="neo4j", password=SECRET, retries=2)
    job = build_defs(settings=chain.settings, resources=chain.resources | {"neo4j": away}).resolve_job_def(REFRESH)
    result = job.execute_in_process(QUIET, instance=instance, tags=range_tags("00", "03"), raise_on_error=False)
    retried = [event.step_key for event in result.all_events if event.is_step_restarted]
    assert retried == ["image_nodes", "image_nodes"]
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "127.0.0.1:1 can't be reached" in str(failure.step_failure_data.error)


def test_who_asks_for_no_retries_gets_the_error_at_once(chain: Chain) -> None:
    away = Neo4jResource(uri="bolt://127.0.0.1:1", username="neo4j", password=SECRET, retries=0)
    with pytest.raises(UnreachableDatabaseError), away.open_to_write(chain.home):
        pass
