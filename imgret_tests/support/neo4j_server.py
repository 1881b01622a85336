"""One real Neo4j for all tests marked `server`, and an empty database for each.

The server is the one that IMGRET_TEST_NEO4J_URI names (with IMGRET_TEST_NEO4J_USERNAME and
IMGRET_TEST_NEO4J_PASSWORD), else an embedded one in a temporary home, stopped at the end. A named one is
emptied by every test: it is refused unless it is empty or all its nodes have the label :ImgretTest.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, NoReturn, cast

import pytest
from neo4j import Driver, GraphDatabase, Query

from imgret_assets.domain.neo4j_server import lifecycle, server_process
from imgret_assets.domain.neo4j_server.run_file import Connection
from imgret_assets.errors import ImgretError
from imgret_assets.settings import Settings, load_settings

TEST_LABEL = "ImgretTest"
UNMARKED: LiteralString = "MATCH (n) WHERE NOT $label IN labels(n) RETURN count(n) AS nodes"
STARTED_WITHIN_S = 180.0
# Small, because the tests' graphs are; the machine may run a demo's server beside this one.
MEMORY = {"IMGRET_NEO4J_HEAP": "512m", "IMGRET_NEO4J_PAGECACHE": "128m"}
# A server that lives for minutes never earns back what Java's second compiler spends: a third less of its CPU.
SHORT_LIVED = ("-XX:TieredStopAtLevel=1",)


@dataclass(frozen=True)
class TestedServer:
    """The server under test.

    Attributes:
        connection: how to reach it.
        env: the environment under which imgret uses it.
    """

    __test__ = False

    connection: Connection
    env: dict[str, str]


@pytest.fixture(scope="session", autouse=True)
def _short_lived() -> Iterator[None]:
    """Servers that tests start in this process are told that they won't live long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_process, "JVM_FLAGS", (*server_process.JVM_FLAGS, *SHORT_LIVED))
        yield


@pytest.fixture(scope="session")
def tested_server() -> Iterator[TestedServer]:
    """The named server or the session's own; skips with the cause where there is none, and fails in CI."""
    uri = os.environ.get("IMGRET_TEST_NEO4J_URI")
    if uri:
        username = os.environ.get("IMGRET_TEST_NEO4J_USERNAME", "neo4j")
        password = os.environ.get("IMGRET_TEST_NEO4J_PASSWORD", "")
        env = {"NEO4J_URI": uri, "NEO4J_USERNAME": username, "NEO4J_PASSWORD": password}
        found = Connection(uri, username, password)
        refuse_unless_tests_own_it(found)
        yield TestedServer(found, env)
        return
    # Not pytest's own temporary folder: it keeps the last three, with their databases.
    with tempfile.TemporaryDirectory(prefix="imgret-test-", ignore_cleanup_errors=True) as home:
        env = {"IMGRET_HOME": home, **MEMORY}
        settings = load_settings(env=clean_environment() | env)
        try:
            found = lifecycle.ensure_running(settings, ready_within_s=STARTED_WITHIN_S)
        except ImgretError as error:
            lifecycle.stop(settings)
            unavailable(str(error))
        try:
            yield TestedServer(found, env)
        finally:
            lifecycle.stop(settings, within_s=20)


@pytest.fixture(scope="session")
def neo4j_uri(tested_server: TestedServer) -> str:
    """Address of the server under test."""
    return tested_server.connection.uri


@pytest.fixture
def database(tested_server: TestedServer) -> Iterator[Driver]:
    """A driver of the server under test, whose database is empty when the test begins and when it has ended."""
    found = tested_server.connection
    with GraphDatabase.driver(found.uri, auth=(found.username, found.password)) as driver:
        empty(driver)
        yield driver
        empty(driver)


@pytest.fixture(scope="module")
def shared_database(tested_server: TestedServer) -> Iterator[Driver]:
    """The same for all tests of a module together: empty before the first and after the last. Not beside `database`."""
    found = tested_server.connection
    auth = (found.username, found.password)
    with GraphDatabase.driver(found.uri, auth=auth, notifications_min_severity="OFF") as driver:
        empty(driver)
        yield driver
        empty(driver)


@pytest.fixture
def server_settings(tested_server: TestedServer, tmp_path: Path) -> Settings:
    """A temporary home whose graph is in the server under test, given by NEO4J_URI."""
    found = tested_server.connection
    given = {"NEO4J_URI": found.uri, "NEO4J_USERNAME": found.username, "NEO4J_PASSWORD": found.password}
    return load_settings({"home": tmp_path / "home"}, env=clean_environment() | given)


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that imgret reads, but for where its cache and `.env` are."""
    kept = {"IMGRET_CACHE", "IMGRET_ENV_FILE"}
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith(("IMGRET_", "NEO4J_", "DAGSTER_"))
    } | {"IMGRET_ENV_FILE": os.environ.get("IMGRET_ENV_FILE", os.devnull)}


def empty(driver: Driver) -> None:
    """Remove all nodes, constraints, indexes and projected graphs."""
    driver.execute_query("MATCH (n) DETACH DELETE n")
    for record in driver.execute_query("SHOW CONSTRAINTS YIELD name").records:
        driver.execute_query(_drop("CONSTRAINT", record["name"]))
    # The two token lookup indexes belong to every database.
    for record in driver.execute_query("SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP' RETURN name").records:
        driver.execute_query(_drop("INDEX", record["name"]))
    for record in driver.execute_query("CALL gds.graph.list() YIELD graphName RETURN graphName").records:
        driver.execute_query("CALL gds.graph.drop($name) YIELD graphName RETURN graphName", name=record["graphName"])


def _drop(kind: str, name: str) -> Query:
    # A name can't be a parameter here; it comes from the server itself.
    return Query(cast("LiteralString", f"DROP {kind} `{name}` IF EXISTS"))


def refuse_unless_tests_own_it(found: Connection) -> None:
    """Stop the session rather than empty somebody's database."""
    try:
        with GraphDatabase.driver(found.uri, auth=(found.username, found.password)) as driver:
            foreign = driver.execute_query(UNMARKED, label=TEST_LABEL).records[0]["nodes"]
    except Exception as error:  # whatever the cause, there is no server to test with
        unavailable(f"{found.uri}: {error}")
    if foreign:
        pytest.exit(
            f"The database of IMGRET_TEST_NEO4J_URI, {found.uri}, holds {foreign} nodes that no test has marked "
            f"with :{TEST_LABEL}. Tests empty the database, so it is refused: name another server, or empty this one.",
            returncode=1,
        )


def unavailable(cause: str) -> NoReturn:
    """End the tests that need a server: by failing in CI, by skipping elsewhere."""
    message = f"no Neo4j to test with: {cause}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
