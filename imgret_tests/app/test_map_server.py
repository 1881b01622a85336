"""What the map in the browser requests: the answers, and what is not answered."""

import io
from collections.abc import Iterator
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from imgret_assets.app import map_server
from imgret_assets.app.components.map_canvas import PREFIX
from imgret_assets.app.graph_chart.map_points import MapPoints, colour_by_folder
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.pictures import write_pictures


def points_of(paths: list[str]) -> MapPoints:
    return MapPoints(paths, np.zeros((len(paths), 2), np.float32), [colour_by_folder(paths)])


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(Starlette(routes=map_server.ROUTES)) as client:
        yield client


def test_points_and_thumbnails_are_answered_once_the_page_shows_the_map(client: TestClient, home: Home) -> None:
    points = points_of([*write_pictures(home.images, 2), "gone/é, <b>.png"])
    assert client.get(f"{PREFIX}/points/{points.version}").status_code == 404
    assert client.get(f"{PREFIX}/thumbnail/{points.version}/0").status_code == 404
    map_server.publish(home, points)

    answer = client.get(f"{PREFIX}/points/{points.version}")
    assert answer.content == points.payload
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "max-age" in answer.headers["cache-control"]

    for row, path in enumerate(points.paths):
        answer = client.get(f"{PREFIX}/thumbnail/{points.version}/{row}")
        # An image that is gone has a grey tile.
        assert max(Image.open(io.BytesIO(answer.content)).size) <= map_server.THUMBNAIL_PX
        assert unquote(answer.headers[map_server.PATH_HEADER]) == path


@pytest.mark.parametrize("row", ["2", "-1", "x", "0.5", "99999999999999999999"])
def test_no_other_image_can_be_requested(client: TestClient, home: Home, row: str) -> None:
    points = points_of(write_pictures(home.images, 2))
    map_server.publish(home, points)
    assert client.get(f"{PREFIX}/thumbnail/{points.version}/{row}").status_code == 404


def test_a_path_out_of_the_image_root_shows_a_grey_tile(client: TestClient, home: Home) -> None:
    outside = home.images.folder.parent / "secret.png"
    Image.new("RGB", (32, 32), "red").save(outside)
    points = points_of(["../secret.png"])
    map_server.publish(home, points)
    answer = client.get(f"{PREFIX}/thumbnail/{points.version}/0")
    colours = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
    assert np.ptp(colours.astype(int), axis=2).max() < 40


def test_the_last_few_maps_are_kept(client: TestClient, home: Home) -> None:
    maps = [points_of([f"{number}.png"]) for number in range(6)]
    for points in maps:
        map_server.publish(home, points)
    states = [client.get(f"{PREFIX}/points/{points.version}").status_code for points in maps]
    assert states[-1] == 200
    assert states[0] == 404
