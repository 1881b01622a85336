"""`imgret app` in headless Chromium, over a small home with the bundled model.

Belongs here: tests that need a browser (history, keys, links, the chart, requests to other hosts) or the page, the
command and the database together. Not here: the content of each page (`imgret_tests/app`).

Skipped with the cause where there is no Chromium; IMGRET_TEST_REQUIRE_BROWSER=1 makes that a failure.
"""

import base64
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from neo4j import Driver

from imgret_assets.app import navigation
from imgret_assets.app.components.map_canvas import PREFIX
from imgret_assets.app.graph_chart.map_points import PALETTES
from imgret_assets.domain.neo4j_server.host import LOCALHOST
from imgret_tests.support.browser import (
    accessibility_faults,
    missing,
    running_browser,
    running_page,
    wait_until_drawn,
)
from imgret_tests.support.neo4j_server import TestedServer, clean_environment
from imgret_tests.support.photos import photo
from imgret_tests.support.pictures import picture_bytes, write_pictures

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page

# One test waits for a whole run, and the machine may be busy.
pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

ORIGINAL, COPY = "photos/one.png", "copies/same bytes.png"
ODD = "photos/<img src=x onerror=alert(1)> **bold** :smile: $x$ [a](b).png"
ODD_COPY = f"copies/{ODD.removeprefix('photos/')}"
NEAR_SEEDS = (4, 5, 6)
PAGES = (
    navigation.SEARCH,
    navigation.DUPLICATES,
    navigation.GROUPS,
    navigation.GRAPH,
    navigation.COMPARE,
    navigation.REVIEW,
    navigation.OVERVIEW,
)
WITHIN_MS = 60_000
# Opened by a link, Streamlit's client also requests files of the root below the page's name.
KNOWN_404 = re.compile(rf"/({'|'.join(PAGES)})/_stcore/")


@dataclass(frozen=True)
class Place:
    """A working folder, the environment that leads to the home, and the page's address."""

    folder: Path
    environment: dict[str, str]
    address: str = ""

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def run(self) -> None:
        """`imgret run`."""
        command = [sys.executable, "-m", "imgret_assets.cli.main", "run", "--json"]
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]


@dataclass
class View:
    """A browser window on the page, with its requests and complaints.

    Attributes:
        page: the window.
        address: of the page's process.
        requested: addresses of requests and websockets.
        complaints: of the console, uncaught errors, dialogs.
    """

    page: "Page"
    address: str
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, context: "BrowserContext") -> None:
        context.on("request", lambda request: self.requested.append(request.url))
        context.on("console", lambda message: self._on_console(message))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.page.on("websocket", lambda socket: self.requested.append(socket.url))

        def refuse(dialog: object) -> None:
            self.complaints.append(f"dialog {dialog}")
            dialog.dismiss()  # type: ignore[attr-defined]

        self.page.on("dialog", refuse)

    def _on_console(self, message: "ConsoleMessage") -> None:
        if message.type == "error" and not KNOWN_404.search(message.location.get("url", "")):
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    @property
    def outside(self) -> list[str]:
        """Requests to other hosts."""
        return [
            url for url in self.requested if urlsplit(url).hostname != LOCALHOST and urlsplit(url).scheme not in OWN
        ]

    def open(self, name: str, /, **query: object) -> "Page":
        """Open a page by a link and wait until it is drawn."""
        # Streamlit shows the first page at the root, and nowhere else.
        path = "" if name == PAGES[0] else name
        self.page.goto(f"{self.address}/{path}?{urlencode(query)}")
        wait_until_drawn(self.page)
        return self.page

    @property
    def query(self) -> dict[str, str]:
        """The current query parameters of the address."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.page.url).query).items()}

    @property
    def names(self) -> "Locator":
        """All plain texts: on Search the query image's name, then the paths of the hits."""
        return self.page.get_by_test_id("stText")

    def expect_query(self, name: str) -> None:
        """Wait until Search has drawn the answer for this image; a view left early would still send requests."""
        from playwright.sync_api import expect

        expect(self.names.nth(0)).to_have_text(name)
        wait_until_drawn(self.page)

    def button(self, name: str) -> "Locator":
        return self.page.get_by_role("button", name=name)

    def exact_button(self, label: str) -> "Locator":
        """All buttons with this label, whatever icon is before it."""
        buttons = self.page.locator("[data-testid=stButton] button").filter(
            has=self.page.get_by_text(label, exact=True)
        )
        # Streamlit draws a button with a help text twice, once without it, and shows one of them.
        return buttons.filter(visible=True)


