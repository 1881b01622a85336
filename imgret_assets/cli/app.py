"""`imgret app`: the web page.

Belongs here: options, the address, the configuration of Streamlit. Not here: the page (`app.main`), its server
(`app.page_server`). Streamlit is imported when the page starts.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

import click

from imgret_assets.cli.support.free_port import free_port
from imgret_assets.request_guard import WILDCARD_ADDRESSES, bracketed
from imgret_assets.settings import load_settings

DEFAULT_PORT = 8501
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
def app(port: int | None, home: Path | None) -> None:
    """Start the web page: search with an image, see similar images and how they are related.

    The page listens on 127.0.0.1 only; STREAMLIT_SERVER_ADDRESS sets another address.
    """
    settings = load_settings({"home": home})
    environment = {name: os.environ.get(name) or value for name, value in _DEFAULTS.items()}
    address = environment["STREAMLIT_SERVER_ADDRESS"]
    page_port = free_port(address, DEFAULT_PORT, requested=port)
    os.environ.update(environment, IMGRET_HOME=str(settings.home))
    host = bracketed("127.0.0.1" if address in WILDCARD_ADDRESSES else address)
    click.echo(f"imgret: the page is at http://{host}:{page_port} (Ctrl-C stops it)", err=True)
    serve(page_port)


def serve(port: int) -> None:
    """Run Streamlit in this process until it is stopped."""
    from streamlit.web.cli import main as streamlit

    # Ctrl-C and SIGTERM are the usual ends of a server: Streamlit stops it, and then passes the signal on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = [f"--{name}={value}" for name, value in {**_OPTIONS, "server.port": str(port)}.items()]
    with suppress(KeyboardInterrupt, click.Abort):
        streamlit(["run", str(_PAGE), *options], standalone_mode=False)
