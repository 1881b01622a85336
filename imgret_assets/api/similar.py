"""`POST /v1/similar`: images similar to uploads and to images of the library.

Belongs here: reading the request, one search for each query, OpenAPI's description of the body. Not here: the search
(`domain.search.find_similar`), fields and answers (`api.schemas`), limits (`api.limits`).
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from imgret_assets.api.problems import Problem, ProblemError, field_errors, invalid, problem_of, without_folders
from imgret_assets.api.responses import problem_responses
from imgret_assets.api.schemas import EXAMPLE, MAX_QUERIES, AnswerModel, FailedQuery, SimilarAnswer, SimilarFields
from imgret_assets.api.service import Service
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Answer, Query, QueryImage, read_query
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImageError

UPLOAD = "image"
_MAX_NAME = 200
_MAX_FORM_FIELDS = 64
_MAX_FIELD_BYTES = 100_000
_FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")
_KNOWN = (UPLOAD, *SimilarFields.model_fields)

router = APIRouter()


@dataclass(frozen=True)
class SimilarRequest:
    """A request: the fields and the uploads, which are read when their turn comes."""

    fields: SimilarFields
    uploads: list[UploadFile] = field(default_factory=list)


@dataclass(frozen=True)
class _Asked:
    """A query: its name, and what reads its image."""

    name: str
    read: Callable[[Home], QueryImage]


def _body_schema() -> dict[str, Any]:
    """Return the request bodies for OpenAPI: FastAPI can't describe two types of one body."""
    fields = SimilarFields.model_json_schema(ref_template="#/components/schemas/{model}")
    properties = fields["properties"]
    upload = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "maxItems": MAX_QUERIES,
        "description": "Image files to search with.",
    }
    form = {"type": "object", "additionalProperties": False, "properties": {UPLOAD: upload, **properties}}
    as_json = {"type": "object", "additionalProperties": False, "properties": properties}
    return {
        "required": True,
        "description": f"At least one image or path, at most {MAX_QUERIES} in all.",
        "content": {
            "application/json": {
                "schema": as_json,
                "examples": {
                    "one": {"summary": "An image of the library", "value": {"path": "mugs/blue.jpg", "k": 3}},
                    "several": {
                        "summary": "Two images, hits of one folder",
                        "value": {"path": ["mugs/blue.jpg", "mugs/red.jpg"], "label": "mugs", "min_score": 0.5},
                    },
                },
            },
            _FORM_TYPES[0]: {"schema": form, "examples": {"upload": {"summary": "An upload", "value": {"k": 3}}}},
        },
    }


