"""What is asked of a server while its classes are recorded, and the cache in use."""

import sys
from pathlib import Path

import pytest
from neo4j import Driver

from imgret_assets.domain.graph.relationship_kinds import KINDS
from imgret_assets.domain.neo4j_server import class_cache, jars
from imgret_assets.domain.neo4j_server.run_file import ServerFolder
from imgret_assets.domain.operations.class_recording import ask_as_a_first_run
from imgret_assets.settings import load_settings
from imgret_tests.support.neo4j_server import TestedServer, clean_environment

pytestmark = pytest.mark.server


def test_every_statement_is_answered_and_has_something_to_do(tested_server: TestedServer, database: Driver) -> None:
    ask_as_a_first_run(tested_server.connection)
    assert database.execute_query("MATCH (n:Image) RETURN count(n)").records[0].value() == 4
    kinds = database.execute_query("MATCH (:Image)-[r]->(:Image) RETURN collect(DISTINCT type(r))").records[0].value()
    assert set(kinds) == {kind.name for kind in KINDS}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_server_has_mapped_the_cache_and_found_no_error_in_it(tested_server: TestedServer) -> None:
    pid = tested_server.connection.pid
    if pid is None:
        pytest.skip("the server is not imgret's own")
    settings = load_settings(env=clean_environment() | tested_server.env)
    cache = class_cache.cache_file(settings.cache / jars.read_list().folder_name)
    if not cache.is_file():
        pytest.skip("no cache of classes; `imgret setup` makes it")
    assert str(cache.resolve()) in Path(f"/proc/{pid}/maps").read_text()
    assert "[aot]" not in ServerFolder(settings).log.read_text()
