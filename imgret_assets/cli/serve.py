"""`imgret serve`: the HTTP API.

Belongs here: options, the address, running the server. Not here: the application (`api.server`), its settings
(`settings.ApiSettings`). FastAPI and uvicorn are imported when the server starts.
"""

import os
from importlib.util import find_spec
from pathlib import Path

import click

from imgret_assets.cli.support.free_port import free_port
from imgret_assets.cli.support.served_home import take_from_store
from imgret_assets.domain.storage.home import open_existing_home
from imgret_assets.errors import ImgretError
from imgret_assets.locations import install_command
from imgret_assets.request_guard import WILDCARD_ADDRESSES, bracketed
from imgret_assets.settings import DEFAULT_API_PORT, load_settings

_PACKAGES = ("fastapi", "multipart", "prometheus_client", "uvicorn")
# By name: the application is made in the process that serves it, from the settings of its environment.
_APPLICATION = "imgret_assets.api.server:create_app"
_KEEP_ALIVE_S = 30
_LAST_ANSWERS_WITHIN_S = 10
# Each search has a thread, and threads of BLAS would only make them wait for one another.
_DEFAULTS = {"OPENBLAS_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}


@click.command()
@click.option("--host", help="Address to listen on (default: 127.0.0.1); any other needs IMGRET_API_TOKEN.")
@click.option("--port", type=click.IntRange(1, 65535), help=f"Port (default: {DEFAULT_API_PORT}).")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
def serve(host: str | None, port: int | None, home: Path | None) -> None:
    """Serve the HTTP API: similar images, facts, groups and duplicates for other programs; read only.

    GET /openapi.json describes it.
    """
    settings = load_settings({"home": home, "api_host": host, "api_port": port})
    settings.api.require_safe()
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ImgretError(
            f"The API needs packages that are not installed: {', '.join(missing)}",
            remedy=f"install them with `{install_command('api')}`",
        )
    # A mistyped home is an error here, and not one of every request.
    take_from_store(settings)
    open_existing_home(settings)
    address = settings.api.host
    chosen_port = free_port(address, DEFAULT_API_PORT, requested=settings.api.port or DEFAULT_API_PORT)
    os.environ.update({name: os.environ.get(name) or value for name, value in _DEFAULTS.items()})
    os.environ.update(IMGRET_HOME=str(settings.home), IMGRET_API_HOST=address)
    shown = bracketed("127.0.0.1" if address in WILDCARD_ADDRESSES else address)
    click.echo(f"imgret: the API is at http://{shown}:{chosen_port} (Ctrl-C stops it)", err=True)
    import uvicorn

    uvicorn.run(
        _APPLICATION,
        factory=True,
        host=address.strip("[]"),
        port=chosen_port,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_LAST_ANSWERS_WITHIN_S,
    )
