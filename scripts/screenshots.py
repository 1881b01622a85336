#!/usr/bin/env python
"""Screenshots of the web page for the documentation, from the data of the demo: `make demo`, then `make screenshots`.

Belongs here: the list of views. Not here: the browser and the process of the page (`imgret_tests.support.browser`).

The page runs over a copy of the demo's home, so that the decisions it shows are not real ones. The graph is that of the
demo; it is only read.
"""

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import click
from PIL import Image, ImageChops

from imgret_assets.app import navigation
from imgret_assets.domain.duplicates.duplicate_search import EXACT, NEAR
from imgret_assets.domain.graph import graph_record
from imgret_assets.domain.models.resolution import space_in_use
from imgret_assets.domain.neo4j_server import lifecycle, run_file
from imgret_assets.domain.review.decision_log import record
from imgret_assets.domain.review.queue import read_review_queue
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ImgretError
from imgret_assets.image_roots import ImageRoots
from imgret_assets.locations import PROJECT
from imgret_assets.settings import load_settings
from imgret_tests.support.browser import missing, running_browser, running_page, wait_until_drawn

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENSHOTS = PROJECT / "docs" / "pictures"
MAX_BYTES = 120_000
TIMEOUT_MS = 60_000
# Not copied: the images, the database, and large files that are only read.
NOT_COPIED = ("samples", "neo4j", "cache", "models", "locks", "decisions.jsonl", "decisions.copies")
LIGHT, DARK = "light", "dark"
# Charts are drawn after everything else; only the canvas of a chart shows that it is drawn.
GRAPH, HISTOGRAM, TABLE = "canvas[data-zr-dom-id]", ".marks", "[data-testid=stDataFrame]"
MAP = "canvas[data-loaded]"
EQUAL_SCREENSHOTS = 3


@dataclass(frozen=True)
class View:
    """A view: the name of the file, the page and its query, the window size, the colours, the element drawn last."""

    name: str
    page: str
    query: dict[str, object] = field(default_factory=dict)
    height: int = 900
    width: int = 1280
    colours: str = LIGHT
    last_element: str = "[data-testid=stMain]"


def main() -> int:
    """Take all screenshots; return 1 if a requirement is missing."""
    try:
        cause = missing()
        if cause is not None:
            raise ImgretError(f"There is no browser: {cause}", remedy="install Chromium")
        home = demo_home()
        with running_server(home) as connection:
            take_all(home, connection)
    except ImgretError as error:
        click.echo(f"screenshots: {error}", err=True)
        return 1
    return 0


@contextmanager
def running_server(home: Home) -> Iterator[run_file.Connection]:
    """Provide the demo's database; stop it at the end if it was not running before."""
    was_running = lifecycle.status(home.settings) is not None
    try:
        yield lifecycle.ensure_running(home.settings)
    finally:
        if not was_running:
            lifecycle.stop(home.settings)


def take_all(home: Home, connection: run_file.Connection) -> None:
    """Take all screenshots over a copy of the home."""
    SCREENSHOTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="imgret-screenshots-") as folder:
        environment = clean_environment() | {
            "IMGRET_HOME": folder,
            "IMGRET_CACHE": str(home.settings.cache),
            "NEO4J_URI": connection.uri,
            "NEO4J_USERNAME": connection.username,
            "NEO4J_PASSWORD": connection.password,
            # The name of the person who decides, unless the page sets another.
            "LOGNAME": "anna",
        }
        copied = copy_home(home, Path(folder), environment)
        views = choose_views(copied)
        decide(copied)
        with running_page(environment, Path(folder)) as address, running_browser() as browser:
            for view in views:
                take(browser, address, view)


def demo_home() -> Home:
    """Return the home that `make demo` has built.

    Raises:
        ImgretError: the home does not exist or contains another collection.
    """
    home = open_home(load_settings({"home": PROJECT / "data"}, env=clean_environment()))
    if home.images != ImageRoots.plain(home.path / "samples") or home.record.model is None:
        raise ImgretError(f"{home.path} does not contain the images of the demo", remedy="run `make demo` first")
    return home


