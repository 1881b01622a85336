"""Facts, thumbnails, groups, duplicates: what the tables have, a part at a time, also while a run changes them."""

import io
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus

import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

from imgret_assets.domain.operations.complete_state import keep_complete_state
from imgret_assets.domain.storage import tables
from imgret_tests.api.conftest import Served
from imgret_tests.support.photos import EXACT_COPY, NEAR_COPY, ORIGINAL
from imgret_tests.support.pictures import picture_bytes


def test_an_image_has_facts_group_duplicates_and_relationships(client: TestClient, served: Served) -> None:
    other = "family1/picture0001.png"
    edges = [{"source": ORIGINAL, "target": other, "score": 0.9, "kind": "SIMILAR_TO"}]
    served.server.relationships.append({"path": ORIGINAL, "relationships": edges, "total": 7})
    response = client.get(f"/v1/images/{ORIGINAL}")
    assert response.status_code == HTTPStatus.OK, response.text
    image = response.json()
    file = served.home.images.local(ORIGINAL)
    with Image.open(file) as opened:
        assert (image["width"], image["height"], image["format"]) == (*opened.size, opened.format)
    assert (image["path"], image["status"], image["bytes"]) == (ORIGINAL, "ok", file.stat().st_size)
    assert {row["path_from"] for row in image["duplicates"]} == {EXACT_COPY, NEAR_COPY}
    assert {row["path_keep"] for row in image["duplicates"]} == {ORIGINAL}
    assert {ORIGINAL, EXACT_COPY, NEAR_COPY} <= {member["path"] for member in image["group"]["members"]}
    assert image["relationships"] == [{"path": other, "score": 0.9, "kind": "SIMILAR_TO", "outgoing": True}]
    assert (image["relationship_count"], image["refreshing"]) == (7, False)
    assert "inode" not in str(image)
    assert (image["taken"], image["camera"]) == (None, None)


def test_an_image_has_its_date_and_camera(client: TestClient, served: Served) -> None:
    for shard in served.home.shards:
        file = tables.manifest_path(served.home.warehouse, shard)
        shot = {"taken": datetime.fromisoformat("2024-05-31T10:20:30"), "camera": "Canon EOS 5D"}
        rows = [row | shot if row["path"] == ORIGINAL else row for row in tables.read(file).to_pylist()]
        tables.write(file, pa.Table.from_pylist(rows, tables.MANIFEST_SCHEMA), tables.read_metadata(file))
    image = client.get(f"/v1/images/{ORIGINAL}").json()
    assert (image["taken"], image["camera"]) == ("2024-05-31T10:20:30", "Canon EOS 5D")
    assert "taken" not in image["facts"]


def test_addresses_of_an_answer_lead_to_the_image_and_its_thumbnail(client: TestClient) -> None:
    """One of the names has a tab and a line break in it."""
    for group in client.get("/v1/groups").json()["groups"]:
        image = client.get(group["image"]).json()
        assert image["path"] == group["group"]
        assert client.get(image["thumbnail"]).status_code == HTTPStatus.OK


@pytest.mark.parametrize("end", ["", "/thumbnail"])
@pytest.mark.parametrize("path", ["gone.png", "family1", ""])
def test_a_path_that_the_library_does_not_have_is_not_found(client: TestClient, path: str, end: str) -> None:
    response = client.get(f"/v1/images/{path}{end}")
    assert response.status_code == HTTPStatus.NOT_FOUND
    assert response.json()["remedy"]


@pytest.mark.parametrize("end", ["", "/thumbnail"])
@pytest.mark.parametrize(
    "path", ["%2e%2e/secret.png", "a/%2e%2e/%2e%2e/secret.png", "%2Fetc/passwd", "..%2fsecret.png"]
)
def test_a_path_that_leads_elsewhere_is_refused(client: TestClient, served: Served, path: str, end: str) -> None:
    (served.home.images.folder.parent / "secret.png").write_bytes(picture_bytes(1))
    response = client.get(f"/v1/images/{path}{end}")
    assert response.status_code in (HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_FOUND)
    assert response.headers["content-type"] == "application/problem+json"


