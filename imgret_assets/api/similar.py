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
from imgret_assets.domain.images.crop import Crop
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Answer, Query, QueryImage, read_query
from imgret_assets.domain.search.query_parts import QueryPart, QueryText
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImageError, ImgretError, QueryError

UPLOAD, LESS_UPLOAD = "image", "less_image"
_MAX_NAME = 200
_FORM_LIMITS = {"max_files": 2 * MAX_QUERIES, "max_fields": 80, "max_part_size": 100_000}
_FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")
_KNOWN = (UPLOAD, LESS_UPLOAD, *SimilarFields.model_fields)
# Fields of which a form may have several.
_LISTS = ("path", "text", "less", "less_text")

router = APIRouter()


@dataclass(frozen=True)
class SimilarRequest:
    """A request: the fields and the uploads, which are read when their turn comes."""

    fields: SimilarFields
    uploads: list[UploadFile] = field(default_factory=list)
    less_uploads: list[UploadFile] = field(default_factory=list)


@dataclass(frozen=True)
class _Asked:
    """A part of a query: its name, and what makes the part."""

    name: str
    read: Callable[[Home], QueryPart]


@dataclass(frozen=True)
class _Found:
    """The answer to a query, if there is one, and the parts that can't be used, each with its error."""

    answer: Answer | None
    failed: list[tuple[str, ImgretError]] = field(default_factory=list)


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
    less = upload | {"description": "Image files that the hits shall not resemble."}
    uploads = {UPLOAD: upload, LESS_UPLOAD: less}
    form = {"type": "object", "additionalProperties": False, "properties": {**uploads, **properties}}
    as_json = {"type": "object", "additionalProperties": False, "properties": properties}
    return {
        "required": True,
        "description": f"At least one image, path or text, at most {MAX_QUERIES} in all.",
        "content": {
            "application/json": {
                "schema": as_json,
                "examples": {
                    "one": {"summary": "An image of the library", "value": {"path": "mugs/blue.jpg", "k": 3}},
                    "several": {
                        "summary": "Two images, hits in one folder and below it",
                        "value": {"path": ["mugs/blue.jpg", "mugs/red.jpg"], "folder": "mugs", "min_score": 0.5},
                    },
                    "together": {
                        "summary": "More like two images, less like a third, one answer",
                        "value": {"path": ["mugs/blue.jpg", "mugs/red.jpg"], "less": "cups/a.jpg", "together": True},
                    },
                    "text": {"summary": "Words, for a model with a text tower", "value": {"text": "a red car"}},
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
    """Return the images that are similar to each query: uploads (multipart/form-data), paths of the library, or texts.

    With `together` all of them make one query. What can't be used is named in `failed`, and the rest is answered; only
    if nothing can be used is that the answer.
    """
    service: Service = request.app.state.service
    async with request.form(**_FORM_LIMITS) as form:
        asked = await _read_request(request, form)
        query, crop = asked.fields.query(), asked.fields.crop
        crop = None if crop is None else Crop.parse(crop)
        queries, less = _queries(asked, crop), _less(asked)
        home = await service.reading.run(service.home)
        together = asked.fields.together
        groups = [queries] if together else [[each] for each in queries]
        searches = [
            service.searching.run(lambda group=group: _search(service, home, group, less, query, together=together))
            for group in groups
        ]
        found = await asyncio.gather(*searches)
    answers = [AnswerModel.of(each.answer) for each in found if each.answer is not None]
    failed = [failure for each in found for failure in each.failed]
    if not answers:
        raise ProblemError(_none_usable(service, failed))
    return SimilarAnswer(
        answers=answers,
        failed=[_failed_query(service, name, error) for name, error in failed],
        refreshing=any(answer.refreshing for answer in answers) or _is_behind(home),
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
    uploads: dict[str, list[UploadFile]] = {UPLOAD: [], LESS_UPLOAD: []}
    problems: list[dict[str, str]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name in uploads:
            uploads[name].append(value)
        elif isinstance(value, UploadFile):
            problems.append({"field": name[:_MAX_NAME], "detail": f"a file; files are sent as {UPLOAD}"})
        elif name in uploads:
            problems.append({"field": name, "detail": f"a text; it has to be a file (`curl -F {name}=@photo.jpg`)"})
        elif name in _LISTS:
            values.setdefault(name, []).append(value)
        elif name in values:
            problems.append({"field": name[:_MAX_NAME], "detail": "sent more than once"})
        else:
            values[name] = value
    if problems:
        raise ProblemError(invalid(problems))
    return SimilarRequest(_validated(values), uploads[UPLOAD], uploads[LESS_UPLOAD])


def _validated(content: Any) -> SimilarFields:
    try:
        return SimilarFields.model_validate(content)
    except ValidationError as error:
        raise ProblemError(invalid(field_errors(error, _KNOWN), expected=f"fields of {', '.join(_KNOWN)}")) from error


def _queries(request: SimilarRequest, crop: Crop | None) -> list[_Asked]:
    """Return what is searched with: uploads, paths, texts, in this order."""
    queries = [
        *(_upload(upload, crop=crop) for upload in request.uploads),
        *(_of_library(path, crop=crop) for path in request.fields.path),
        *(_words(text) for text in request.fields.text),
    ]
    _check_count(UPLOAD, len(queries), least=1)
    return queries


def _less(request: SimilarRequest) -> list[_Asked]:
    """Return what the hits shall not resemble."""
    less = [
        *(_upload(upload, less=True) for upload in request.less_uploads),
        *(_of_library(path, less=True) for path in request.fields.less),
        *(_words(text, less=True) for text in request.fields.less_text),
    ]
    _check_count("less", len(less), least=0)
    return less


def _check_count(name: str, count: int, *, least: int) -> None:
    if not least <= count <= MAX_QUERIES:
        detail = f"{count} of them; {least} to {MAX_QUERIES} uploads, paths and texts make a request"
        raise ProblemError(invalid([{"field": name, "detail": detail}]))


def _upload(upload: UploadFile, *, less: bool = False, crop: Crop | None = None) -> _Asked:
    name = (upload.filename or "upload")[:_MAX_NAME]

    def read(_: Home) -> QueryPart:
        # In the thread of the search: no more uploads are in memory than searches run. Several searches read `less`.
        upload.file.seek(0)
        return QueryPart(QueryImage(name, upload.file.read()), less=less, crop=crop)

    return _Asked(name, read)


def _of_library(path: str, *, less: bool = False, crop: Crop | None = None) -> _Asked:
    return _Asked(path[:_MAX_NAME], lambda home: QueryPart(read_library_query(home, path), less=less, crop=crop))


def _words(text: str, *, less: bool = False) -> _Asked:
    source = QueryText(text)
    return _Asked(source.name, lambda _: QueryPart(source, less=less))


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


def _search(
    service: Service, home: Home, asked: Sequence[_Asked], less: Sequence[_Asked], query: Query, *, together: bool
) -> _Found:
    parts: list[QueryPart] = []
    failed: list[tuple[str, ImgretError]] = []
    for each in asked:
        try:
            parts.append(each.read(home))
        except ImageError as error:
            failed.append((each.name, error))
    name = asked[0].name
    if not parts:
        return _Found(None, failed)
    try:
        # What the hits shall not resemble has to be usable: without it they would be others than those asked for.
        parts += [each.read(home) for each in less]
        answer = service.use_graph(
            lambda database: find_similar(home, parts, query, database=database, skip_unusable=together)
        )
    except (ImageError, QueryError) as error:
        return _Found(None, [*failed, (name, error)])
    service.metrics.searches.labels(answer.mode).observe(answer.took_ms / 1000)
    return _Found(answer, [*failed, *((answer.query, ImageError(message)) for message in answer.unusable)])


def _failed_query(service: Service, name: str, error: ImgretError) -> FailedQuery:
    problem = without_folders(problem_of(error), service.folders())
    return FailedQuery(query=name, detail=problem.detail, expected=problem.expected, remedy=problem.remedy)


def _none_usable(service: Service, failed: Sequence[tuple[str, ImgretError]]) -> Problem:
    first = without_folders(problem_of(failed[0][1]), service.folders())
    named = [_failed_query(service, name, error) for name, error in failed]
    return replace(first, errors=[{"field": each.query, "detail": each.detail} for each in named])