def clean_environment() -> dict[str, str]:
    """Return the environment of this process without settings, so that screenshots do not depend on the user."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("IMGRET_", "NEO4J_", "DAGSTER_"))
    }
    return environment | {"IMGRET_ENV_FILE": os.devnull}


def copy_home(home: Home, folder: Path, environment: dict[str, str]) -> Home:
    """Return a home with the same tables and without decisions, whose graph is that of the environment's database."""
    shutil.copytree(home.path, folder, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)
    (folder / "models").symlink_to(home.path / "models")
    copied = open_home(load_settings(env=environment))
    space = space_in_use(copied).id
    with graph_record.recorded(copied, space, list(graph_record.graph_inputs(copied, space))):
        pass
    return copied


def decide(home: Home) -> None:
    """Record some decisions for the page Review."""
    queue = read_review_queue(home)
    exact, near = list(queue.sets(EXACT)), list(queue.sets(NEAR))
    record(home, exact[0].decide_proposal(), by="anna", reason="")
    record(home, exact[1].decide_proposal(), by="anna", reason="")
    record(home, near[0].decide_proposal(), by="ben", reason="smaller copies for the web")
    record(home, near[1].decide_keep_all(), by="anna", reason="two takes")
    record(home, near[2].decide_proposal(), by="ben", reason="smaller copies for the web")


def choose_views(home: Home) -> list[View]:
    """Return the views, named by what they show."""
    *_, near_duplicates = read_review_queue(home).sets(NEAR)
    query = {"sample": "swift.jpg", "k": 12}
    start = near_duplicates.keep.path
    return [
        View("search", navigation.SEARCH, query, height=1000, width=1440, last_element=HISTOGRAM),
        View("search-dark", navigation.SEARCH, query, height=1000, width=1440, colours=DARK, last_element=HISTOGRAM),
        View("duplicates", navigation.DUPLICATES, {"kind": NEAR}),
        View(
            "compare",
            navigation.COMPARE,
            {"a": start, "b": near_duplicates.other_members[0].path},
            height=1100,
            last_element=TABLE,
        ),
        View("groups", navigation.GROUPS),
        View("map", navigation.GRAPH, {"at": start}, height=1000, width=1440, last_element=MAP),
        View("graph", navigation.GRAPH, {"image": start}, height=960, last_element=GRAPH),
        View("review", navigation.REVIEW, last_element=TABLE),
        View("overview", navigation.OVERVIEW, height=1450, last_element=TABLE),
    ]


def take(browser: "Browser", address: str, view: View) -> None:
    """Take the screenshot of a view when it no longer changes, and write it."""
    size = {"width": view.width, "height": view.height}
    context = browser.new_context(viewport=size, color_scheme=view.colours, reduced_motion="reduce")  # type: ignore[arg-type]
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    # Streamlit shows the first page at the root only.
    path = "" if view.page == navigation.SEARCH else view.page
    page.goto(f"{address}/{path}?{urlencode(view.query)}")
    screenshot = stable_screenshot(page, view.last_element)
    context.close()
    file = SCREENSHOTS / f"{view.name}.webp"
    file.write_bytes(small_webp(screenshot))
    click.echo(
        f"{file.relative_to(PROJECT)}: {screenshot.width} x {screenshot.height}, {file.stat().st_size / 1000:,.0f} kB"
    )


def stable_screenshot(page: "Page", last_element: str) -> Image.Image:
    """Return the window as soon as the last element exists and several screenshots in a row are equal."""
    wait_until_drawn(page)
    page.locator(last_element).first.wait_for()
    page.wait_for_load_state("networkidle")
    equal: list[Image.Image] = []
    for _ in range(60):
        screenshot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        if equal and ImageChops.difference(equal[-1], screenshot).getbbox() is not None:
            equal.clear()
        equal.append(screenshot)
        if len(equal) == EQUAL_SCREENSHOTS:
            return screenshot
        page.wait_for_timeout(300)
    raise RuntimeError(f"{page.url} does not stop changing")


def small_webp(image: Image.Image) -> bytes:
    """Return the image as WebP of at most MAX_BYTES, in the best quality that fits."""
    for quality in range(90, 30, -5):
        data = io.BytesIO()
        image.save(data, "WEBP", quality=quality, method=6)
        if data.tell() <= MAX_BYTES:
            return data.getvalue()
    raise RuntimeError(f"A screenshot of {image.width} x {image.height} pixels is too large for {MAX_BYTES:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
