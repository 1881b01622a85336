"""Headless Chromium through Playwright, and the process of the page.

Belongs here: finding and starting the browser, starting the page, waiting until a view is drawn, axe-core. Not here:
what is shown (`server/test_page_in_browser.py`, `scripts/screenshots.py`). The browser is that of the system:
Playwright's own browsers are never downloaded.
"""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imgret_assets.domain.neo4j_server.host import LOCALHOST, unused_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# The browser sends no requests of its own, and needs neither a graphics card nor a user account.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_READY_WITHIN_S = 180.0
# Streamlit sets attributes that show whether the script, or a fragment of it, is running. Its frontend says that the
# script has ended before it has drawn the last elements, so that a view counts as complete only when it has looked so
# for several frames.
_DRAWN = """([call, frames]) => {
  const app = document.querySelector('[data-testid=stApp]');
  const drawn = app !== null && app.dataset.testScriptState === 'notRunning'
    && app.dataset.testConnectionState === 'CONNECTED'
    && document.querySelector('[data-testid=stSpinner], [data-testid=stSkeleton], [data-stale=true]') === null
    && [...document.images].every((image) => image.complete);
  const before = window.imgretDrawn?.call === call ? window.imgretDrawn.frames : 0;
  window.imgretDrawn = { call, frames: drawn ? before + 1 : 0 };
  return window.imgretDrawn.frames >= frames;
}"""
_FRAMES = 12
_calls = itertools.count()


def find_chromium() -> str | None:
    """Return the browser that IMGRET_TEST_CHROMIUM names, else the system's; None if there is none."""
    return os.environ.get("IMGRET_TEST_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


def missing() -> str | None:
    """Return why there is no browser to use; None if there is one."""
    try:
        import playwright.sync_api  # noqa: F401 - only whether it is installed
    except ImportError:
        return "Playwright for Python is not installed (dependency group `dev`)"
    if find_chromium() is None:
        return f"none of {', '.join(_NAMES)} is on the PATH, and IMGRET_TEST_CHROMIUM names none"
    return None


@contextmanager
def running_browser() -> Iterator["Browser"]:
    """Provide a headless Chromium; close it at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class PageProcess:
    """A page that runs: its address, and the number of its process."""

    address: str
    pid: int


@contextmanager
def running_page(environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Run `imgret app` with this environment, provide its address, and stop it at the end; its log is `page.log`."""
    with page_process(environment, folder) as page:
        yield page.address


@contextmanager
def page_process(
    environment: Mapping[str, str], folder: Path, start: Sequence[str] = ("-m", "imgret_assets.cli.main")
) -> Iterator[PageProcess]:
    """Run the page as `running_page` does, and provide its process, too.

    Args:
        environment: of the process.
        folder: where it runs and writes its log.
        start: what Python runs; `app --port N` follows.
    """
    port = unused_port()
    log = folder / "page.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *start, "app", "--port", str(port)],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    address = f"http://{LOCALHOST}:{port}"
    try:
        _wait_for_answer(f"{address}/_stcore/health", process, log)
        yield PageProcess(address, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.kill()
        process.wait()


def _wait_for_answer(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310 - an address made here
            return
        time.sleep(0.2)
    raise RuntimeError(f"The page did not come up within {_READY_WITHIN_S:g} s: {log.read_text()[-4000:]}")


def wait_until_drawn(page: "Page") -> None:
    """Wait until a view is complete, and stays so: the script has ended, no placeholder is left, images are loaded."""
    page.wait_for_function(_DRAWN, arg=[next(_calls), _FRAMES])


# Runs in the page; one line for each element that breaks a rule: impact, rule, element and cause.
_AXE = """async () => {
  const result = await axe.run(document, {resultTypes: ['violations']});
  return result.violations.filter((rule) => ['serious', 'critical'].includes(rule.impact)).flatMap((rule) =>
    rule.nodes.map((node) => `${rule.impact} ${rule.id}: ${node.html.slice(0, 160)} (${node.failureSummary})`));
}"""


def accessibility_faults(page: "Page") -> list[str]:
    """Return what axe-core finds serious or critical in a view, a line for each element."""
    import axe_playwright_python

    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    return page.evaluate(_AXE)
