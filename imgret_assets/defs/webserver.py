"""Dagster's webserver with the request guard before it: `python -m imgret_assets.defs.webserver`.

Belongs here: the application, serving it. Not here: the daemon and the code servers (`defs.dev_services` on a machine,
docker-compose.yml in containers), what is refused (`request_guard`). `dagster dev` and `dagster-webserver` have no
guard: a page of any web site can launch runs there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import click
import dagster as dg
import uvicorn
from dagster._core.workspace.context import IWorkspaceProcessContext, WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.version import __version__
from dagster_webserver.webserver import DagsterWebserver
from starlette.applications import Starlette
from starlette.types import ASGIApp

from imgret_assets.request_guard import RequestGuard, allowed_hosts
from imgret_assets.settings import load_settings

# The defaults of `dagster-webserver`.
POLL_MS = 2000
STATEMENT_TIMEOUT_MS, POOL_RECYCLE_S, POOL_MAX_OVERFLOW = 15_000, 3600, 20
# How long a stopping server waits for its last answers.
STOP_TIMEOUT_S = 5


def guarded_app(context: IWorkspaceProcessContext, address: str) -> ASGIApp:
    """Return Dagster's UI and GraphQL as an ASGI application with the guard before it.

    Args:
        context: the instance and the code locations.
        address: where the server listens.
    """
    hosts = allowed_hosts(load_settings().allowed_hosts, address)
    app = DagsterWebserver(context, live_data_poll_rate=POLL_MS).create_asgi_app(lifespan=_lifespan)
    return RequestGuard(app, hosts=hosts, graphql_path="/graphql")


@asynccontextmanager
async def _lifespan(_: Starlette) -> AsyncIterator[None]:
    # A signal cancels the task of the lifespan; without this, the log ends with a traceback.
    with suppress(asyncio.CancelledError):
        yield


def serve(instance: dg.DagsterInstance, workspace_file: str, address: str, port: int) -> None:
    """Serve Dagster's UI in this process until a signal arrives.

    Args:
        instance: Dagster's storage.
        workspace_file: names the code locations.
        address: where to listen, such as 127.0.0.1.
        port: TCP port.
    """
    instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_S, POOL_MAX_OVERFLOW)
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([workspace_file]), version=__version__) as context:
        uvicorn.run(
            guarded_app(context, address),
            host=address,
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )


@click.command()
@click.option("--host", "address", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port to listen on.")
@click.option("--workspace", required=True, help="File that names the code locations.")
def main(address: str, port: int, workspace: str) -> None:
    """Serve Dagster's UI, for requests of its own pages and of programs only."""
    configure_loggers(log_level="INFO")
    with dg.DagsterInstance.get() as instance:
        serve(instance, workspace, address, port)


if __name__ == "__main__":
    main()