# Schemes of addresses that the window makes itself.
OWN = ("data", "blob")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium; skips with the cause if there is none, or fails if one is required."""
    cause = missing()
    if cause is not None:
        if os.environ.get("IMGRET_TEST_REQUIRE_BROWSER") == "1":
            pytest.fail(f"no browser to test with: {cause}")
        pytest.skip(f"no browser to test with: {cause}")
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def place(
    browser: "Browser",
    tested_server: TestedServer,
    shared_database: Driver,
    lite0_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    """The page over five families of four images, two exact duplicates and three near-duplicates."""
    del browser, shared_database
    folder = tmp_path_factory.mktemp("browser")
    (folder / "home").mkdir()
    (folder / "home" / "models").symlink_to(lite0_home / "models")
    write_collection(folder / "images")
    found = tested_server.connection
    given = {
        "IMGRET_HOME": str(folder / "home"),
        "IMGRET_IMAGES": str(folder / "images"),
        "IMGRET_MODEL": "efficientnet_lite0",
        "IMGRET_SHARDS": "4",
        "NEO4J_URI": found.uri,
        "NEO4J_USERNAME": found.username,
        "NEO4J_PASSWORD": found.password,
    }
    place = Place(folder, clean_environment() | given)
    place.run()
    with running_page(place.environment, folder) as address:
        yield Place(folder, place.environment, address)


def write_collection(root: Path) -> None:
    write_pictures(root, 20)
    for folder in ("photos", "copies"):
        (root / folder).mkdir()
    for seed, (path, copy) in enumerate(((ORIGINAL, COPY), (ODD, ODD_COPY)), start=1):
        photo(seed).save(root / path)
        shutil.copy(root / path, root / copy)
    for seed in NEAR_SEEDS:
        photo(seed).save(root / near(seed)[0])
        photo(seed).resize((320, 240)).save(root / near(seed)[1], quality=85)


def near(seed: int) -> tuple[str, str]:
    """Return the paths of an image and its near-duplicate."""
    return f"photos/near{seed}.png", f"copies/near{seed}.jpg"


@pytest.fixture
def view(browser: "Browser", place: Place) -> Iterator[View]:
    """A new window without decisions; requests to other hosts and complaints fail the test at its end.

    It asks for reduced motion: without a graphics card, drawing Streamlit's moving icons takes most of a test's time.
    """
    with suppress(FileNotFoundError):
        (place.folder / "home" / "decisions.jsonl").unlink()
        shutil.rmtree(place.folder / "home" / "decisions.copies", ignore_errors=True)
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
    context.set_default_timeout(WITHIN_MS)
    view = View(context.new_page(), place.address)
    view.watch(context)
    yield view
    try:
        # A window closed early would end a script, and with it the requests and complaints that are still to come.
        wait_until_drawn(view.page)
    finally:
        context.close()
    assert view.outside == []
    assert view.complaints == []


@pytest.fixture(autouse=True)
def _patient() -> None:
    """Let expectations wait as long as actions."""
    if missing() is None:
        from playwright.sync_api import expect

        expect.set_options(timeout=WITHIN_MS)


def test_an_upload_finds_similar_images_and_each_hit_can_be_searched_with(view: View) -> None:
    from playwright.sync_api import expect

    page = view.open(navigation.SEARCH)
    data = io.BytesIO()
    photo(1).resize((500, 400)).save(data, "PNG")
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": data.getvalue()}
    )
    # The two exact duplicates are grouped.
    expect(page.get_by_text("+1 duplicate").first).to_be_visible()
    expect(view.names.nth(0)).to_have_text("mine.png")
    wait_until_drawn(page)
    first = view.names.nth(1).inner_text()
    assert first in (ORIGINAL, COPY)

    view.button("Similar").nth(0).click()
    view.expect_query(first)
    assert view.query["image"] == first
    expect(page.get_by_text("query image in the library")).to_be_visible()
    # Of the hits the first is the file with the same bytes.
    assert {first, view.names.nth(1).inner_text()} == {ORIGINAL, COPY}
    second = view.names.nth(2).inner_text()
    view.button("Similar").nth(1).click()
    view.expect_query(second)
    assert view.query["image"] == second

    page.go_back()
    view.expect_query(first)
    assert view.query["image"] == first
    view.button("Back").click()
    view.expect_query("mine.png")
    expect(view.names.nth(1)).to_have_text(first)
    assert "image" not in view.query


def test_marked_hits_and_a_crop_refine_the_query(view: View) -> None:
    from playwright.sync_api import expect

    page = view.open(navigation.SEARCH, image=ORIGINAL, fold="false")
    view.expect_query(ORIGINAL)
    liked = view.names.nth(2).inner_text()
    view.exact_button("More").nth(1).click()
    expect(page.get_by_text("More like these")).to_be_visible()
    wait_until_drawn(page)
    # The row of images has no names: the first name is that of the first hit.
    marked = view.names.nth(3).inner_text()
    view.exact_button("Less").nth(3).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Less like this")).to_be_visible()
    wait_until_drawn(page)
    assert not {ORIGINAL, liked, marked} & set(view.names.all_inner_texts())
    expect(view.exact_button("Remove")).to_have_count(3)
    assert (view.query["more"], view.query["less"]) == (liked, marked)

    view.button("Crop").click()
    left = page.get_by_role("slider", name="From left to right (%)").first
    left.focus()
    for percent in (1, 2):
        page.keyboard.press("ArrowRight")
        page.wait_for_url(re.compile(rf"[?&]crop={percent}%25"))
        wait_until_drawn(page)
        expect(left).to_be_focused()
    faults = accessibility_faults(page)
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 390, "height": 800})
    wait_until_drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert faults + accessibility_faults(page) == []

    page.reload()
    expect(view.exact_button("Remove")).to_have_count(3)
    view.exact_button("Remove").nth(2).click()
    expect(view.exact_button("Remove")).to_have_count(2)
    wait_until_drawn(page)
    assert "less" not in view.query
    assert marked in view.names.all_inner_texts()


# As the browser gives it to the page, wherever it is dropped or pasted; false until the page takes it.
GIVE_IMAGE = """([kind, name, base64]) => {
  const files = new DataTransfer();
  files.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name, { type: 'image/png' }));
  const options = { bubbles: true, cancelable: true };
  const event = kind === 'paste' ? new ClipboardEvent(kind, { clipboardData: files, ...options })
    : new DragEvent(kind, { dataTransfer: files, ...options });
  return !document.querySelector('[data-testid=stMain]').dispatchEvent(event);
}"""


def test_images_are_pasted_and_dropped_anywhere_and_keys_go_from_hit_to_hit(view: View) -> None:
    from playwright.sync_api import expect

    page = view.open(navigation.SEARCH)
    data = io.BytesIO()
    photo(1).resize((500, 400)).save(data, "PNG")
    for kind, name in (("paste", "pasted.png"), ("drop", "dropped.png")):
        page.wait_for_function(GIVE_IMAGE, arg=[kind, name, base64.b64encode(data.getvalue()).decode()])
        expect(view.names.nth(0)).to_have_text(name)
        expect(page.get_by_text("+1 duplicate").first).to_be_visible()
        wait_until_drawn(page)

    second = view.names.nth(2).inner_text()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    view.expect_query(second)
    assert view.query["image"] == second

    # In the middle of the scores' range.
    page.locator(".marks").first.click()
    expect(page.get_by_text("with a score of")).to_be_visible()
    assert 0 < float(view.query["min"]) < 1


def test_a_threshold_shows_what_it_gives_before_the_slider_is_released(view: View) -> None:
    from playwright.sync_api import expect

    page = view.open(navigation.OVERVIEW)
    slider = page.get_by_role("slider", name="Threshold")
    for threshold in ("0.65", "0.9"):
        # While it is dragged, the browser sends `input` alone; at the end also `change`.
        slider.evaluate(
            "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", threshold
        )
        expect(page.get_by_test_id("stCode")).to_contain_text(f"--threshold {threshold} ")
        wait_until_drawn(page)
        assert slider.input_value() == threshold


def test_a_decided_set_stays_away_after_a_run_until_it_is_undone(view: View, place: Place) -> None:
    from playwright.sync_api import expect

    page = view.open(navigation.DUPLICATES, kind="near")
    sets = view.button("Keep all (no duplicates)")
    count, path = sets.count(), view.names.nth(0).inner_text()
    assert count >= len(NEAR_SEEDS)
    sets.first.click()
    expect(sets).to_have_count(count - 1)

    (place.images / "photos/new.png").write_bytes(picture_bytes(999))
    place.run()
    page.reload()
    expect(page.get_by_text("31 images")).to_be_visible()
    wait_until_drawn(page)
    expect(sets).to_have_count(count - 1)
    assert path not in view.names.all_inner_texts()

    view.open(navigation.REVIEW)
    # The box at the left of the first row; the table is drawn on a canvas.
    page.get_by_test_id("stDataFrame").first.click(position={"x": 18, "y": 52})
    view.button("Undo (1 decision)").click()
    # The page shows the old table until it is drawn anew; who leaves it before may end the script that undoes.
    expect(page.get_by_role("button", name="Undo", exact=True)).to_be_disabled()
    view.open(navigation.DUPLICATES, kind="near")
    expect(sets).to_have_count(count)
    assert path in view.names.all_inner_texts()


def test_a_link_restores_a_search(view: View) -> None:
    from playwright.sync_api import expect

    linked = {"image": "family0/picture0000.png", "k": 3, "mode": "exact", "min": 0.1, "fold": "false"}
    page = view.open(navigation.SEARCH, **linked)
    expect(page.get_by_text("3 hits · mode exact")).to_be_visible()
    assert view.names.all_inner_texts()[0] == linked["image"]
    assert len(view.names.all_inner_texts()) == 4
    expect(page.get_by_label("Minimum score", exact=True)).to_have_value("0.100")
    expect(page.get_by_text("with a score of 0.1 or more")).to_be_visible()
    expect(page.get_by_role("slider", name="Hits")).to_have_value("3")
    assert view.query == {name: str(value) for name, value in linked.items()}


def test_a_link_restores_a_page_of_duplicates(view: View) -> None:
    from playwright.sync_api import expect

    page = view.open(navigation.DUPLICATES, kind="similar")
    expect(page.get_by_text("that are not duplicates")).to_be_visible()
    first = view.names.all_inner_texts()
    page.get_by_role("button", name="Page 2", exact=True).click()
    expect(view.names.nth(0)).not_to_have_text(first[0])
    wait_until_drawn(page)
    second = view.names.all_inner_texts()
    assert view.query == {"kind": "similar", "page": "2"}

    page.goto("about:blank")
    view.open(navigation.DUPLICATES, kind="similar", page=2)
    assert view.names.all_inner_texts() == second
    view.open(navigation.DUPLICATES, kind="exact")
    assert set(view.names.all_inner_texts()) == {ORIGINAL, COPY, ODD, ODD_COPY}


def test_a_link_restores_a_comparison_and_a_key_swaps_it(view: View) -> None:
    from playwright.sync_api import expect

    page = view.open(navigation.COMPARE, a=near(4)[0], b=near(4)[1])
    expect(view.names).to_have_text(list(near(4)))
    expect(page.get_by_text("near-duplicate", exact=True)).to_be_visible()
    page.keyboard.press("x")
    expect(view.names).to_have_text(list(reversed(near(4))))
    wait_until_drawn(page)
    page.keyboard.press("x")
    expect(view.names).to_have_text(list(near(4)))


def test_keys_decide_about_the_first_set(view: View) -> None:
    from playwright.sync_api import expect

    page = view.open(navigation.DUPLICATES, kind="near")
    sets = view.button("Keep all (no duplicates)")
    count, first = sets.count(), view.names.nth(0).inner_text()
    for key, said in (("k", f"{first} is kept, 1 not needed"), ("a", f"{first} and others: all 2 files kept")):
        wait_until_drawn(page)
        page.keyboard.press(key)
        expect(page.get_by_text(said)).to_be_visible()
        expect(sets).to_have_count(count - 1)
        wait_until_drawn(page)
        page.keyboard.press("u")
        expect(sets).to_have_count(count)
        expect(page.get_by_text(said)).to_have_count(0)
        expect(view.names.nth(0)).to_have_text(first)
    wait_until_drawn(page)
    page.keyboard.press("s")
    expect(view.button("Show 1 skipped")).to_be_visible()
    expect(sets).to_have_count(count - 1)
    assert first not in view.names.all_inner_texts()


def test_the_triage_is_worked_by_keys_alone(view: View) -> None:
    from playwright.sync_api import expect

    page = view.open(navigation.DUPLICATES, kind="near")
    count = view.button("Keep all (no duplicates)").count()
    page.keyboard.press("t")
    dialog = page.get_by_role("dialog", name="Triage")
    place, shown, freed = (dialog.locator(f".{name}") for name in ("place", "shown", "freed"))
    expect(place).to_have_text(f"near 1 of {count}")
    first = shown.inner_text()
    assert first.startswith("1: ")

    # Two images in turn at one place, by the key and by themselves.
    images = dialog.locator(".pictures img")
    expect(images).to_have_count(2)
    boxes = [images.nth(number).bounding_box() for number in (0, 1)]
    assert boxes[0] == boxes[1]
    # Rejects, and so fails, for an image that can't be loaded.
    images.evaluate_all("images => Promise.all(images.map((image) => image.decode()))")
    page.keyboard.press("Space")
    expect(shown).to_have_text(re.compile("^2: "))
    expect(dialog.locator(".pictures img.visible")).to_have_count(1)
    page.keyboard.press("b")
    expect(shown).to_have_text(first)
    expect(shown).to_have_text(re.compile("^2: "))
    page.keyboard.press("d")
    expect(shown).to_have_text(re.compile("^Black where both are equal"))
    expect(dialog.locator(".pictures img.visible")).to_have_count(2)
    page.keyboard.press("ArrowUp")
    expect(shown).to_have_text(first)

    page.keyboard.press("ArrowRight")
    expect(place).to_have_text(f"near 2 of {count}")
    page.keyboard.press("ArrowLeft")
    expect(shown).to_have_text(first)
    for key, place_text, freed_text in (
        ("k", f"near 1 of {count - 1}", re.compile("^This session: 1 file not needed, ")),
        ("u", f"near 1 of {count}", ""),
        ("a", f"near 1 of {count - 1}", ""),
        ("u", f"near 1 of {count}", ""),
        ("s", f"near 2 of {count}", ""),
        ("k", f"near 2 of {count - 1}", re.compile("^This session: 1 file not needed, ")),
    ):
        page.keyboard.press(key)
        expect(place).to_have_text(place_text)
        expect(freed).to_have_text(freed_text)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    wait_until_drawn(page)
    assert "triage" not in view.query
    expect(view.button("Keep all (no duplicates)")).to_have_count(count - 2)
    expect(page.get_by_text("this session")).to_be_visible()


def test_the_buttons_of_a_set_stay_in_view_while_it_does(view: View) -> None:
    page = view.open(navigation.DUPLICATES, kind="near")
    page.set_viewport_size({"width": 390, "height": 500})
    wait_until_drawn(page)
    # So far that the top of the first set has left the window, and its second image fills it.
    page.locator("[class*=st-key-compare-near]").first.scroll_into_view_if_needed()
    box = view.button("Accept proposal (").first.bounding_box()
    assert box is not None
    assert 0 < box["y"] < 500 - box["height"]


# Streamlit keeps old elements until the new ones are drawn: for a moment two buttons have the key.
PRESS_WHEN_TWO_HAVE_IT = """key => {
  const two = () => document.querySelectorAll(`button [aria-label="Shortcut ${key.toUpperCase()}"]`).length > 1;
  window.pressed = 0;
  new MutationObserver(() => {
    if (window.pressed || !two()) return;
    window.pressed += 1;
    for (const type of ["keydown", "keyup"])
      document.dispatchEvent(new KeyboardEvent(type, {key, code: `Key${key.toUpperCase()}`, bubbles: true}));
  }).observe(document.body, {subtree: true, childList: true});
}"""


def test_a_key_decides_about_one_set_even_while_the_page_is_redrawn(view: View) -> None:
    from playwright.sync_api import expect

    page = view.open(navigation.DUPLICATES, kind="near")
    sets = view.button("Keep all (no duplicates)")
    count, first = sets.count(), view.names.nth(0).inner_text()
    for _ in range(10):
        page.keyboard.press("k")
        expect(sets).to_have_count(count - 1)
        wait_until_drawn(page)
        second = view.names.nth(0).inner_text()
        page.evaluate(PRESS_WHEN_TWO_HAVE_IT, "a")
        page.keyboard.press("u")
        expect(page.get_by_text(f"{first} is kept")).to_have_count(0)
        page.wait_for_timeout(500)
        wait_until_drawn(page)
        if page.evaluate("window.pressed"):
            break
    else:
        pytest.fail("two buttons never had the key at once")
    # The set that the undo restored may have received the key; the set that was first before must not.
    assert second in view.names.all_inner_texts()
    assert sets.count() >= count - 1


def test_a_group_is_opened_and_its_link_restores_it(view: View) -> None:
    from playwright.sync_api import expect

    page = view.open(navigation.GROUPS)
    page.locator("[class*=st-key-open-] button").first.click()
    expect(view.button("All groups")).to_be_visible()
    wait_until_drawn(page)
    shown, linked = view.names.all_inner_texts(), view.query
    assert f"representative {linked['group']} " in shown[0]
    assert linked["group"] in shown[1:]
    page.goto("about:blank")
    view.open(navigation.GROUPS, **linked)
    assert view.names.all_inner_texts() == shown


def test_the_graph_is_drawn_and_a_click_selects_an_image(view: View) -> None:
    from playwright.sync_api import expect

    start = "family0/picture0000.png"
    page = view.open(navigation.GRAPH, image=start)
    expect(view.names).to_have_text([start])
    other = click_a_node(page, besides=start)
    expect(view.names).to_have_text([other])
    wait_until_drawn(page)
    view.button("Start here").click()
    expect(view.button("Start here")).to_be_disabled()
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query)["image"] == [other])


def click_a_node(page: "Page", *, besides: str) -> str:
    """Point at the chart until a tooltip names an image other than `besides`, click it, and return its path."""
    canvas = page.locator("canvas[data-zr-dom-id]").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    assert box["width"] > 200
    paths = re.compile(r"^\S+\.(?:png|jpg)$", re.MULTILINE)
    named: Sequence[str] = []
    for y in range(40, int(box["height"]), 24):
        for x in range(40, int(box["width"]), 24):
            page.mouse.move(box["x"] + x, box["y"] + y)
            named = paths.findall(canvas.evaluate("canvas => canvas.parentElement.parentElement.innerText"))
            if named and named[0] != besides:
                page.mouse.click(box["x"] + x, box["y"] + y)
                return named[0]
    raise AssertionError("no image in the chart")


def open_map(view: View, **query: object) -> "Locator":
    """Open the map and return its canvas, with all points on it."""
    view.open(navigation.GRAPH, **query)
    canvas = view.page.locator("canvas[data-loaded]")
    canvas.wait_for()
    return canvas


def click_an_image(page: "Page", canvas: "Locator") -> str:
    """Point at the map until a hint names an image, click it, and return its path."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    hint = page.locator(".hint span")
    for y in range(20, int(box["height"]), 30):
        for x in range(20, int(box["width"]), 30):
            page.mouse.move(box["x"] + x, box["y"] + y)
            page.wait_for_timeout(120)
            if hint.is_visible():
                named = hint.inner_text()
                page.mouse.click(box["x"] + x, box["y"] + y)
                return named
    raise AssertionError("no image on the map")


