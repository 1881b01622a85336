"""`imgret app`: the web page.

Belongs here: options, the address, the configuration of Streamlit. Not here: the page (`app.main`), its server
(`app.page_server`). Streamlit is imported when the page starts.
"""

import os
import signal
import sys
import threading
import time
import webbrowser
from contextlib import suppress
from pathlib import Path

import click

from imgret_assets.cli.support.free_port import free_port
from imgret_assets.cli.support.named_home import settings_of_home
from imgret_assets.domain.neo4j_server.host import is_listening
from imgret_assets.request_guard import WILDCARD_ADDRESSES, bracketed

DEFAULT_PORT = 8501
OPEN_WITHIN_S = 60.0
_PAGE = Path(__file__).resolve().parent.parent / "app" / "page_server.py"
# Environment variables, which a container may set to other values. Streamlit reads the first two. BLAS reads the others
# when NumPy loads it: each visitor has a thread, and threads of BLAS would only make them wait for one another.
_DEFAULTS = {
    "STREAMLIT_SERVER_ADDRESS": "127.0.0.1",
    "STREAMLIT_SERVER_HEADLESS": "true",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}
_OPTIONS = {
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    # The page is not edited while it runs, and watching its modules would import all modules of torch.
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "50",
    "server.showEmailPrompt": "false",
    # The message prints addresses on stdout and asks a service on the internet for one of them.
    "logger.hideWelcomeMessage": "true",
    # Streamlit would search all objects of the process for garbage after every view, for up to a second
    # (`app.process_memory`).
    "runner.postScriptGC": "false",
}


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help=f"Port (default: {DEFAULT_PORT}, else the next free one).")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
@click.option("--open/--no-open", "open_browser", default=False, help="Open the page in a browser, or do not.")
def app(port: int | None, home: Path | None, open_browser: bool) -> None:
    """Start the web page: search with an image, see similar images and how they are related.

    The page listens on 127.0.0.1 only; STREAMLIT_SERVER_ADDRESS sets another address.
    """
    settings = settings_of_home(home)
    chosen_port = page_port(port)
    environment = {name: os.environ.get(name) or value for name, value in _DEFAULTS.items()}
    address = environment["STREAMLIT_SERVER_ADDRESS"]
    os.environ.update(environment, IMGRET_HOME=str(settings.home))
    # Only now: it imports NumPy, which reads the number of threads when it is loaded.
    from imgret_assets.cli.support.served_home import take_from_store

    take_from_store(settings)
    host = "127.0.0.1" if address in WILDCARD_ADDRESSES else address
    url = f"http://{bracketed(host)}:{chosen_port}"
    click.echo(f"imgret: the page is at {url} (Ctrl-C stops it)", err=True)
    if open_browser and has_display():
        threading.Thread(target=_open_when_ready, args=(url, host, chosen_port), daemon=True).start()
    serve(chosen_port)


def page_port(requested: int | None) -> int:
    """Return the port for the page: the requested one, else the first free one from `DEFAULT_PORT` on.

    Raises:
        SettingError: there is none.
    """
    address = os.environ.get("STREAMLIT_SERVER_ADDRESS") or _DEFAULTS["STREAMLIT_SERVER_ADDRESS"]
    return free_port(address, DEFAULT_PORT, requested=requested)


def has_display() -> bool:
    """Return False where a browser could only be one inside this terminal, or one on another machine."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_when_ready(url: str, host: str, port: int) -> None:
    """Open the page in the user's browser as soon as its server listens."""
    deadline = time.monotonic() + OPEN_WITHIN_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            if is_listening(port, host):
                webbrowser.open(url)
                return
        time.sleep(0.2)


def serve(port: int) -> None:
    """Run Streamlit in this process until it is stopped."""
    from streamlit.web.cli import main as streamlit

    # Ctrl-C and SIGTERM are the usual ends of a server: Streamlit stops it, and then passes the signal on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = [f"--{name}={value}" for name, value in {**_OPTIONS, "server.port": str(port)}.items()]
    with suppress(KeyboardInterrupt, click.Abort):
        streamlit(["run", str(_PAGE), *options], standalone_mode=False)
