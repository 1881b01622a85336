"""The application: routes, middleware, start and end; `imgret serve` runs it.

Belongs here: putting the parts together, the routes for probes and measurements. Not here: options
(`cli.serve`), what routes do (`api.similar`, `api.library`).
"""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.middleware import Middleware
from starlette.responses import JSONResponse

from imgret_assets.api import library, similar
from imgret_assets.api.access import OPEN_PATHS, TokenCheck
from imgret_assets.api.limits import Admission, BodyLimit, search_threads
from imgret_assets.api.metrics import CONTENT_TYPE, MeasuredRequests
from imgret_assets.api.problems import Problem, add_handlers, problem_of
from imgret_assets.api.responses import ProblemModel, problem_responses
from imgret_assets.api.schemas import State
from imgret_assets.api.service import READY, STARTING, Service
from imgret_assets.domain.operations.store_reading import watch_store
from imgret_assets.errors import ImgretError
from imgret_assets.request_guard import RequestGuard, allowed_hosts
from imgret_assets.settings import Settings, load_settings

_DESCRIPTION = """Find similar images in a collection that is kept by imgret. Everything is read only.

Problems are `application/problem+json` (RFC 9457); `remedy` says what to do.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application for the home of the settings, which are those of the environment if None.

    Raises:
        SettingError: it would listen for others without a token.
    """
    chosen = settings or load_settings()
    chosen.api.require_safe()
    service = Service(chosen)
    app = FastAPI(
        title="imgret",
        version=version("imgret"),
        description=_DESCRIPTION,
        # Their pages load scripts from a server on the internet.
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        middleware=_middleware(service),
        responses=problem_responses(500),
    )
    app.state.service = service
    app.include_router(similar.router)
    app.include_router(library.router)
    _add_probes(app)
    add_handlers(app, service.folders)
    app.openapi = lambda: _openapi(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    watched = watch_store(service.settings)
    # The server listens meanwhile: probes see that it starts, and a search waits for the model.
    threading.Thread(target=service.warm_or_log, name="imgret-warm", daemon=True).start()
    try:
        yield
    finally:
        watched.set()
        service.close()


def _middleware(service: Service) -> list[Middleware]:
    api = service.settings.api
    hosts = allowed_hosts(service.settings.allowed_hosts, address=api.host)
    places = search_threads(api.threads) + api.waiting
    # The first is the outermost: nothing of a request is read before it has passed those above.
    return [
        Middleware(MeasuredRequests, metrics=service.metrics),
        Middleware(RequestGuard, hosts=hosts, refusal=_refused),
        Middleware(TokenCheck, token=api.token),
        Middleware(Admission, places=places, metrics=service.metrics),
        Middleware(BodyLimit, max_bytes=api.max_bytes, timeout_s=api.timeout_s, metrics=service.metrics),
    ]


def _refused(reason: str) -> JSONResponse:
    return Problem("refused", 403, "The request is refused", reason).response()


def _add_probes(app: FastAPI) -> None:
    @app.get("/healthz", summary="Whether the server runs", tags=["operation"])
    async def healthz() -> State:
        return State(status="ok")

    @app.get(
        "/readyz",
        summary="Whether searches are answered",
        tags=["operation"],
        responses=problem_responses(503),
        response_model=State,
    )
    async def readyz(request: Request) -> Response:
        service: Service = request.app.state.service
        try:
            state = await service.probing.run(service.warm)
        except ImgretError as error:
            # Everybody may ask: the reason, which may name servers and folders, is in the log.
            return _not_ready(problem_of(error).title, error.remedy)
        return JSONResponse({"status": READY}) if state == READY else _not_ready(STARTING, "wait for the model")

    @app.get(
        "/metrics",
        summary="Measurements for Prometheus",
        tags=["operation"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}} | problem_responses(401),
    )
    async def metrics(request: Request) -> Response:
        service: Service = request.app.state.service
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _not_ready(detail: str, remedy: str) -> JSONResponse:
    return Problem("not-ready", 503, "Not ready", detail, remedy=remedy, retry_after_s=2).response()


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the description of the API, made once, with the token and the document of problems."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, servers=[{"url": "/"}]
        )
        components = schema.setdefault("components", {})
        problem = ProblemModel.model_json_schema(ref_template="#/components/schemas/{model}")
        components.setdefault("schemas", {}).update(problem.pop("$defs", {}) | {ProblemModel.__name__: problem})
        components["securitySchemes"] = {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "IMGRET_API_TOKEN of the server, if it has one",
            }
        }
        schema["security"] = [{"token": []}, {}]
        for path in OPEN_PATHS:
            schema["paths"][path]["get"]["security"] = []
        app.openapi_schema = schema
    return app.openapi_schema