def test_a_click_on_the_map_selects_an_image_and_a_link_restores_it(view: View) -> None:
    from playwright.sync_api import expect

    canvas = open_map(view)
    expect(canvas).to_have_role("application")
    expect(canvas).to_have_accessible_name(re.compile(r"^Map of \d+ images, coloured by group$"))
    path = click_an_image(view.page, canvas)
    expect(view.names).to_have_text([path])
    wait_until_drawn(view.page)
    assert view.query["at"] == path
    view.page.goto("about:blank")
    open_map(view, at=path)
    expect(view.names).to_have_text([path])
    view.button("Neighbourhood").click()
    view.page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("image") == [path])
    view.button("On the map").click()
    view.page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("at") == [path])
    view.button("Similar").click()
    view.expect_query(path)


def test_requests_of_the_map_are_guarded_and_name_no_file(view: View) -> None:
    canvas = open_map(view)
    points = f"{view.address}{PREFIX}/points/{canvas.get_attribute('data-loaded')}"
    assert view.page.request.get(points).ok
    assert view.page.request.get(points, headers={"Origin": "http://attacker.example"}).status == 403
    for path in ("points/0", "thumbnail/0/0"):
        assert view.page.request.get(f"{view.address}{PREFIX}/{path}").status == 404


def test_the_map_is_used_by_keys(view: View) -> None:
    from playwright.sync_api import expect

    canvas = open_map(view)
    page = view.page
    canvas.focus()
    status = page.get_by_role("status").filter(has_text="in view")
    count = status.inner_text().split()[0]
    for _ in range(12):
        page.keyboard.press("+")
    expect(status).to_contain_text("nearest to the middle")
    expect(status).not_to_have_text(re.compile(rf"^{count} of"))
    page.keyboard.press("0")
    expect(status).to_have_text(
        re.compile(rf"^{count} of {count} images in view · nearest to the middle: \S+\.(png|jpg)")
    )
    nearest = status.inner_text().partition("middle: ")[2].removesuffix(" (Enter selects it)")
    page.keyboard.press("Enter")
    expect(view.names).to_have_text([nearest])
    wait_until_drawn(page)
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    expect(status).not_to_have_text(re.compile(rf"^{count} of"))