def test_a_file_that_no_run_has_listed_has_no_thumbnail(client: TestClient, served: Served) -> None:
    served.home.images.local("new.png").write_bytes(picture_bytes(99))
    assert client.get("/v1/images/new.png/thumbnail").status_code == HTTPStatus.NOT_FOUND


def test_a_thumbnail_has_the_size_that_is_asked_for_and_is_sent_once(client: TestClient) -> None:
    address = f"/v1/images/{ORIGINAL}/thumbnail"
    response = client.get(address, params={"size": 64})
    assert response.headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(response.content)).size) == 64
    again = client.get(address, params={"size": 64}, headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (HTTPStatus.NOT_MODIFIED, b"")
    wrong = client.get(address, params={"size": 100_000})
    assert wrong.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert wrong.json()["errors"][0]["field"] == "size"


def all_parts(client: TestClient, address: str | None, name: str) -> Iterator[dict[str, object]]:
    while address is not None:
        part = client.get(address).json()
        yield from part[name]
        address = part["next"]


def test_the_parts_of_the_groups_are_all_groups_in_order(client: TestClient, served: Served) -> None:
    whole = client.get("/v1/groups", params={"order": "largest", "limit": 500}).json()
    assert whole["next"] is None
    assert whole["total"] == len(whole["groups"]) >= 2
    sizes = [group["size"] for group in whole["groups"]]
    assert sizes == sorted(sizes, reverse=True)
    assert list(all_parts(client, "/v1/groups?order=largest&limit=1", "groups")) == whole["groups"]
    large = client.get("/v1/groups", params={"min_size": max(sizes)}).json()["groups"]
    assert {group["size"] for group in large} == {max(sizes)}
    rows = tables.read(tables.groups_path(served.home.warehouse, served.embedder.space.id)).to_pylist()
    assert whole["total"] == len({row["group"] for row in rows if row["size"] > 1})


def test_the_parts_of_the_duplicates_are_the_table(client: TestClient) -> None:
    rows = list(all_parts(client, "/v1/duplicates?limit=1", "duplicates"))
    assert {(row["path_from"], row["kind"]) for row in rows} == {(EXACT_COPY, "exact"), (NEAR_COPY, "near")}
    exact = client.get("/v1/duplicates", params={"kind": "exact"}).json()
    assert [row["path_from"] for row in exact["duplicates"]] == [EXACT_COPY]


@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("/v1/groups?limit=0", "limit"),
        ("/v1/groups?limit=501", "limit"),
        ("/v1/groups?offset=-1", "offset"),
        ("/v1/groups?order=best", "order"),
        ("/v1/groups?min_size=1", "min_size"),
        ("/v1/groups?limitt=3", "limitt"),
        ("/v1/duplicates?kind=same", "kind.0"),
        ("/v1/duplicates?decided=no", "decided"),
        (f"/v1/images/{ORIGINAL}/thumbnail?siz=64", "siz"),
    ],
)
def test_wrong_parameters_are_named(client: TestClient, address: str, field: str) -> None:
    response = client.get(address)
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert [error["field"] for error in response.json()["errors"]] == [field]


def test_the_last_complete_state_is_served_while_a_run_changes_the_tables(client: TestClient, served: Served) -> None:
    before = {address: client.get(address).json() for address in ("/v1/groups", "/v1/duplicates")}
    assert keep_complete_state(served.home)
    for folder in ("groups", "duplicates"):
        next((served.home.path / "warehouse" / folder).rglob("*.parquet")).unlink()
    for address, earlier in before.items():
        assert client.get(address).json() == {**earlier, "refreshing": True}
    assert client.get(f"/v1/images/{ORIGINAL}").json()["refreshing"] is True


def test_a_table_that_is_missing_is_a_problem_with_the_remedy(client: TestClient, served: Served) -> None:
    tables.groups_path(served.home.warehouse, served.embedder.space.id).unlink()
    response = client.get("/v1/groups")
    assert response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert "imgret run" in response.json()["remedy"]
    assert str(served.home.path) not in response.text


def test_what_there_is_not_is_a_problem(client: TestClient) -> None:
    assert client.get("/").json()["type"] == "urn:imgret:problem:not-found"
    response = client.delete("/v1/groups")
    assert response.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    assert response.headers["allow"] == "GET"
    assert response.json()["type"] == "urn:imgret:problem:method-not-allowed"
