"""`imgret app`: the web page.

Belongs here: flags, the address, Streamlit's options. Not here: the page (`app.main`). Streamlit is imported when
the page starts.
"""

import os
from pathlib import Path

import click

from imgret_assets.cli.support.free_port import free_port
from imgret_assets.settings import load_settings

DEFAULT_PORT = 8501
_PAGE = Path(__file__).resolve().parent.parent / "app" / "main.py"
# What a container may set otherwise, by Streamlit's own names.
_DEFAULTS = {"STREAMLIT_SERVER_ADDRESS": "127.0.0.1", "STREAMLIT_SERVER_HEADLESS": "true"}
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
_OPTIONS = {
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    # The page is no script under work; watching its modules would also import all of torch's.
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "50",
    "server.showEmailPrompt": "false",
    # It prints addresses on stdout, and asks a service on the internet for one of them.
    "logger.hideWelcomeMessage": "true",
}


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help=f"Port (default: {DEFAULT_PORT}, else the next free one).")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def app(port: int | None, home: Path | None) -> None:
    """Open the web page: upload a picture, see what is similar and how it is related.

    It listens on 127.0.0.1 only; STREAMLIT_SERVER_ADDRESS sets another address.
    """
    settings = load_settings({"home": home})
    environment = {name: os.environ.get(name) or value for name, value in _DEFAULTS.items()}
    address = environment["STREAMLIT_SERVER_ADDRESS"]
    chosen = free_port(address, DEFAULT_PORT, asked=port)
    os.environ.update(environment, IMGRET_HOME=str(settings.home))
    shown = "127.0.0.1" if address in _WILDCARDS else address
    click.echo(
        f"imgret: the page is at http://{f'[{shown}]' if ':' in shown else shown}:{chosen} (Ctrl-C stops it)", err=True
    )
    serve(chosen)


def serve(port: int) -> None:
    """Run Streamlit in this process until it is stopped."""
    from streamlit.web.cli import main as streamlit

    options = [f"--{name}={value}" for name, value in {**_OPTIONS, "server.port": str(port)}.items()]
    streamlit(["run", str(_PAGE), *options], standalone_mode=False)