def test_a_lasso_on_the_map_makes_a_list_of_files(view: View, place: Place) -> None:
    from playwright.sync_api import expect

    canvas = open_map(view)
    page = view.page
    count = int(canvas.get_attribute("aria-label").split()[2])  # type: ignore[union-attr]
    view.button("Lasso").click()
    # Around the left half.
    draw(page, canvas, [(0.5, 0.01), (0.01, 0.01), (0.01, 0.99), (0.5, 0.99)])
    heading = page.get_by_role("heading", name=re.compile(r"^\d+ images selected$"))
    expect(heading).to_be_visible()
    wait_until_drawn(page)
    assert 0 < int(heading.inner_text().split()[0]) < count
    draw(page, canvas, [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)])
    expect(heading).to_have_text(f"{count} images selected")
    wait_until_drawn(page)
    with page.expect_download() as download:
        view.button("List of files").click()
    listed = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(listed) == count
    assert str(place.images / ODD) in listed
    assert all(Path(file).is_file() for file in listed)
    view.button("Clear").click()
    expect(heading).to_have_count(0)


def draw(page: "Page", canvas: "Locator", corners: Sequence[tuple[float, float]]) -> None:
    """Drag over the canvas along corners, as shares of its width and height."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for corner in places[1:]:
        page.mouse.move(*corner, steps=5)
    page.mouse.up()


# How many pixels of the canvas have each colour of the palette, and how many any other.
COLOURS_DRAWN = """(canvas, palette) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const counts = Object.fromEntries(palette.map((colour) => [colour, 0]));
  for (let i = 0; i < data.length; i += 4) {
    const colour = '#' + [0, 1, 2].map((j) => data[i + j].toString(16).padStart(2, '0')).join('');
    if (data[i + 3] === 255 && colour in counts) counts[colour] += 1;
  }
  return counts;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_map_is_coloured_and_the_legend_highlights_a_category(view: View, theme: str) -> None:
    from playwright.sync_api import expect

    view.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    palette = list(PALETTES[theme])
    canvas = open_map(view, colour="folder")
    page = view.page
    legend = page.get_by_role("group", name="Legend").get_by_role("button")
    names = legend.all_inner_texts()
    # Five families of four, the photos, and copies of them.
    assert {name.rsplit(" (", 1)[0] for name in names} >= {"photos", "copies", "family0"}
    view.button("Thumbnails").click()
    used = palette[: min(len(names), len(palette))]
    page.wait_for_function(
        "([canvas, palette, count]) => Object.values((" + COLOURS_DRAWN + ")(canvas, palette)).every((n) => n > 10)",
        arg=[canvas.element_handle(), used, len(used)],
    )
    legend.first.click()
    expect(legend.first).to_have_attribute("aria-pressed", "true")
    page.wait_for_function(
        "([canvas, palette]) => Object.values((" + COLOURS_DRAWN + ")(canvas, palette)).filter((n) => n).length === 1",
        arg=[canvas.element_handle(), palette],
    )
    assert canvas.evaluate(COLOURS_DRAWN, palette)[palette[0]] > 10
    page.get_by_role("radio", name="status").click()
    expect(page.get_by_role("group", name="Legend").get_by_text(re.compile(r"near-duplicate \(\d+\)"))).to_be_visible()
    assert accessibility_faults(page) == []


