"""Requests and answers of the API: their fields, limits and examples, from which OpenAPI is made.

Belongs here: what a client sends and gets. Not here: problems (`api.problems`), how an answer is found (`api.similar`,
`api.library`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from imgret_assets.domain.review.group_list import ImageGroup
from imgret_assets.domain.search.dates import first_second
from imgret_assets.domain.search.image_details import ImageDetails
from imgret_assets.domain.search.query import MAX_TOP_K, Answer, Hit, Query, Relation
from imgret_assets.domain.search.query_parts import MAX_TEXT_CHARACTERS
from imgret_assets.errors import SettingError

MAX_QUERIES = 16
MAX_PATH_CHARACTERS = 4096
MAX_LISTED_MEMBERS = 200
MAX_DATE_CHARACTERS = 40
Mode = Literal["index", "exact", "rerank"]
Metric = Literal["cosine", "euclidean", "dot"]


EXAMPLE: dict[str, Any] = {
    "answers": [
        {
            "query": "mugs/blue.jpg",
            "query_paths": ["mugs/blue.jpg"],
            "model": "efficientnet_lite0-0f8db3ea",
            "mode": "index",
            "metric": "cosine",
            "higher_is_closer": True,
            "took_ms": 38.2,
            "refreshing": False,
            "results": [
                {
                    "path": "mugs/red.jpg",
                    "score": 0.9335048600141052,
                    "label": "mugs",
                    "image": "/v1/images/mugs/red.jpg",
                    "thumbnail": "/v1/images/mugs/red.jpg/thumbnail",
                }
            ],
        }
    ],
    "failed": [],
    "refreshing": False,
}


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


LibraryPath = Annotated[str, Field(min_length=1, max_length=MAX_PATH_CHARACTERS)]
Texts = Annotated[
    list[Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)]],
    BeforeValidator(_as_list),
    Field(max_length=MAX_QUERIES),
]
Paths = Annotated[list[LibraryPath], BeforeValidator(_as_list), Field(max_length=MAX_QUERIES)]


class SimilarFields(BaseModel):
    """What is searched for, beside the uploaded images."""

    model_config = ConfigDict(extra="forbid")

    path: Paths = Field(
        default_factory=list, description="Images of the library to search with, by their path; one or several."
    )
    text: Texts = Field(
        default_factory=list,
        description="Words that describe images, one text or several; only for a model with a text tower.",
    )
    together: bool = Field(False, description="Make one query of all images, paths and texts.")
    less: Paths = Field(
        default_factory=list, description="Images of the library that the hits shall not resemble, by their path."
    )
    less_text: Texts = Field(default_factory=list, description="Words for what the hits shall not resemble.")
    crop: str | None = Field(
        None,
        max_length=200,
        description="Search with this part of each image: x,y,width,height in pixels of the upright image, or in "
        "percent as in 10%,5%,50%,50%.",
    )
    k: int = Field(5, ge=1, le=MAX_TOP_K, description="Number of hits of each answer.")
    mode: Mode = Field(
        "index",
        description="Search the vector index, every image, or every image re-ranked with the help of its neighbours.",
    )
    metric: Metric = Field("cosine", description="What ranks the hits; others than cosine need mode exact.")
    min_score: float | None = Field(None, ge=-1, le=1, description="Only hits with at least this raw cosine.")
    label: str | None = Field(None, max_length=MAX_PATH_CHARACTERS, description="Only hits that lie in this folder.")
    folder: str | None = Field(
        None,
        max_length=MAX_PATH_CHARACTERS,
        description="Only hits in this folder of the library or anywhere below it, such as photos/2024.",
    )
    since: str | None = Field(
        None,
        max_length=MAX_DATE_CHARACTERS,
        description="Only photos taken on this date or later: 2024, 2024-05, 2024-05-31 or 2024-05-31T10:20:30.",
    )
    until: str | None = Field(
        None,
        max_length=MAX_DATE_CHARACTERS,
        description="Only photos taken on this date, or in this year or month, or earlier.",
    )
    camera: str | None = Field(
        None, max_length=200, description="Only photos by this camera; upper and lower case are the same."
    )
    relations: bool = Field(False, description="With the SIMILAR_TO relationships of each hit.")
    include_self: bool = Field(False, description="Keep the query image itself if it is in the library.")

    @field_validator("since", "until")
    @classmethod
    def _names_a_date(cls, value: str | None, info: ValidationInfo) -> str | None:
        try:
            if value is not None:
                first_second(value, str(info.field_name))
        except SettingError as error:
            raise ValueError(str(error)) from error
        return value

    def query(self) -> Query:
        """Return the parameters of the search.

        Raises:
            SettingError: values don't go together.
        """
        filters = {"since": self.since, "until": self.until, "camera": self.camera, "folder": self.folder}
        return Query(
            self.k, self.mode, self.min_score, self.label, not self.include_self, self.relations, self.metric, **filters
        ).check()


class RelationModel(BaseModel):
    """A relationship of a hit."""

    path: str
    score: float
    label: str | None
    outgoing: bool = Field(description="Whether it starts at the hit.")

    @classmethod
    def of(cls, relation: Relation) -> "RelationModel":
        """Return a relation as it is answered."""
        return cls(path=relation.path, score=relation.score, label=relation.label, outgoing=relation.outgoing)


class HitModel(BaseModel):
    """One similar image."""

    path: str = Field(description="Path in the library.")
    score: float = Field(description="Raw cosine with the query, from -1 to 1.")
    label: str | None = Field(description="Its folder.")
    rank_score: float | None = Field(None, description="What ranked it, if that is not the score.")
    relations: list[RelationModel] | None = None
    image: str = Field(description="Address of its facts.")
    thumbnail: str = Field(description="Address of its thumbnail.")

    @classmethod
    def of(cls, hit: Hit) -> "HitModel":
        """Return a hit as it is answered."""
        # What is not set is not in the answer.
        further: dict[str, Any] = {} if hit.rank_score is None else {"rank_score": hit.rank_score}
        if hit.relations is not None:
            further["relations"] = [RelationModel.of(relation) for relation in hit.relations]
        return cls(
            path=hit.path,
            score=hit.score,
            label=hit.label,
            image=image_address(hit.path),
            thumbnail=thumbnail_address(hit.path),
            **further,
        )


class PartModel(BaseModel):
    """A part of a query."""

    name: str
    less: bool = Field(description="Whether the hits shall not resemble it.")
    weight: float
    crop: str | None = None


class AnswerModel(BaseModel):
    """The answer to one query."""

    query: str = Field(description="Name of the upload, path of the image, or text; of several parts, all.")
    query_paths: list[str] = Field(description="Paths under which images of the query are in the library.")
    model: str = Field(description="Embedding space of all scores.")
    mode: str = Field(description="How the hits were found.")
    metric: str
    higher_is_closer: bool = Field(description="Whether a higher score of the metric is a closer image.")
    took_ms: float
    refreshing: bool = Field(description="A run was writing: hits may be incomplete.")
    parts: list[PartModel] | None = Field(None, description="What the query was made of, if not of one whole image.")
    truncated: list[str] | None = Field(None, description="Texts whose end the model did not read.")
    results: list[HitModel] = Field(description="Best first.")

    @classmethod
    def of(cls, answer: Answer) -> "AnswerModel":
        """Return an answer of the search as it is answered here."""
        # What is not set is not in the answer.
        further: dict[str, Any] = {name: getattr(answer, name) for name in ("parts", "truncated")}
        return cls(
            **{name: value for name, value in further.items() if value},
            query=answer.query,
            query_paths=answer.query_paths,
            model=answer.model,
            mode=answer.mode,
            metric=answer.metric,
            higher_is_closer=answer.metric != "euclidean",
            took_ms=answer.took_ms,
            refreshing=answer.refreshing,
            results=[HitModel.of(hit) for hit in answer.results],
        )


class FailedQuery(BaseModel):
    """A query that can't be used; the others are answered."""

    query: str
    detail: str
    expected: str = ""
    remedy: str = ""


