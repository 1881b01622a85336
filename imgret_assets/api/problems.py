"""Failures as problem details (RFC 9457): what was found, what was expected, what to do.

Belongs here: the kinds of problems with their status, their form, the handlers of exceptions. Not here: the errors of
imgret (`errors`), which requests are refused (`api.limits`, `api.access`).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from imgret_assets import errors
from imgret_assets.errors import ImgretError, did_you_mean
from imgret_assets.terminal import printable

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:imgret:problem:"
RETRY_AFTER_S = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """A failure as a client sees it.

    Attributes:
        name: last part of the problem's `type`; the same name always means the same kind of problem.
        status: HTTP status.
        title: the kind in words.
        detail: what was found.
        expected: the correct state; not in the document if empty.
        remedy: what to do; not in the document if empty.
        errors: fields of the request that are wrong, each with `field` and `detail`.
        retry_after_s: seconds after which the same request may succeed; None if it never will.
        closes: the connection is closed, because the rest of the request is not read.
    """

    name: str
    status: int
    title: str
    detail: str
    expected: str = ""
    remedy: str = ""
    errors: Sequence[Mapping[str, Any]] = ()
    retry_after_s: int | None = None
    closes: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the document without its empty members."""
        document = {
            "type": TYPE_PREFIX + self.name,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "expected": self.expected,
            "remedy": self.remedy,
            "errors": [dict(error) for error in self.errors],
        }
        return {name: value for name, value in document.items() if value not in ("", [])}

    def response(self) -> JSONResponse:
        """Return the answer."""
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.closes:
            headers["Connection"] = "close"
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.as_json(), self.status, headers, media_type=MEDIA_TYPE)


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE
_UNPROCESSABLE = HTTPStatus.UNPROCESSABLE_ENTITY
# Error -> name, status, title, seconds until the same may succeed. The first that fits counts: special ones are first.
_KINDS: Sequence[tuple[type[ImgretError], str, int, str, int | None]] = (
    (errors.ImageError, "unusable-image", _UNPROCESSABLE, "The query can't be used", None),
    (errors.QueryError, "invalid-request", _UNPROCESSABLE, "The parts of the query make no query", None),
    (errors.SettingError, "invalid-request", _UNPROCESSABLE, "The request has wrong values", None),
    (errors.GraphRebuildingError, "rebuilding", _UNAVAILABLE, "The graph is being rebuilt", 30),
    (errors.ReshardedError, "resharded", _UNAVAILABLE, "The tables are being rewritten", RETRY_AFTER_S),
    (errors.LockTimeoutError, "locked", _UNAVAILABLE, "A run holds what is needed", RETRY_AFTER_S),
    (errors.TableError, "not-ready", _UNAVAILABLE, "A table is missing or out of date", 30),
    (errors.DatabaseError, "no-database", _UNAVAILABLE, "The graph can't be read", RETRY_AFTER_S),
    (errors.ServerError, "no-database", _UNAVAILABLE, "The graph can't be read", RETRY_AFTER_S),
    (errors.HomeError, "not-ready", _UNAVAILABLE, "The home can't be read", 30),
    (errors.ModelError, "model", HTTPStatus.INTERNAL_SERVER_ERROR, "The model can't be used", None),
    (ImgretError, "failed", HTTPStatus.INTERNAL_SERVER_ERROR, "The request failed", None),
)


def problem_of(error: ImgretError) -> Problem:
    """Return a named error as a problem."""
    _, name, status, title, retry = next(kind for kind in _KINDS if isinstance(error, kind[0]))
    return Problem(name, int(status), title, error.found, error.expected, error.remedy, retry_after_s=retry)


def not_found(path: str) -> Problem:
    """Return the problem of a path that the library does not have."""
    return Problem(
        "not-found",
        HTTPStatus.NOT_FOUND,
        "There is no such image",
        f"No image of the library has the path {path[:500]!r}",
        remedy="give a path as an answer of /v1/similar or /v1/groups has it, percent-encoded in an address",
    )


def invalid(problems: Sequence[Mapping[str, Any]], *, detail: str = "", expected: str = "") -> Problem:
    """Return the problem of fields that are unknown or have wrong values."""
    named = "; ".join(f"{problem['field']}: {problem['detail']}" for problem in problems)
    return Problem(
        "invalid-request",
        _UNPROCESSABLE,
        "The request has unknown fields or wrong values",
        detail or named,
        expected,
        "correct the fields; /openapi.json describes them",
        problems,
    )


def field_errors(error: ValidationError | RequestValidationError, known: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return one entry for each field that is wrong, with its name.

    Args:
        error: what the validation found.
        known: names of the fields, for a suggestion in the place of an unknown one.
    """
    found = []
    for each in error.errors():
        # FastAPI puts the part of the request first.
        place = each["loc"][1:] if isinstance(error, RequestValidationError) else each["loc"]
        name = ".".join(str(part) for part in place) or "body"
        unknown = each["type"] == "extra_forbidden"
        detail = f"unknown field{did_you_mean(name, known)}" if unknown else each["msg"]
        found.append({"field": name[:200], "detail": detail})
    return found


def add_handlers(app: FastAPI, folders: Callable[[], Sequence[str]]) -> None:
    """Answer every exception of the application with a problem.

    Args:
        app: the application.
        folders: returns the folders of this machine that are left out of messages.
    """

    async def on_problem(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ProblemError)  # noqa: S101 - for the type checker
        return error.problem.response()

    async def on_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ImgretError)  # noqa: S101
        problem = problem_of(error)
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.warning("imgret: %s: %s", request.url.path, printable(str(error)))
        return without_folders(problem, folders()).response()

    async def on_validation(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return invalid(field_errors(error)).response()

    async def on_http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        response = _of_status(error).response()
        response.headers.update(error.headers or {})
        return response

    async def on_any(_: Request, error: Exception) -> JSONResponse:
        # The server logs the exception; a client learns nothing about its cause.
        del error
        return Problem(
            "failed",
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "The request failed",
            "An unexpected error happened",
            remedy="see the log of the server",
        ).response()

    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(ImgretError, on_error)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_any)


def without_folders(problem: Problem, hide: Sequence[str]) -> Problem:
    """Return a problem whose texts name no folder of `hide`; what is below one keeps its relative path."""
    texts = {name: getattr(problem, name) for name in ("detail", "expected", "remedy")}
    for folder in sorted(hide, key=len, reverse=True):
        texts = {name: text.replace(f"{folder}/", "").replace(folder, "…") for name, text in texts.items()}
    return replace(problem, **texts)


def _of_status(error: HTTPException) -> Problem:
    status = HTTPStatus(error.status_code)
    names = {HTTPStatus.NOT_FOUND: "not-found", HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed"}
    name = names.get(status, "invalid-request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed")
    return Problem(name, status, status.phrase, str(error.detail), remedy="see /openapi.json for what there is")
