import csv
import gzip
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from imgret_assets.domain.operations.export import FORMATS, NODE_SCHEMA, RELATIONSHIP_SCHEMA, xml_text
from imgret_assets.domain.review.decision_log import record, undo
from imgret_assets.domain.review.decisions import DUPLICATE, keep_one
from imgret_assets.domain.review.removals import find_library_file
from imgret_assets.domain.storage import tables
from imgret_assets.errors import SettingError, StaleTableError, TableError
from imgret_tests.cli.conftest import THRESHOLD, Library
from imgret_tests.support.chain import cosine
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.photos import EXACT_COPY, NEAR_COPY, ORIGINAL, photo

EDGE = ["source", "target", "type"]


@pytest.fixture
def exported(library: Library, tmp_path: Path) -> dict[str, Path]:
    """Folders of one export in each format."""
    found = {form: tmp_path / form for form in FORMATS}
    for form, folder in found.items():
        library.run("export", folder, "--format", form)
    return found


def brute_force(library: Library) -> tuple[dict[str, np.ndarray], set[tuple[str, str]]]:
    """Vectors of all usable files by path, and pairs above the threshold, from the files alone."""
    model = FakeEmbedder()
    vectors = {}
    for file in sorted(library.root.rglob("*.[pj][np]g")):
        try:
            path = file.relative_to(library.root).as_posix()
            path.encode()
        except UnicodeEncodeError:
            continue
        with Image.open(file) as image:
            vectors[path] = model.embed(model.prepare(image.convert("RGB"))[np.newaxis])[0]
    return vectors, {(a, b) for a in vectors for b in vectors if a < b and cosine(vectors[a], vectors[b]) > THRESHOLD}


def test_parquet_holds_every_image_and_relation(library: Library, exported: dict[str, Path]) -> None:
    vectors, joined = brute_force(library)
    nodes = pd.read_parquet(exported["parquet"] / "nodes.parquet")
    assert set(nodes["path"]) == set(vectors)
    assert len(nodes) == len(vectors) == 23
    assert set(nodes["model"]) == {library.space.id}
    original = nodes.set_index("path").loc[ORIGINAL]
    assert (original["width"], original["height"], original["format"]) == (640, 480, "PNG")
    assert original["group"] == nodes.set_index("path").loc[EXACT_COPY]["group"]
    assert nodes.set_index("path").loc[EXACT_COPY]["label"] == "copies"
    edges = pd.read_parquet(exported["parquet"] / "relationships.parquet")
    similar = edges[edges["type"] == "SIMILAR_TO"]
    assert set(zip(similar["source"], similar["target"], strict=True)) == joined
    assert len(similar) == len(joined) > 10
    for a, b, score in zip(similar["source"], similar["target"], similar["score"], strict=True):
        assert score == pytest.approx(cosine(vectors[a], vectors[b]), abs=1e-9)
    copies = edges[edges["type"] == "DUPLICATE_OF"].set_index("source")
    found = {copy: (row["target"], row["kind"]) for copy, row in copies.iterrows()}
    assert found == {
        row["path_from"]: (row["path_keep"], row["kind"])
        for row in tables.read(tables.duplicates_path(library.home.warehouse)).to_pylist()
    }
    assert (found[EXACT_COPY], found[NEAR_COPY]) == ((ORIGINAL, "exact"), (ORIGINAL, "near"))
    assert tables.read_metadata(exported["parquet"] / "nodes.parquet")["model"] == library.space.id


def test_decisions_in_force_go_with_them(library: Library, tmp_path: Path) -> None:
    kept, copy = (find_library_file(library.home, path) for path in (ORIGINAL, EXACT_COPY))
    batch = record(library.home, [keep_one(kept, [copy])], by="anna")
    done = library.run("export", tmp_path / "out")
    assert "1 DECIDED" in done.stderr
    edges = tables.read(tmp_path / "out/relationships.parquet").to_pylist()
    [row] = [edge for edge in edges if edge["type"] == "DECIDED"]
    assert (row["source"], row["target"]) == tuple(sorted((ORIGINAL, EXACT_COPY)))
    assert (row["verdict"], row["keep"], row["by"]) == (DUPLICATE, ORIGINAL, "anna")
    assert datetime.fromisoformat(row["at"]).tzinfo is not None
    library.run("export", tmp_path / "out", "--format", "graphml")
    graph = nx.read_graphml(tmp_path / "out/graph.graphml")
    assert [data["by"] for _, _, data in graph.edges(data=True) if data["type"] == "DECIDED"] == ["anna"]
    undo(library.home, batch)
    assert "0 DECIDED" in library.run("export", tmp_path / "out").stderr
    assert "DECIDED" not in set(pd.read_parquet(tmp_path / "out/relationships.parquet")["type"])


