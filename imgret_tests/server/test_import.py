"""A graph that Neo4j's own import has filled: equal to the one that a run writes, which then writes nothing.

The import and its server are of a home of its own; the graph to compare with is in the server of all tests.
"""

import csv
import gzip
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from neo4j import Driver, GraphDatabase

from imgret_assets.domain.graph import decided
from imgret_assets.domain.graph.graph_state import read_state, require_ready
from imgret_assets.domain.neo4j_server import lifecycle
from imgret_assets.domain.neo4j_server.offline_import import import_files
from imgret_assets.domain.operations.backlog import read_backlog
from imgret_assets.domain.operations.import_files import ARGUMENTS, export_for_import, import_command
from imgret_assets.domain.review.decision_log import record
from imgret_assets.domain.review.decisions import keep_one
from imgret_assets.domain.review.removals import find_library_file
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Query, QueryImage
from imgret_assets.errors import DatabaseError, ServerError, SettingError
from imgret_tests.support.exif_photos import exif_bytes, write_photo
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import MEMORY, TestedServer
from imgret_tests.support.pictures import picture_bytes, write_pictures

pytestmark = pytest.mark.server

ODD_NAMES = (
    *('"quoted", and; more.png', "a\nnew line.png", "back\\slash\\.png", " spaces .png", "'single'.png", "#$@=.png"),
    *("carriage\rreturn.png", "übergrößen 写真 😀.png", "tab\t.png", '""".png', ",.png", ";.png"),
)
COPIED, COPY = "family0/picture0000.png", 'odd "folder",/copy.png'
NODES = "MATCH (n:Image) RETURN properties(n) AS n ORDER BY n.path"
OTHER_NODES = "MATCH (n) WHERE NOT n:Image RETURN labels(n) AS labels, properties(n) AS n"
RELATIONSHIPS = """
MATCH (a)-[r]->(b)
RETURN a.path AS a, b.path AS b, type(r) AS kind, properties(r) AS properties ORDER BY kind, a, b
"""
SCHEMA = "SHOW INDEXES YIELD name, type, state, properties WHERE type <> 'LOOKUP' RETURN name, type, state, properties"


@dataclass(frozen=True)
class Imported:
    """The graph that a run has written, and one of the same tables in a server that the import has filled."""

    written: Graph
    imported: Graph
    folder: Path
    log: list[str]


def dump(graph: Graph) -> dict[str, Any]:
    nodes = graph.rows(NODES)
    for row in nodes:
        assert row["n"].pop("indexed_at") is not None
    return {"nodes": nodes, "relationships": graph.rows(RELATIONSHIPS)}


@pytest.fixture(scope="module")
def imported(
    shared_database: Driver, tested_server: TestedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Imported]:
    folder = tmp_path_factory.mktemp("import")
    written = Graph(chain_on(tested_server, folder), shared_database)
    write_pictures(written.root, 60, families=4)
    (written.root / "odd").mkdir()
    for number, name in enumerate(ODD_NAMES):
        (written.root / "odd" / name).write_bytes(picture_bytes(700 + number, family=number % 4))
    (written.root / COPY).parent.mkdir()
    shutil.copy(written.root / COPIED, written.root / COPY)
    for number in range(6):
        taken = f"2024:0{number + 1}:02 03:04:{number * 7:02d}"
        exif = exif_bytes(make="Äpple", model='Fön "7", x', original=taken)
        write_photo(written.root / f"photos/{number}.jpg", 900 + number, exif, family=1)
    written.refresh_all()
    home = written.chain.home
    record(home, [keep_one(find_library_file(home, COPIED), [find_library_file(home, COPY)])], by='an "na\n')
    with written.database() as database:
        decided.sync_relationships(home, database, written.chain.space)
    # The same home with a server of its own.
    settings = written.chain.settings
    neo4j = replace(
        settings.neo4j,
        uri=None,
        password=None,
        heap=MEMORY["IMGRET_NEO4J_HEAP"],
        pagecache=MEMORY["IMGRET_NEO4J_PAGECACHE"],
    )
    chain = replace(written.chain, settings=replace(settings, neo4j=neo4j))
    log: list[str] = []
    try:
        files = folder / "files of, the import"
        export_for_import(chain.home, chain.space, files)
        import_files(chain.settings, files, ARGUMENTS, replace=False, log=log.append)
        server = lifecycle.ensure_running(chain.settings)
        with GraphDatabase.driver(
            server.uri, auth=(server.username, server.password), notifications_min_severity="OFF"
        ) as driver:
            yield Imported(written, Graph(chain, driver), files, log)
    finally:
        lifecycle.stop(chain.settings, within_s=20)