class SimilarAnswer(BaseModel):
    """The answers to all queries of a request, in its order."""

    answers: list[AnswerModel]
    failed: list[FailedQuery] = Field(description="Queries that can't be used.")
    refreshing: bool


class GroupModel(BaseModel):
    """A group of similar images."""

    group: str = Field(description="Path of its representative.")
    name: str | None = Field(description="The name that people gave to it.")
    size: int
    weakest_score: float = Field(description="Lowest cosine of a member with the representative.")
    image: str = Field(description="Address of the representative's facts, which have the members.")

    @classmethod
    def of(cls, group: ImageGroup, name: str | None) -> "GroupModel":
        """Return a group as it is answered."""
        return cls(
            group=group.name,
            name=name,
            size=group.size,
            weakest_score=group.lowest_score,
            image=image_address(group.name),
        )


class MemberModel(BaseModel):
    """An image of a group."""

    path: str
    score: float = Field(description="Cosine with the representative.")


class GroupWithMembers(GroupModel):
    """A group with its members."""

    members: list[MemberModel] = Field(description=f"The representative first; at most {MAX_LISTED_MEMBERS}.")


class DuplicateModel(BaseModel):
    """A pair of the duplicates table."""

    path_from: str = Field(description="The duplicate.")
    path_keep: str = Field(description="The image to keep instead.")
    kind: str = Field(description="exact, near, or one of the kinds to look at first.")
    distance: int | None = Field(description="Bits of 256 in which the perceptual hashes differ.")
    cosine: float | None
    bytes: int | None = Field(description="What its removal frees.")
    decision: str | None = Field(description="The verdict of people, if there is one.")
    reason: str | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "DuplicateModel":
        """Return a row of the table as it is answered."""
        return cls.model_validate({name: row.get(name) for name in cls.model_fields})