def test_csv_says_the_same(exported: dict[str, Path]) -> None:
    for name, schema in (("nodes", NODE_SCHEMA), ("relationships", RELATIONSHIP_SCHEMA)):
        with (exported["csv"] / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        expected = pd.read_parquet(exported["parquet"] / f"{name}.parquet")
        assert list(rows[0]) == schema.names
        for column in ("path", "sha256", "label") if name == "nodes" else (*EDGE, "kind"):
            assert [row[column] or None for row in rows] == [
                None if pd.isna(value) else value for value in expected[column]
            ]
    with (exported["csv"] / "relationships.csv").open(encoding="utf-8", newline="") as file:
        scores = [float(row["score"]) for row in csv.DictReader(file) if row["type"] == "SIMILAR_TO"]
    edges = pd.read_parquet(exported["parquet"] / "relationships.parquet")
    assert scores == list(edges[edges["type"] == "SIMILAR_TO"]["score"]), "all digits"


def test_graphml_opens_in_networkx(library: Library, exported: dict[str, Path]) -> None:
    graph = nx.read_graphml(exported["graphml"] / "graph.graphml")
    nodes = pd.read_parquet(exported["parquet"] / "nodes.parquet")
    edges = pd.read_parquet(exported["parquet"] / "relationships.parquet")
    assert set(graph.nodes) == set(nodes["path"])
    assert graph.is_directed()
    found = sorted((a, b, data["type"], data.get("score")) for a, b, data in graph.edges(data=True))
    expected = [
        (*row[:3], None if pd.isna(row[3]) else row[3]) for row in edges[[*EDGE, "score"]].itertuples(index=False)
    ]
    assert [row[:3] for row in found] == [row[:3] for row in sorted(expected, key=lambda row: row[:3])]
    assert {row[:3]: row[3] for row in found} == {row[:3]: row[3] for row in expected}
    assert graph.nodes[NEAR_COPY]["width"] == 320
    assert "label" not in graph.nodes[ORIGINAL], "what is null is not there"
    assert (graph.graph["metric"], graph.graph["model"]) == ("cosine", library.space.id)


@pytest.mark.parametrize("is_older", [False, True])
def test_date_and_camera_go_with_nodes(library: Library, tmp_path: Path, is_older: bool) -> None:
    """A manifest of an earlier version has none."""
    shot = {"taken": datetime.fromisoformat("2024-05-31T10:20:30"), "camera": "Canon EOS 5D"}
    stored = {file: file.read_bytes() for file in (library.home.warehouse / "manifest").iterdir()}
    try:
        for file in stored:
            rows = [row | shot if row["path"] == ORIGINAL else row for row in tables.read(file).to_pylist()]
            table = pa.Table.from_pylist(rows, tables.MANIFEST_SCHEMA)
            table = table.drop_columns(list(shot)) if is_older else table
            tables.write(file, table, tables.read_metadata(file))
        library.run("export", tmp_path / "out")
        library.run("export", tmp_path / "out", "--format", "graphml")
    finally:
        for file, data in stored.items():
            file.write_bytes(data)
    nodes = pd.read_parquet(tmp_path / "out/nodes.parquet").set_index("path")
    expected = [] if is_older else [(ORIGINAL, "2024-05-31T10:20:30", "Canon EOS 5D")]
    assert list(nodes[["taken", "camera"]].dropna().itertuples(name=None)) == expected
    node = nx.read_graphml(tmp_path / "out/graph.graphml").nodes[ORIGINAL]
    assert node.get("taken") == (None if is_older else "2024-05-31T10:20:30")


def test_vectors_go_with_parquet_only(library: Library, tmp_path: Path) -> None:
    library.run("export", tmp_path / "out", "--vectors")
    nodes = pd.read_parquet(tmp_path / "out/nodes.parquet")
    vectors, _ = brute_force(library)
    for path, vector in zip(nodes["path"], nodes["embedding"], strict=True):
        np.testing.assert_array_equal(vector, vectors[path])
    with pytest.raises(SettingError, match="can't be exported as csv"):
        library.run("export", tmp_path / "out", "--vectors", "--format", "csv")


def test_files_for_an_import_are_named_by_their_arguments(library: Library, tmp_path: Path) -> None:
    """What an import makes of them is tested on a real server (`server/test_import.py`)."""
    folder = tmp_path / "files"
    kept, copy = (find_library_file(library.home, path) for path in (ORIGINAL, EXACT_COPY))
    batch = record(library.home, [keep_one(kept, [copy])], by="anna")
    try:
        done = library.run("export", folder, "--format", "neo4j-admin")
    finally:
        undo(library.home, batch)
    assert {Path(line) for line in done.stdout.splitlines()} == set(folder.iterdir())
    assert "23 nodes, " in done.stderr
    assert f"next, imgret db import {folder}, then imgret run" in done.stderr
    vectors, joined = brute_force(library)
    arguments = [line.split("=", 2) for line in (folder / "import.args").read_text().splitlines()]
    assert arguments[-1] == ["--multiline-fields", "true" if any("\n" in path for path in vectors) else "false"]
    named: dict[str, list[str]] = {}
    for option, label, names in arguments[:-1]:
        assert option == ("--nodes" if label in ("Image", "ImgretState") else "--relationships")
        # With a folder, which Neo4j demands.
        assert all(name.startswith("./") for name in names.split(","))
        named[label] = [name.removeprefix("./") for name in names.split(",")]
    assert {name for names in named.values() for name in names} | {"import.args"} == {
        file.name for file in folder.iterdir()
    }
    rows: dict[str, list[dict[str, str]]] = {}
    for label, (header, *files) in named.items():
        heading = next(csv.reader([(folder / header).read_text()]))
        rows[label] = []
        for file in files:
            with gzip.open(folder / file, "rt", encoding="utf-8", newline="") as stream:
                rows[label] += [dict(zip(heading, row, strict=True)) for row in csv.reader(stream)]
    assert len(named["Image"]) == 1 + len(library.home.shards)
    assert {row["path:ID"] for row in rows["Image"]} == set(vectors)
    for row in rows["Image"]:
        numbers = np.array(row["embeddings:float[]"].split(";"), np.float32)
        np.testing.assert_array_equal(numbers, vectors[row["path:ID"]])
    assert {(row[":START_ID"], row[":END_ID"]) for row in rows["SIMILAR_TO"]} == joined
    assert {row["model:string"] for row in rows["SIMILAR_TO"]} == {library.space.id}
    assert [row["keep:string"] for row in rows["DECIDED"]] == [ORIGINAL]
    [state] = rows["ImgretState"]
    assert (state["state:string"], state["home:string"]) == ("imported", library.home.record.id)
    with pytest.raises(SettingError, match="IMGRET_GRAPH_VECTORS"):
        library.run("export", folder, "--format", "neo4j-admin", "--vectors")


def test_a_failed_export_leaves_nothing_to_import(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    library.run("export", folder, "--format", "neo4j-admin")
    damaged = tables.duplicates_path(library.home.warehouse)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:4] + bytes(200) + whole[204:])
    try:
        with pytest.raises(TableError):
            library.run("export", folder, "--format", "neo4j-admin")
    finally:
        damaged.write_bytes(whole)
    assert not (folder / "import.args").exists()