def test_the_imported_graph_is_the_written_one(imported: Imported) -> None:
    expected = dump(imported.written)
    assert {row["kind"] for row in expected["relationships"]} == {"SIMILAR_TO", "DUPLICATE_OF", "DECIDED"}
    assert {f"odd/{name}" for name in ODD_NAMES} < {row["n"]["path"] for row in expected["nodes"]}
    assert any("taken" in row["n"] for row in expected["nodes"])
    assert any("group" in row["n"] for row in expected["nodes"])
    # Types too, and vectors to the last bit.
    assert dump(imported.imported) == expected
    [state], [written] = (graph.rows(OTHER_NODES) for graph in (imported.imported, imported.written))
    assert state == {**written, "n": {**written["n"], "state": "imported"}}
    for part in ("(1/4) Node import", "(4/4)", "IMPORT DONE"):
        assert any(line.startswith(part) for line in imported.log)


def test_queries_wait_for_the_run_that_makes_the_indexes(imported: Imported) -> None:
    with imported.imported.database() as database:
        state = read_state(database)
    with pytest.raises(DatabaseError, match=r"was imported and has no indexes yet.*imgret run"):
        require_ready(state, "bolt://server")
    backlog = read_backlog(imported.imported.chain.home, imported.imported.chain.space.id)
    assert "the graph was imported and has no indexes yet" in backlog.summary


def test_the_next_run_writes_no_node_and_no_relationship(imported: Imported) -> None:
    graph = imported.imported
    before = {id_: row for id_, row in graph.identities().items() if "home" not in row}
    assert graph.refresh_all() == 0
    with graph.database() as database:
        decided.sync_relationships(graph.chain.home, database, graph.chain.space)
    assert {id_: row for id_, row in graph.identities().items() if "home" not in row} == before
    assert graph.state() == imported.written.state()
    assert sorted(map(str, graph.rows(SCHEMA))) == sorted(map(str, imported.written.rows(SCHEMA)))
    assert {row["state"] for row in graph.rows(SCHEMA)} == {"ONLINE"}
    image = QueryImage("outside.png", picture_bytes(4242, family=3))
    answers = []
    for each in (graph, imported.written):
        with each.database() as database:
            for mode in ("index", "exact"):
                query = Query(top_k=20, mode=mode, relations=True, since="2024" if mode == "exact" else None)
                answers.append(
                    find_similar(each.chain.home, image, query, database=database, embedder=each.chain.embedder).results
                )
    assert answers[:2] == answers[2:]
    assert all(answers)


def test_changes_after_the_import_go_by_bolt(imported: Imported) -> None:
    graph = imported.imported
    new = graph.root / "family0/new.png"
    new.write_bytes(picture_bytes(3))
    (graph.root / COPIED).write_bytes(picture_bytes(4))
    assert graph.refresh_all() == 2
    imported.written.refresh_all()
    assert dump(graph) == dump(imported.written)


def test_an_import_over_a_database_must_be_asked_for(imported: Imported, tmp_path: Path) -> None:
    settings, log = imported.imported.chain.settings, imported.log.append
    with pytest.raises(SettingError, match=r"There is a database in .*--replace"):
        import_files(settings, imported.folder, ARGUMENTS, replace=False, log=log)
    with pytest.raises(SettingError, match=r"import.args can't be read.*--format neo4j-admin"):
        import_files(settings, tmp_path, ARGUMENTS, replace=True, log=log)
    # Nothing was stopped.
    assert lifecycle.status(settings) is not None
    assert import_command(imported.imported.chain.home, Path("a b")) == "imgret db import 'a b'"
    assert import_command(imported.written.chain.home, Path("a b")).endswith(
        "neo4j-admin database import full @import.args neo4j"
    )


def test_files_without_vectors_and_a_damaged_file(imported: Imported, tmp_path: Path) -> None:
    """The last test: it ends with no database."""
    chain = imported.imported.chain
    settings = replace(chain.settings, neo4j=replace(chain.settings.neo4j, vectors=False))
    chain = replace(chain, settings=settings)
    exported = export_for_import(chain.home, chain.space, tmp_path)
    assert "embeddings" not in (tmp_path / "nodes-header.csv").read_text()
    names = (tmp_path / "state-header.csv").read_text().strip().split(",")
    with gzip.open(tmp_path / "state.csv.gz", "rt") as file:
        [values] = csv.reader(file)
    assert dict(zip(names, values, strict=True))["vectors:boolean"] == "false"
    rows = []
    for shard in chain.home.shards:
        with gzip.open(tmp_path / f"nodes-{shard}.csv.gz", "rt", newline="", encoding="utf-8") as file:
            rows += [*csv.reader(file)]
    assert len(rows) == exported.nodes
    assert all(datetime.fromisoformat(row[-1]).tzinfo is not None for row in rows)
    file = tmp_path / "SIMILAR_TO.csv.gz"
    with gzip.open(file, "at", encoding="utf-8") as stream:
        stream.write('"nobody.png","family1/picture0001.png",0.9,"m"\n')
    with pytest.raises(ServerError, match=r"no database is left[\s\S]*Invalid relationship in import data"):
        import_files(settings, tmp_path, ARGUMENTS, replace=True, log=imported.log.append)
    assert not (settings.home / "neo4j/data/databases/neo4j").exists()
    assert lifecycle.status(settings) is None