@router.post(
    "/v1/similar",
    summary="Find similar images",
    response_model_exclude_unset=True,
    responses={200: {"content": {"application/json": {"example": EXAMPLE}}}}
    | problem_responses(400, 401, 408, 413, 415, 422, 503),
    openapi_extra={"requestBody": _body_schema()},
)
async def similar(request: Request) -> SimilarAnswer:
    """Return the images that are similar to each query: uploads (multipart/form-data) or paths of the library.

    A query that can't be used is named in `failed`, and the others are answered; only if none can be used is that the
    answer.
    """
    service: Service = request.app.state.service
    async with request.form(max_files=MAX_QUERIES, max_fields=_MAX_FORM_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form:
        asked = await _read_request(request, form)
        query = asked.fields.query()
        queries = [*map(_upload, asked.uploads), *map(_of_library, asked.fields.path)]
        _check_count(len(queries))
        home = await service.reading.run(service.home)
        searches = [service.searching.run(lambda each=each: _search(service, home, each, query)) for each in queries]
        found = await asyncio.gather(*searches)
    answers = [AnswerModel.of(each) for each in found if isinstance(each, Answer)]
    failed = [each for each in found if isinstance(each, FailedQuery)]
    if not answers:
        raise ProblemError(_none_usable(failed))
    return SimilarAnswer(
        answers=answers, failed=failed, refreshing=any(answer.refreshing for answer in answers) or _is_behind(home)
    )


def _is_behind(home: Home) -> bool:
    """Return True if the last complete state of the tables is served, because a run is changing them."""
    return home.complete_state is not None


async def _read_request(request: Request, form: FormData) -> SimilarRequest:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in _FORM_TYPES:
        return _of_form(form)
    if media_type == "application/json":
        try:
            content = json.loads(await request.body())
        except (ValueError, RecursionError) as error:
            raise ProblemError(invalid([{"field": "body", "detail": f"not JSON: {error}"}])) from error
        return SimilarRequest(_validated(content))
    raise ProblemError(
        Problem(
            "unsupported-type",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "The type of the body is not supported",
            f"The body has the type {media_type[:100]!r}" if media_type else "The request has no body with a type",
            "application/json, or multipart/form-data for uploads",
            "send JSON with the header Content-Type, or an upload as a form (`curl -F image=@photo.jpg`)",
        )
    )


def _of_form(form: FormData) -> SimilarRequest:
    values: dict[str, Any] = {}
    uploads: list[UploadFile] = []
    problems: list[dict[str, str]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name == UPLOAD:
            uploads.append(value)
        elif isinstance(value, UploadFile):
            problems.append({"field": name[:_MAX_NAME], "detail": f"a file; files are sent as {UPLOAD}"})
        elif name == UPLOAD:
            problems.append({"field": UPLOAD, "detail": "a text; it has to be a file (`curl -F image=@photo.jpg`)"})
        elif name == "path":
            values.setdefault("path", []).append(value)
        elif name in values:
            problems.append({"field": name[:_MAX_NAME], "detail": "sent more than once"})
        else:
            values[name] = value
    if problems:
        raise ProblemError(invalid(problems))
    return SimilarRequest(_validated(values), uploads)


def _validated(content: Any) -> SimilarFields:
    try:
        return SimilarFields.model_validate(content)
    except ValidationError as error:
        raise ProblemError(invalid(field_errors(error, _KNOWN), expected=f"fields of {', '.join(_KNOWN)}")) from error


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_QUERIES:
        problem = {"field": UPLOAD, "detail": f"{count} queries; 1 to {MAX_QUERIES} uploads or paths are searched with"}
        raise ProblemError(invalid([problem]))


def _upload(upload: UploadFile) -> _Asked:
    name = (upload.filename or "upload")[:_MAX_NAME]
    # In the thread of the search: no more uploads are in memory than searches run.
    return _Asked(name, lambda _home: QueryImage(name, upload.file.read()))


def _of_library(path: str) -> _Asked:
    return _Asked(path[:_MAX_NAME], lambda home: read_library_query(home, path))


def read_library_query(home: Home, path: str) -> QueryImage:
    """Return an image of the library as a query image.

    Raises:
        ImageError: there is no image at this path, the path leads elsewhere, or the file can't be used.
    """
    if ".." in PurePosixPath(path).parts:
        raise ImageError(f"The path {path[:_MAX_NAME]!r} has `..` in it", expected="a path as the library lists it")
    file = image_file(home.images, path)
    if file is None:
        raise ImageError(
            f"The library has no image {path[:_MAX_NAME]!r}",
            expected="a path as the library lists it",
            remedy="upload the image instead, or give a path of an answer",
        )
    return replace(read_query(file, home.images, max_bytes=home.settings.max_bytes), name=path)


def _search(service: Service, home: Home, asked: _Asked, query: Query) -> Answer | FailedQuery:
    try:
        image = asked.read(home)
        answer = service.use_graph(lambda database: find_similar(home, image, query, database=database))
    except ImageError as error:
        problem = without_folders(problem_of(error), service.folders())
        return FailedQuery(query=asked.name, detail=problem.detail, expected=problem.expected, remedy=problem.remedy)
    service.metrics.searches.labels(answer.mode).observe(answer.took_ms / 1000)
    return answer


def _none_usable(failed: Sequence[FailedQuery]) -> Problem:
    first = failed[0]
    return replace(
        problem_of(ImageError(first.detail, expected=first.expected, remedy=first.remedy)),
        errors=[{"field": each.query, "detail": each.detail} for each in failed],
    )
