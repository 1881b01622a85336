"""Facts, thumbnails, groups and duplicates of the library.

Belongs here: these routes. Not here: what is known about an image (`domain.search.image_details`), groups
(`domain.review.group_list`), duplicates (`domain.review.duplicate_list`), fields of answers (`api.schemas`).
"""

import hashlib
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.convertors import Convertor, register_url_convertor

from imgret_assets.api.problems import Problem, ProblemError, not_found
from imgret_assets.api.responses import problem_responses
from imgret_assets.api.schemas import DuplicateModel, DuplicatePage, GroupModel, GroupPage, ImageModel
from imgret_assets.api.service import Service
from imgret_assets.domain.duplicates.duplicate_search import DUPLICATE_KINDS
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.images.library import cached_library
from imgret_assets.domain.images.thumbnail_cache import cached_thumbnail, thumbnails_folder
from imgret_assets.domain.models.resolution import space_in_use
from imgret_assets.domain.review.duplicate_list import cached_duplicates
from imgret_assets.domain.review.group_list import BY_SIZE, BY_TIGHTNESS, read_group_list, read_names
from imgret_assets.domain.search.image_details import read_details
from imgret_assets.domain.storage.home import Home

MAX_LIMIT = 500
_MAX_DIGITS = 9
MAX_RELATIONSHIPS = 100
Kind = Literal["exact", "near", "look_first", "mirrored", "rotated"]
# Few, because each has a file of its own in the home.
Size = Literal[64, 128, 224, 512]
_ORDERS = {"tightest": BY_TIGHTNESS, "largest": BY_SIZE}


class _LibraryPath(Convertor[str]):
    """A path of the library in an address; unlike Starlette's `path` it may have line breaks, as file names may."""

    regex = r"(?:.|\n)*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("library", _LibraryPath())
router = APIRouter()


class _Parameters(BaseModel):
    """Parameters of an address; unknown ones are refused by name."""

    model_config = ConfigDict(extra="forbid")


class ThumbnailParameters(_Parameters):
    """How large a thumbnail is."""

    size: Size = Field(224, description="Longest side in pixels.")

    @field_validator("size", mode="before")
    @classmethod
    def _as_number(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < _MAX_DIGITS else value


class PartParameters(_Parameters):
    """Which part of a list is asked for."""

    limit: int = Field(50, ge=1, le=MAX_LIMIT, description="Rows of an answer.")
    offset: int = Field(0, ge=0, le=2**31, description="Rows before the first.")


class GroupParameters(PartParameters):
    """Which groups are asked for."""

    order: Literal["tightest", "largest"] = "tightest"
    min_size: int = Field(2, ge=2, description="Only groups of at least so many images.")
    label: str | None = Field(None, description="Only groups with an image of this folder.")


class DuplicateParameters(PartParameters):
    """Which duplicates are asked for."""

    kind: list[Kind] = Field(list(DUPLICATE_KINDS), description="Kinds; exact and near if none is given.")
    undecided: bool = Field(False, description="Only pairs without a decision.")


@router.get(
    "/v1/images/{path:library}/thumbnail",
    summary="Thumbnail of an image",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}}
    | {304: {"description": "The client's copy is current"}}
    | problem_responses(401, 404, 422, 503),
)
async def thumbnail(request: Request, path: str, parameters: Annotated[ThumbnailParameters, Query()]) -> Response:
    """Return an image of the library as JPEG, at most `size` pixels a side."""
    service: Service = request.app.state.service
    data = await service.reading.run(lambda: _thumbnail(service.home(), path, parameters.size))
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=60"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type="image/jpeg", headers=headers)


@router.get(
    "/v1/images/{path:library}",
    summary="All that is known about an image",
    responses=problem_responses(401, 404, 422, 503),
)
async def image(request: Request, path: str) -> ImageModel:
    """Return facts, group, duplicates and relationships of an image of the library."""
    service: Service = request.app.state.service
    check_path(path)
    home = await service.reading.run(service.home)
    details = await service.reading.run(
        lambda: service.use_graph(
            lambda database: read_details(home, database, path, max_relationships=MAX_RELATIONSHIPS)
        )
    )
    if details is None:
        raise ProblemError(not_found(path))
    return ImageModel.of(details, refreshing=_is_behind(home))


@router.get("/v1/groups", summary="Groups of similar images", responses=problem_responses(401, 422, 503))
async def groups(request: Request, parameters: Annotated[GroupParameters, Query()]) -> GroupPage:
    """Return the groups, a part at a time; the members of a group are with each of its images."""
    service: Service = request.app.state.service
    return await service.reading.run(lambda: _groups(service.home(), request, parameters))


@router.get("/v1/duplicates", summary="Duplicates and the images to keep", responses=problem_responses(401, 422, 503))
async def duplicates(request: Request, parameters: Annotated[DuplicateParameters, Query()]) -> DuplicatePage:
    """Return the rows of the duplicates table, a part at a time, by path."""
    service: Service = request.app.state.service
    return await service.reading.run(lambda: _duplicates(service.home(), request, parameters))


def check_path(path: str) -> None:
    """Refuse a path that leads elsewhere.

    Raises:
        ProblemError: it has `..` in it, or is absolute.
    """
    if ".." in PurePosixPath(path).parts or path.startswith("/"):
        raise ProblemError(
            Problem(
                "invalid-path",
                422,
                "The path leads out of the library",
                f"The path {path[:500]!r} has `..` in it or is absolute",
                "a path relative to the image root",
                "give a path as an answer has it",
            )
        )


def _thumbnail(home: Home, path: str, size: int) -> bytes:
    check_path(path)
    # Only images of the library, not whatever else lies under the image root.
    file = image_file(home.images, path) if path in cached_library(home) else None
    if file is None:
        raise ProblemError(not_found(path))
    return cached_thumbnail(thumbnails_folder(home), file, size)


def _groups(home: Home, request: Request, parameters: GroupParameters) -> GroupPage:
    space = space_in_use(home).id
    found = read_group_list(home, space)
    names = read_names(home, space, found)
    chosen = found.select(order=_ORDERS[parameters.order], label=parameters.label, min_size=parameters.min_size)
    shown = chosen[parameters.offset : parameters.offset + parameters.limit]
    listed = [GroupModel.of(group, names.get(group.name)) for group in shown]
    return GroupPage(**_part(home, request, parameters, len(chosen)), groups=listed)


def _duplicates(home: Home, request: Request, parameters: DuplicateParameters) -> DuplicatePage:
    rows = cached_duplicates(home, parameters.kind, undecided=parameters.undecided).rows
    shown = rows[parameters.offset : parameters.offset + parameters.limit]
    listed = [DuplicateModel.of(row) for row in shown]
    return DuplicatePage(**_part(home, request, parameters, len(rows)), duplicates=listed)


def _part(home: Home, request: Request, parameters: PartParameters, total: int) -> dict[str, Any]:
    """Return the fields of `ListPage`."""
    limit, end = parameters.limit, parameters.offset + parameters.limit
    following = request.url.include_query_params(limit=limit, offset=end)
    return {
        "total": total,
        "limit": limit,
        "offset": parameters.offset,
        "next": f"{following.path}?{following.query}" if end < total else None,
        "refreshing": _is_behind(home),
    }


def _is_behind(home: Home) -> bool:
    return home.complete_state is not None
