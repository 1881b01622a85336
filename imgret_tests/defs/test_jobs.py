"""The query job: its configuration and its answer. Queries against a graph are in `server/test_find_similar.py`."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest

from imgret_assets.defs.jobs import QUERY
from imgret_assets.defs.ops import MAX_THUMBNAILS, answer_markdown, escape, page_link
from imgret_assets.domain.images.crop import PERCENT, Crop
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.search.query import Answer, Hit, Query, Relation, read_query
from imgret_assets.domain.search.query_parts import QueryPart, QueryText
from imgret_assets.errors import ImageError, ImgretError, QueryError, SettingError
from imgret_assets.samples.folders import sample_query
from imgret_tests.support.chain import QUIET, Chain
from imgret_tests.support.pictures import picture_bytes, write_pictures

OP = "find_similar_images"


@pytest.fixture
def job(chain: Chain) -> dg.JobDefinition:
    return chain.definitions.resolve_job_def(QUERY)


def _config(**values: Any) -> dict[str, Any]:
    return {"ops": {OP: {"config": values}}, **QUIET}


def _prefilled(chain: Chain) -> str:
    job = chain.definitions.resolve_job_def(QUERY)
    assert job.run_config is not None
    config = job.run_config["ops"][OP]["config"]
    assert config["top_k"] == 5
    assert dg.validate_run_config(job, job.run_config)
    return config["image_path"]


def test_its_configuration_is_prefilled_with_an_image_that_is_there(chain: Chain) -> None:
    """The sample query, else the first usable image of the home; nothing in a home without any."""
    assert _prefilled(chain) == ""
    (chain.root / "a.png").write_bytes(b"no image")
    paths = write_pictures(chain.root, 3)
    refresh_manifest(chain.home)
    found = Path(_prefilled(chain))
    assert found.relative_to(chain.root).as_posix() in paths
    found.unlink()
    assert Path(_prefilled(chain)).is_file()
    sample = sample_query(chain.settings.home / "samples")
    sample.parent.mkdir(parents=True)
    sample.write_bytes(picture_bytes(1))
    assert _prefilled(chain) == str(sample)


def test_a_query_without_an_image_takes_one_of_the_home_or_says_that_there_is_none(
    chain: Chain, job: dg.JobDefinition
) -> None:
    with pytest.raises(ImageError, match=r"names no image, and the home has none yet.*image_path"):
        job.execute_in_process(_config())
    write_pictures(chain.root, 1)
    refresh_manifest(chain.home)
    with pytest.raises(ImgretError, match=r"127\.0\.0\.1:1|no model"):
        job.execute_in_process(_config())


def test_omitted_fields_have_defaults(job: dg.JobDefinition) -> None:
    config = dg.validate_run_config(job, {"ops": {OP: {"config": {"image_path": "a.png"}}}})
    assert config["ops"][OP]["config"] == {
        "image_path": "a.png",
        "text": "",
        "less_text": "",
        "together": [],
        "less": [],
        "crop": None,
        "top_k": 5,
        "mode": "index",
        "metric": "cosine",
        "min_score": None,
        "label": None,
        "folder": None,
        "since": None,
        "until": None,
        "camera": None,
        "exclude_self": True,
        "relations": False,
    }


@pytest.mark.parametrize("mode", ["index", "exact"])
def test_a_known_mode_can_be_launched(job: dg.JobDefinition, mode: str) -> None:
    assert dg.validate_run_config(job, {"ops": {OP: {"config": {"image_path": "a.png", "mode": mode}}}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_path": "a.png", "mode": "fuzzy"}, "mode"),
        ({"image_path": "a.png", "k": 3}, "unexpected config entry"),
        ({"image_path": "a.png", "top_k": "many"}, "top_k"),
    ],
    ids=["mode", "unknown", "type"],
)
def test_wrong_configuration_is_an_error_at_launch(job: dg.JobDefinition, values: dict[str, Any], message: str) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=message):
        dg.validate_run_config(job, {"ops": {OP: {"config": values}}})


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"top_k": 0}, SettingError, "top_k is 0. Expected: 1 to 1000"),
        ({"top_k": 1001}, SettingError, "top_k is 1001"),
        ({"min_score": 1.5}, SettingError, "min_score is 1.5. Expected: a cosine"),
        ({"folder": "../x"}, SettingError, "folder is '../x'. Expected: a folder of the library"),
        ({"since": "soon"}, SettingError, "since is 'soon'. Expected: a date"),
        ({"since": "2025", "until": "2024"}, SettingError, "since is 2025 and until is 2024"),
        ({"image_path": "/no/such.png"}, ImageError, r"/no/such.png can't be read \(No such file"),
        ({"together": ["/no/such.png"]}, ImageError, r"/no/such.png can't be read \(No such file"),
        ({"less": ["/no/such.png"]}, ImageError, r"/no/such.png can't be read \(No such file"),
        ({"crop": "1,2,3"}, SettingError, r"crop is '1,2,3'. Expected: x,y,width,height"),
        ({"image_path": "", "text": "a car", "crop": "0,0,5,5"}, QueryError, "has a crop and no image"),
        ({"image_path": "", "text": "w" * 10_001}, QueryError, "has 10,001 characters. Expected: at most 10,000"),
        ({"text": " "}, QueryError, "text of the query is empty"),
        ({"text": "a car", "less_text": "A  car"}, QueryError, "A car is on both sides"),
    ],
)
def test_a_value_out_of_range_is_an_error_before_a_connection(
    job: dg.JobDefinition, images: Path, values: dict[str, Any], error: type[ImgretError], message: str
) -> None:
    image = images / "a.png"
    image.write_bytes(picture_bytes(1))
    # Nothing listens on the port of the server: a DatabaseError would mean that the connection came first.
    with pytest.raises(error, match=message):
        job.execute_in_process(_config(**({"image_path": str(image)} | values)))


def test_the_same_image_on_both_sides_is_an_error(job: dg.JobDefinition, images: Path) -> None:
    for name in ("a.png", "copy.png"):
        (images / name).write_bytes(picture_bytes(1))
    config = _config(image_path=str(images / "a.png"), less=[str(images / "copy.png")])
    with pytest.raises(QueryError, match=r"copy\.png is on both sides"):
        job.execute_in_process(config)


def _answer(hits: list[Hit]) -> Answer:
    return Answer("query.png", "fake-00000000", "index", 1.5, False, hits)


def test_an_answer_is_a_table_with_thumbnails(images: Path) -> None:
    paths = write_pictures(images, 20)
    hits = [Hit(path, 0.99 - row / 100, path.split("/")[0]) for row, path in enumerate(paths)]
    text = answer_markdown(_answer(hits), images / paths[0], images)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 20
    assert text.count("![hit](data:image/") == MAX_THUMBNAILS == 16
    assert text.count("![query](data:image/") == 1
    assert "| 0.9900 | family0 | family0/picture0000\\.png |" in text.replace("picture0000.png", "picture0000\\.png")
    assert len(text.encode()) <= 64 * 1024


def test_an_answer_shows_the_relations_of_each_hit(images: Path) -> None:
    [path] = write_pictures(images, 1)
    relations = tuple(Relation(f"other{number}", 0.9, None, True) for number in range(12))
    text = answer_markdown(_answer([Hit(path, 1.0, None, relations)]), images / path, images)
    assert "| 0.900 other0 · 0.900 other1 · " in text
    assert "other9" in text
    assert "other10" not in text


def test_an_answer_shows_all_parts_of_the_query(images: Path) -> None:
    paths = [str(images / path) for path in write_pictures(images, 10)]
    parts = [{"name": path, "less": number > 1, "weight": 1.0} for number, path in enumerate(paths)]
    parts[0]["crop"] = "10%,10%,50%,50%"
    answer = replace(_answer([Hit("a.png", 0.5, None)]), parts=parts)
    lines = answer_markdown(answer, Path(paths[0]), images).splitlines()
    assert lines[2] == "crop 10%,10%,50%,50%"
    assert lines[4].startswith("![query](data:image/")
    assert lines[4].endswith("more like " + escape(Path(paths[1]).name))
    assert lines[6].endswith("less like " + escape(Path(paths[2]).name))
    assert lines[20] == "less like " + escape(Path(paths[9]).name)
    assert lines[22].startswith("| | score |")


def test_the_page_is_linked_with_the_whole_query(images: Path) -> None:
    paths = write_pictures(images, 3)
    query_images = [read_query(images / path, images) for path in paths]
    parts = [
        QueryPart(query_images[0], crop=Crop(10, 0, 50, 50, PERCENT)),
        QueryPart(query_images[1]),
        QueryPart(query_images[2], less=True),
    ]
    answer = replace(_answer([]), query_paths=paths)
    link = urlsplit(page_link("http://127.0.0.1:8501", answer, Query(top_k=7), parts))
    expected = {"image": [paths[0]], "more": [paths[1]], "less": [paths[2]], "crop": ["10%,0%,50%,50%"]}
    assert parse_qs(link.query) == expected | {"k": ["7"], "mode": ["index"]}
    shot = {"since": "2024-05", "until": "2024", "camera": "Canon EOS 5D", "folder": "photos/2024"}
    link = urlsplit(page_link("http://127.0.0.1:8501", answer, replace(Query(), **shot), parts))
    assert {name: parse_qs(link.query)[name] for name in shot} == {name: [value] for name, value in shot.items()}
    outside = [*parts, QueryPart(read_query(images / paths[0]))]
    assert page_link("http://127.0.0.1:8501", answer, Query(), outside) == "http://127.0.0.1:8501"


def test_an_answer_without_hits(images: Path) -> None:
    [path] = write_pictures(images, 1)
    assert "no hits" in answer_markdown(_answer([]), images / path, images)


def test_a_hit_whose_file_is_missing_has_a_row(images: Path) -> None:
    [path] = write_pictures(images, 1)
    text = answer_markdown(_answer([Hit("gone/away.png", 0.5, "gone")]), images / path, images)
    assert "0.5000" in text
    assert "away.png" in text


@pytest.mark.parametrize("name", ["a|b.png", "a\nb.png", "<script>.png", "[x](y).png", "`a`.png"])
def test_names_cannot_break_the_table(images: Path, name: str) -> None:
    write_pictures(images, 1)
    text = answer_markdown(_answer([Hit(name, 0.5, None)]), images / "family0/picture0000.png", images)
    [header] = [line for line in text.splitlines() if line.startswith("| | score |")]
    [row] = [line for line in text.splitlines() if "0.5000" in line]
    assert row.replace("\\|", "").count("|") == header.count("|")
    assert "<script>" not in row
    assert escape(name) in row


def test_words_are_a_query_of_the_job(images: Path) -> None:
    [path] = write_pictures(images, 1)
    parts = [
        {"name": "a red car", "less": False, "weight": 1.0, "text": "a red car"},
        {"name": str(images / path), "less": True, "weight": 1.0},
        {"name": "a *drawing*", "less": True, "weight": 1.0, "text": "a *drawing*"},
    ]
    answer = replace(_answer([Hit("a.png", 0.25, None)]), query="a red car", parts=parts)
    lines = answer_markdown(answer, None, images).splitlines()
    assert lines[0] == "**a red car**"
    assert lines[2].startswith("![query](data:image/")
    assert lines[4] == r"less like the words **a \*drawing\***"


def test_the_page_is_linked_with_words(images: Path) -> None:
    [path] = write_pictures(images, 1)
    words = [QueryPart(QueryText("a red car")), QueryPart(QueryText("a drawing"), less=True)]
    link = urlsplit(page_link("http://127.0.0.1:8501", _answer([]), Query(top_k=7), words))
    expected = {"text": ["a red car"], "less_text": ["a drawing"], "k": ["7"], "mode": ["index"]}
    assert parse_qs(link.query) == expected
    answer = replace(_answer([]), query_paths=[path])
    image = QueryPart(read_query(images / path, images))
    link = urlsplit(page_link("http://127.0.0.1:8501", answer, Query(top_k=7), [image, *words]))
    assert parse_qs(link.query) == expected | {"image": [path]}
    link = urlsplit(page_link("http://127.0.0.1:8501", answer, Query(top_k=7), [*words, replace(image, less=True)]))
    assert parse_qs(link.query) == expected | {"less": [path]}
