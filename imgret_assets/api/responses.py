"""The problems of routes, as OpenAPI describes them.

Belongs here: one description of the problem document. Not here: problems themselves (`api.problems`).
"""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from imgret_assets.api.problems import MEDIA_TYPE, TYPE_PREFIX


class WrongField(BaseModel):
    """A field of a request that is unknown or has a wrong value."""

    field: str
    detail: str


class ProblemModel(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(examples=[f"{TYPE_PREFIX}invalid-request"])
    title: str
    status: int
    detail: str = Field(description="What was found.")
    expected: str | None = None
    remedy: str | None = Field(None, description="What to do.")
    errors: list[WrongField] | None = None


_SCHEMA = {"$ref": f"#/components/schemas/{ProblemModel.__name__}"}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of these statuses."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": _SCHEMA}},
            **({"headers": {"Retry-After": {"schema": {"type": "integer"}}}} if status == 503 else {}),
        }
        for status in statuses
    }
