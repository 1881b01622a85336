"""A server that requires TLS: a run and queries under every scheme, and what is said where it does not work."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgret_assets.cli.db_shell import open_driver
from imgret_assets.domain.graph.connection import open_database, server_versions
from imgret_assets.domain.neo4j_server.lifecycle import external_server
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Query, read_query
from imgret_assets.errors import DatabaseError, ImgretError, SettingError
from imgret_assets.settings import Settings, load_settings
from imgret_tests.support.chain import Chain
from imgret_tests.support.graph_fixtures import refresh_all
from imgret_tests.support.neo4j_server import clean_environment
from imgret_tests.support.pictures import write_pictures
from imgret_tests.support.tls_server import HOST, TlsServer, running_tls_server

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    if os.environ.get("IMGRET_TEST_NEO4J_URI"):
        pytest.skip("an embedded server is started with TLS")
    with running_tls_server(tmp_path_factory.mktemp("tls")) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def chain(server: TlsServer, folder: Path) -> Chain:
    """A graph that a run has made over a checked connection."""
    write_pictures(folder / "images", 24, families=3)
    chain = Chain(settings(server, folder, "bolt+s", ca=server.ca))
    refresh_all(chain.settings, chain.embedder)
    return chain


def settings(
    server: TlsServer, folder: Path, scheme: str, *, host: str = HOST, ca: Path | None = None, port: int | None = None
) -> Settings:
    flags = {
        "home": folder / "home",
        "images": folder / "images",
        "shards": 4,
        "neo4j_uri": f"{scheme}://{host}:{port or server.port}",
        "neo4j_password": server.password,
        "neo4j_ca": ca,
    }
    return load_settings(flags, env=clean_environment())


def paths_found(chain: Chain, given: Settings) -> list[str]:
    image = read_query(chain.root / "family1/picture0001.png", chain.root)
    with open_database(given) as database:
        answer = find_similar(chain.home, image, Query(top_k=7), database=database, embedder=chain.embedder)
    assert answer.mode == "index"
    return [hit.path for hit in answer.results]


def failure(given: Settings) -> str:
    with pytest.raises(DatabaseError) as caught, open_database(given):
        pass
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["bolt+s", "neo4j+s"])
def test_a_run_and_queries_with_the_authority_of_a_file(
    server: TlsServer, chain: Chain, folder: Path, scheme: str
) -> None:
    given = settings(server, folder, scheme, ca=server.ca)
    found = paths_found(chain, given)
    assert len(found) == 7
    # The run has written everything before; a second one finds nothing to do, over this scheme too.
    assert refresh_all(given, chain.embedder) == 0
    with open_database(given) as database:
        assert database.rows("MATCH (n:Image) RETURN count(n) AS nodes") == [{"nodes": 24}]
        assert paths_found(chain, settings(server, folder, "bolt+ssc")) == found


@pytest.mark.parametrize("scheme", ["bolt+ssc", "neo4j+ssc"])
def test_any_certificate_under_a_scheme_that_says_so(
    server: TlsServer, chain: Chain, folder: Path, scheme: str
) -> None:
    assert len(paths_found(chain, settings(server, folder, scheme))) == 7


def test_the_systems_authorities_count_without_a_file(
    server: TlsServer, chain: Chain, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
    assert len(paths_found(chain, settings(server, folder, "bolt+s"))) == 7
    # A file of one's own replaces them.
    assert "certificate" in failure(settings(server, folder, "bolt+s", ca=server.other_ca))


def test_the_shell_and_the_status_trust_the_same(server: TlsServer, chain: Chain, folder: Path) -> None:
    connection = external_server(settings(server, folder, "bolt+s", ca=server.ca))
    assert connection is not None
    version, gds = server_versions(connection)
    assert (version or "")[:4] == "2026"
    assert gds
    with open_driver(connection) as driver:
        assert driver.execute_query("MATCH (n:Image) RETURN count(n) AS nodes").records[0]["nodes"] == 24
    assert server.password not in repr(connection)
    assert str(server.ca) in repr(connection)


@pytest.mark.parametrize("scheme", ["bolt+s", "neo4j+s"])
@pytest.mark.parametrize("other", [True, False], ids=["another authority", "no authority"])
def test_an_untrusted_certificate_is_an_error_with_the_remedy(
    server: TlsServer, folder: Path, scheme: str, other: bool
) -> None:
    said = failure(settings(server, folder, scheme, ca=server.other_ca if other else None))
    assert "its certificate is refused: unable to get local issuer certificate" in said
    assert "in IMGRET_NEO4J_CA" in said
    assert "+ssc" in said


def test_a_certificate_for_another_name_is_an_error_with_the_remedy(server: TlsServer, folder: Path) -> None:
    said = failure(settings(server, folder, "bolt+s", host="127.0.0.1", ca=server.ca))
    assert "not valid for '127.0.0.1'" in said
    assert "write NEO4J_URI with a name that the server's certificate has" in said


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_a_server_that_requires_tls_is_named(server: TlsServer, folder: Path, scheme: str) -> None:
    said = failure(settings(server, folder, scheme))
    assert "if it requires TLS, write NEO4J_URI with +s" in said


@pytest.mark.parametrize("scheme", ["bolt+s", "bolt+ssc", "neo4j+s"])
def test_a_server_without_tls_is_named(neo4j_uri: str, server: TlsServer, folder: Path, scheme: str) -> None:
    plain_port = int(neo4j_uri.rpartition(":")[2])
    said = failure(settings(server, folder, scheme, port=plain_port))
    assert "does not speak TLS on this port" in said


def test_a_file_that_holds_no_certificate_is_an_error(server: TlsServer, folder: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("no certificate", encoding="utf-8")
    for file in (wrong, tmp_path / "missing.pem", tmp_path):
        given = settings(server, folder, "bolt+s", ca=file)
        with pytest.raises(SettingError, match=r"can't be read as certificates.*PEM"), open_database(given):
            pass


@pytest.mark.parametrize("scheme", ["bolt", "neo4j", "bolt+ssc", "neo4j+ssc"])
def test_a_file_of_certificates_that_nothing_would_check_is_an_error(
    server: TlsServer, folder: Path, scheme: str
) -> None:
    given = settings(server, folder, scheme, ca=server.ca)
    with pytest.raises(ImgretError, match=r"no certificate is checked.*ending in \+s"), open_database(given):
        pass


def test_without_an_address_it_is_ignored_with_a_warning(server: TlsServer) -> None:
    given = load_settings({"neo4j_ca": server.ca}, env=clean_environment())
    assert given.neo4j.ca is None
    assert "IMGRET_NEO4J_CA ignored" in json.dumps(given.warnings)