def test_the_map_fits_a_narrow_window_and_zooms_by_touch(browser: "Browser", place: Place) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, reduced_motion="reduce")
    context.set_default_timeout(WITHIN_MS)
    try:
        view = View(context.new_page(), place.address)
        canvas = open_map(view)
        page = view.page
        box = canvas.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        # Around it, a finger scrolls the page.
        assert box["height"] < 0.8 * 844
        status = page.get_by_role("status").filter(has_text="in view")
        whole = status.inner_text()
        spread_fingers(context, page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_function(
            "([status, whole]) => status.textContent !== whole", arg=[status.element_handle(), whole]
        )
        assert int(status.inner_text().split()[0]) < int(whole.split()[0])
        assert accessibility_faults(page) == []
        wait_until_drawn(page)
    finally:
        context.close()


def spread_fingers(context: "BrowserContext", page: "Page", x: float, y: float) -> None:
    """Touch the page with two fingers at a place and draw them apart."""
    session = context.new_cdp_session(page)
    for kind, distance in [("touchStart", 20), *(("touchMove", 20 + 10 * step) for step in range(1, 12))]:
        fingers = [{"x": x - distance, "y": y, "id": 0}, {"x": x + distance, "y": y, "id": 1}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_no_page_has_serious_faults_of_accessibility(view: View, colours: str) -> None:
    """No exception is needed: what Streamlit makes too faint, `app.components.accessibility` mends."""
    view.page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]
    queries: dict[str, dict[str, object]] = {
        navigation.SEARCH: {"image": ORIGINAL},
        navigation.DUPLICATES: {"kind": "near"},
        navigation.GRAPH: {"image": ORIGINAL},
        navigation.COMPARE: {"a": near(4)[0], "b": near(4)[1]},
    }
    faults = {}
    for name in PAGES:
        page = view.open(name, **queries.get(name, {}))
        # One that is still fading in is found to have too little contrast.
        page.wait_for_load_state("networkidle")
        faults[name] = accessibility_faults(page)
        if name == navigation.GRAPH:
            chart = page.get_by_role("img", name=re.compile(r"^Graph of \d+ images and \d+ lines$"))
            chart.wait_for()
        if name == navigation.DUPLICATES:
            page.keyboard.press("t")
            page.get_by_role("dialog", name="Triage").wait_for()
            for view_name, key in (("triage", "Space"), ("difference", "d")):
                page.keyboard.press(key)
                faults[view_name] = accessibility_faults(page)
            page.keyboard.press("Escape")
            page.get_by_role("dialog").wait_for(state="detached")
            wait_until_drawn(page)
            # For the page Review, which has less to show without a decision.
            page.keyboard.press("k")
            page.get_by_text("is kept, 1 not needed").wait_for()
    assert faults == {name: [] for name in (*PAGES, "triage", "difference")}


def test_a_key_acts_after_a_choice_in_a_list(view: View) -> None:
    from playwright.sync_api import TimeoutError

    page = view.open(navigation.GRAPH, image=ORIGINAL)
    chosen = page.get_by_role("combobox", name=re.compile("Selected image"))
    chosen.click()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.getAttribute('role') !== 'combobox'")
    wait_until_drawn(page)
    # A key that is pressed before the chart has its script does nothing; one that is typed into the list never will.
    for _ in range(20):
        page.keyboard.press("e")
        with suppress(TimeoutError):
            page.wait_for_url(re.compile("[?&]expand="), timeout=3000)
            break
    assert "expand=" in page.url


def test_the_first_decision_is_few_presses_of_tab_away(view: View) -> None:
    page = view.open(navigation.DUPLICATES, kind="near")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText").startswith("Accept proposal ("):
            return
    pytest.fail("the link over the menu and eight presses of Tab do not reach the first decision")


@pytest.mark.parametrize(
    ("name", "query"),
    [
        (navigation.SEARCH, {"image": ODD, "self": "true", "fold": "false"}),
        (navigation.DUPLICATES, {"kind": "exact"}),
        (navigation.COMPARE, {"a": ODD, "b": ORIGINAL}),
        (navigation.GROUPS, {"group": ODD}),
        (navigation.GRAPH, {"image": ODD}),
    ],
)
def test_a_file_named_like_markup_shows_as_its_name(view: View, name: str, query: dict[str, str]) -> None:
    from playwright.sync_api import expect

    page = view.open(name, **query)
    expect(page.get_by_text(ODD, exact=True).first).to_be_visible()
    assert page.locator("img[src=x], img[onerror], a[href=b]").count() == 0
    assert page.locator("strong", has_text=re.compile("^bold$")).count() == 0


def test_no_page_sends_requests_to_other_hosts(view: View) -> None:
    """Every test checks the requests of its own views; this one opens all pages by the menu in one window."""
    page = view.open(navigation.SEARCH, image=ORIGINAL)
    links = page.get_by_test_id("stTopNavLink")
    titles = links.all_inner_texts()
    assert len(titles) == len(PAGES)
    for number, name in enumerate(PAGES):
        links.nth(number).click()
        path = "" if name == PAGES[0] else name
        page.wait_for_url(lambda url, path=path: urlsplit(url).path.strip("/") == path)
        wait_until_drawn(page)
        page.wait_for_load_state("networkidle")
    assert {urlsplit(url).scheme for url in view.requested} >= {"http", "ws"}
    assert view.outside == []