def test_the_files_are_what_is_printed(library: Library, tmp_path: Path) -> None:
    done = library.run("export", tmp_path / "new/folder", "--format", "csv")
    assert [Path(line) for line in done.stdout.splitlines()] == sorted((tmp_path / "new/folder").iterdir())
    assert "23 nodes, " in done.stderr
    rows = tables.count_rows(tables.duplicates_path(library.home.warehouse))
    assert f"{rows} DUPLICATE_OF" in done.stderr


def test_what_does_not_belong_together_is_not_exported(library: Library, tmp_path: Path) -> None:
    photo(3).save(library.root / "new.png")
    from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
    from imgret_assets.domain.images.manifest import refresh_manifest

    refresh_manifest(library.home)
    refresh_embeddings(library.home, library.embedder)
    with pytest.raises(StaleTableError, match="pairs table is older"):
        library.run("export", tmp_path / "out")
    from imgret_assets.domain.similarity.pairs_table import refresh_pairs

    refresh_pairs(library.home, library.space.id, THRESHOLD)
    done = library.run("export", tmp_path / "out")
    assert "groups are left out" in done.stderr
    assert "DUPLICATE_OF relationships are left out" in done.stderr
    assert set(pd.read_parquet(tmp_path / "out/relationships.parquet")["type"]) == {"SIMILAR_TO"}
    tables.pairs_path(library.home.warehouse, library.space.id).unlink()
    with pytest.raises(TableError, match="pairs table is missing"):
        library.run("export", tmp_path / "out")


def test_a_failed_export_leaves_the_earlier_files(library: Library, tmp_path: Path) -> None:
    library.run("export", tmp_path, "--format", "graphml")
    before = (tmp_path / "graph.graphml").read_bytes()
    damaged = tables.duplicates_path(library.home.warehouse)
    whole = damaged.read_bytes()
    # The footer is whole, so that it is opened; the rows are not.
    damaged.write_bytes(whole[:4] + bytes(200) + whole[204:])
    with pytest.raises(Exception, match=r"."):
        library.run("export", tmp_path, "--format", "graphml")
    assert (tmp_path / "graph.graphml").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir() if "graphml" in file.name] == ["graph.graphml"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('plain \\ <&> "ä" 猫\t\n', 'plain \\ <&> "ä" 猫\t\n'),
        ("\x1b[0m\\", "\\x1b[0m\\\\"),
        ("\r\x00\ufffe", "\\x0d\\x00\\xfffe"),
    ],
)
def test_xml_can_hold_any_text(text: str, written: str) -> None:
    assert xml_text(text) == written
    element = ElementTree.Element("a")
    element.text = written
    assert ElementTree.fromstring(ElementTree.tostring(element)).text == written  # noqa: S314 - made here
