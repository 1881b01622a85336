import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.models.weights import file_sha256
from imgret_assets.domain.review.decision_log import record, undo
from imgret_assets.domain.review.decisions import File, keep_one
from imgret_assets.domain.search import explain as module
from imgret_assets.domain.storage import tables
from imgret_assets.errors import ImageError
from imgret_tests.cli.conftest import THRESHOLD, Library
from imgret_tests.support.chain import cosine
from imgret_tests.support.exif_photos import exif_bytes, write_photo
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.photos import EXACT_COPY, NEAR_COPY, ORIGINAL, photo


@pytest.fixture(autouse=True)
def _fake_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "query_embedder", lambda _home, _space: FakeEmbedder())


def explained(library: Library, a: object, b: object) -> dict[str, Any]:
    return json.loads(library.run("explain", a, b, "--json").stdout)


def test_dates_and_cameras_are_those_of_the_files(library: Library, tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    write_photo(file, 3, exif_bytes(original="2024:05:31 10:20:30", make="Canon", model="EOS 5D"))
    said = explained(library, file, ORIGINAL)
    assert (said["a"]["taken"], said["a"]["camera"]) == ("2024-05-31T10:20:30", "Canon EOS 5D")
    assert (said["b"]["taken"], said["b"]["camera"]) == (None, None)
    table = library.run("explain", file, ORIGINAL, "--format", "csv").stdout
    assert "taken,2024-05-31 10:20:30,," in table
    assert "camera,Canon EOS 5D,," in table


def test_the_kind_is_what_the_tables_say_of_every_pair(library: Library) -> None:
    """Copies and pairs were found by the runs' own code; explaining two files must not say otherwise."""
    copies = {
        frozenset((row["path_from"], row["path_keep"])): row
        for row in tables.read(tables.duplicates_path(library.home.warehouse)).to_pylist()
    }
    pairs = {
        frozenset((row["path_a"], row["path_b"])): row["score"]
        for row in tables.read(tables.pairs_path(library.home.warehouse, library.space.id)).to_pylist()
    }
    seen = set()
    for a, b in [
        (ORIGINAL, EXACT_COPY),
        (NEAR_COPY, ORIGINAL),
        ("family0/picture0000.png", "family0/picture0005.png"),
        ("family0/picture0000.png", "family1/picture0001.png"),
        ("family2/picture0002.png", "family3/picture0003.png"),
    ]:
        said = explained(library, a, b)
        pair = frozenset((a, b))
        expected = copies[pair]["kind"] if pair in copies else "similar" if pair in pairs else "different"
        assert said["kind"] == expected, said["why"]
        if pair in pairs:
            assert said["cosine"] == pytest.approx(pairs[pair], abs=1e-12)
        if expected == "near":
            assert said["phash_bits"] == copies[pair]["distance"]
            assert said["correlation"] == pytest.approx(copies[pair]["correlation"], abs=1e-4)
        seen.add(expected)
    assert seen == {"exact", "near", "similar", "different"}


def test_a_copy_in_another_orientation_is_named(library: Library) -> None:
    for name, kind, words in (
        ("mirrored.png", "mirrored", "the second image is the first, mirrored top to bottom"),
        ("rotated.png", "rotated", "the second image is the first, rotated by 90 degrees to the right"),
    ):
        transpose = {"mirrored": Image.Transpose.FLIP_TOP_BOTTOM, "rotated": Image.Transpose.ROTATE_270}[kind]
        with Image.open(library.root / ORIGINAL) as image:
            image.convert("RGB").transpose(transpose).save(library.root / name)
        said = explained(library, ORIGINAL, name)
        assert (said["kind"], said["why"]) == (kind, words)


def test_every_figure_is_the_one_computed_from_the_files(library: Library) -> None:
    import imagehash

    model = FakeEmbedder()
    vectors = [
        model.embed(model.prepare(Image.open(library.root / path).convert("RGB"))[np.newaxis])[0].astype(np.float64)
        for path in (ORIGINAL, NEAR_COPY)
    ]
    said = explained(library, ORIGINAL, NEAR_COPY)
    assert said["cosine"] == pytest.approx(cosine(*vectors), abs=1e-12)
    assert said["euclidean"] == pytest.approx(float(np.linalg.norm(vectors[0] - vectors[1])), abs=1e-12)
    one, other = (imagehash.phash(Image.open(library.root / path), 16) for path in (ORIGINAL, NEAR_COPY))
    assert abs(said["phash_bits"] - (one - other)) <= 4, "the JPEG is decoded at a smaller scale"
    assert 0 <= said["dhash_bits"] < 40
    assert (said["a"]["width"], said["b"]["width"], said["b"]["format"]) == (640, 320, "JPEG")
    assert (said["a"]["path"], said["b"]["label"], said["threshold"]) == (ORIGINAL, "copies", THRESHOLD)
    assert said["same_group"]
    assert said["rank_of_a"] in (1, 2)
    assert (said["schema"], said["metric"], said["higher_is_closer"]) == (1, "cosine", True)


def test_what_was_decided_is_said(library: Library) -> None:
    assert explained(library, ORIGINAL, NEAR_COPY)["decision"] is None
    one, other = (File(path, file_sha256(library.root / path)) for path in (ORIGINAL, NEAR_COPY))
    batch = record(library.home, [keep_one(one, [other])], by="Ann", reason="sharper")
    said = explained(library, NEAR_COPY, ORIGINAL)["decision"]
    assert (said["verdict"], said["by"], said["reason"], said["keep"]) == ("duplicate", "Ann", "sharper", ORIGINAL)
    assert "Ann" in library.run("explain", ORIGINAL, NEAR_COPY, "--format", "table").stdout
    undo(library.home, batch, by="Ann")
    assert explained(library, ORIGINAL, NEAR_COPY)["decision"] is None


def test_files_outside_the_library_are_embedded_now(library: Library, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.png"
    shutil.copy(library.root / ORIGINAL, copy)
    said = explained(library, copy, NEAR_COPY)
    inside = explained(library, ORIGINAL, NEAR_COPY)
    assert said["a"]["path"] is None
    assert (said["kind"], said["cosine"]) == (inside["kind"], pytest.approx(inside["cosine"], abs=1e-12))
    assert (said["rank_of_a"], said["graph"]) == (None, None)
    assert explained(library, copy, copy)["kind"] == "exact"


def test_a_file_changed_since_the_last_run_is_judged_as_it_is_now(library: Library) -> None:
    photo(9).save(library.root / ORIGINAL)
    done = library.run("explain", ORIGINAL, NEAR_COPY, "--json")
    said = json.loads(done.stdout)
    assert said["kind"] == "different"
    assert said["a"]["path"] is None
    assert f"{ORIGINAL} has changed since the last run" in done.stderr
    photo(8).save(library.root / "newer.png")
    assert "newer.png is not in the library yet" in library.run("explain", "newer.png", NEAR_COPY).stderr


def test_a_table_says_why_and_that_the_graph_was_not_asked(library: Library) -> None:
    done = library.run("explain", ORIGINAL, NEAR_COPY, "--format", "table")
    assert "copies/a tab\\tand a\\nbreak.jpg" in done.stdout
    assert any(
        line.startswith("correlation ") and line.endswith(">= 0.9, for near") for line in done.stdout.split("\n")
    )
    assert "its database is not running" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("imgret: near: other bytes, the same image: phash bits")


def test_pictures_without_structure_have_no_hash(library: Library) -> None:
    for name, shade in (("grey.png", 100), ("greyer.png", 101)):
        Image.new("L", (300, 300), shade).save(library.root / name)
    said = explained(library, "grey.png", "greyer.png")
    assert (said["phash_bits"], said["dhash_bits"], said["correlation"]) == (None, None, None)
    assert said["kind"] == "similar"
    assert "an image has no structure" in said["why"]


def test_what_is_no_picture_can_t_be_explained(library: Library, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"text.png can't be used: not_an_image"):
        library.run("explain", tmp_path / "text.png", ORIGINAL)
    with pytest.raises(ImageError, match=r"nowhere.png can't be read"):
        library.run("explain", ORIGINAL, "nowhere.png")