class RelationshipModel(BaseModel):
    """A relationship of an image in the graph."""

    path: str = Field(description="The other image.")
    score: float
    kind: str = Field(description="SIMILAR_TO, DUPLICATE_OF or DECIDED.")
    outgoing: bool = Field(description="Whether it starts at this image.")


class ImageModel(BaseModel):
    """All that is known about an image."""

    path: str
    label: str | None
    status: str = Field(description="ok, or why it can't be used.")
    error: str | None
    format: str | None
    width: int | None
    height: int | None
    bytes: int | None
    modified: datetime | None
    taken: datetime | None = Field(description="When it was taken by the camera's clock, without a zone.")
    camera: str | None = Field(description="Make and model of the camera.")
    sha256: str | None
    facts: dict[str, Any] = Field(description="Further columns of the manifest.")
    group: GroupWithMembers | None
    duplicates: list[DuplicateModel]
    relationships: list[RelationshipModel] = Field(description="Best first.")
    relationship_count: int
    thumbnail: str
    refreshing: bool

    @classmethod
    def of(cls, details: ImageDetails, *, refreshing: bool) -> "ImageModel":
        """Return the details of an image as they are answered."""
        facts = dict(details.facts)
        path = facts["path"]
        modified_ns = facts.pop("mtime_ns", None)
        own = {name: facts.pop(name, None) for name in cls.model_fields if name in facts}
        return cls(
            **{"taken": None, "camera": None, **own},
            modified=None if modified_ns is None else datetime.fromtimestamp(modified_ns / 1e9, UTC),
            facts={name: value for name, value in facts.items() if value is not None},
            group=None if details.group is None else group_with_members(details.group, details.group_name),
            duplicates=[DuplicateModel.of(row) for row in details.duplicates],
            relationships=[
                RelationshipModel(
                    path=edge.target if edge.source == path else edge.source,
                    score=edge.score,
                    kind=edge.kind,
                    outgoing=edge.source == path,
                )
                for edge in details.relationships
            ],
            relationship_count=details.relationship_count,
            thumbnail=thumbnail_address(path),
            refreshing=details.refreshing or refreshing,
        )


class ListPage(BaseModel):
    """Which part of a list an answer has."""

    total: int
    limit: int
    offset: int
    next: str | None = Field(description="Address of the next part; null at the end.")
    refreshing: bool


class GroupPage(ListPage):
    """A part of the groups."""

    groups: list[GroupModel]


class DuplicatePage(ListPage):
    """A part of the duplicates, by path."""

    duplicates: list[DuplicateModel]


class State(BaseModel):
    """Whether the service runs, and whether it can answer."""

    status: str


def group_with_members(group: ImageGroup, name: str | None) -> GroupWithMembers:
    """Return a group with its members as it is answered."""
    members: Sequence[MemberModel] = [
        MemberModel(path=member.path, score=member.score) for member in group.members[:MAX_LISTED_MEMBERS]
    ]
    return GroupWithMembers(**GroupModel.of(group, name).model_dump(), members=list(members))


def image_address(path: str) -> str:
    """Return the address of an image's facts, without scheme and host."""
    return f"/v1/images/{quote(path, errors='surrogateescape')}"


def thumbnail_address(path: str) -> str:
    """Return the address of an image's thumbnail, without scheme and host."""
    return f"{image_address(path)}/thumbnail"
