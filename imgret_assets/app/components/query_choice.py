"""What is searched with: uploads, images of the library, or samples, on two sides, and the crop of the first.

Belongs here: remembering it between runs of the script, the way back, the address of it. Not here: the widgets that
choose (`app.views.search_page`, `app.components.query_row`). An uploaded file stays in the session's memory.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import streamlit as st

from imgret_assets.domain.images.crop import Crop
from imgret_assets.domain.images.files import image_file, is_candidate
from imgret_assets.domain.search.query import QueryImage, read_query
from imgret_assets.domain.search.query_parts import QueryPart, StoredImage
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImageError, SettingError

# Kinds of query images; the last two are also names of the address's parameters.
UPLOAD, LIBRARY, SAMPLE = "upload", "image", "sample"
_MAX_HISTORY = 20
# Further parameters of the address: images marked on each side, the part of the first image.
_MORE, _LESS, _CROP = "more", "less", "crop"
# Session state: the query, the earlier queries, the address's parameters as last written, the uploader's version.
_CHOICE, _HISTORY, _LINK, _UPLOADER_VERSION = "query_choice", "query_trail", "query_link", "upload_round"


@dataclass(frozen=True)
class Choice:
    """A query image.

    Attributes:
        kind: UPLOAD, LIBRARY or SAMPLE.
        name: the uploaded file's name, or the path under the image root or the folder of samples.
        data: an uploaded file's bytes.
    """

    kind: str
    name: str
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ChosenQuery:
    """All that is searched with.

    Attributes:
        images: what the hits shall resemble; the first is the one that was searched with before any was marked.
        less: what they shall not resemble.
        crop: the part of the first image.
    """

    images: tuple[Choice, ...]
    less: tuple[Choice, ...] = ()
    crop: Crop | None = None

    @property
    def is_one_image(self) -> bool:
        """True for one whole image or one part of an image."""
        return len(self.images) == 1 and not self.less

    def without(self, choice: Choice) -> "ChosenQuery | None":
        """Return the query without an image; None if nothing is left that hits can resemble."""
        images = tuple(image for image in self.images if image != choice)
        less = tuple(image for image in self.less if image != choice)
        crop = self.crop if images[:1] == self.images[:1] else None
        return ChosenQuery(images, less, crop) if images else None


@dataclass(frozen=True)
class _Link:
    """The part of a query that an address can have: paths of the library, or the name of a sample."""

    first: tuple[str, str] | None
    more: tuple[str, ...] = ()
    less: tuple[str, ...] = ()
    crop: str | None = None

    def query(self) -> ChosenQuery | None:
        more, less = ([Choice(LIBRARY, path) for path in paths] for paths in (self.more, self.less))
        images = [*([Choice(*self.first)] if self.first else []), *more]
        crop = _parse_crop(self.crop) if self.first else None
        return ChosenQuery(tuple(images), tuple(less), crop) if images else None


def current_query() -> ChosenQuery | None:
    """Return what is searched with; an address that was opened or edited counts."""
    linked = _read_link()
    if linked != st.session_state.get(_LINK, _Link(None)):
        st.session_state[_LINK] = linked
        history = st.session_state.get(_HISTORY, [])
        if history and linked != _Link(None) and _link_of(history[-1]) == linked:
            # The browser's own way back.
            st.session_state[_CHOICE] = history.pop()
        else:
            _set_query(linked.query())
    return st.session_state.get(_CHOICE)


def choose(choice: Choice | None, *, keep_upload: bool = False) -> None:
    """Search with this image alone; for a widget's callback.

    Args:
        choice: the image; None for none.
        keep_upload: the uploader says so itself. It empties itself before it takes another file, which a new uploader
            would lose.
    """
    _set_query(None if choice is None else ChosenQuery((choice,)))
    if not keep_upload:
        # A new uploader: the file in the old one is no longer the query image.
        st.session_state[_UPLOADER_VERSION] = uploader_version() + 1
    _write_link()


def mark(choice: Choice, *, less: bool) -> None:
    """Add an image to the query, on one of its sides only; for a widget's callback."""
    query: ChosenQuery | None = st.session_state.get(_CHOICE)
    rest = query.without(choice) if query is not None else None
    if rest is None:
        return
    marked = replace(rest, less=(*rest.less, choice)) if less else replace(rest, images=(*rest.images, choice))
    _set_query(marked)
    _write_link()


def add(choice: Choice) -> None:
    """Search with this image, too; with this image alone if there is no query yet. For a widget's callback."""
    if st.session_state.get(_CHOICE) is None:
        choose(choice, keep_upload=choice.kind == UPLOAD)
        return
    mark(choice, less=False)
    if choice.kind != UPLOAD:
        # A list that was chosen from is empty again.
        st.session_state[_UPLOADER_VERSION] = uploader_version() + 1


def unmark(choice: Choice) -> None:
    """Remove an image from the query; for a widget's callback."""
    query: ChosenQuery | None = st.session_state.get(_CHOICE)
    if query is None:
        return
    _set_query(query.without(choice))
    if choice.kind == UPLOAD:
        st.session_state[_UPLOADER_VERSION] = uploader_version() + 1
    _write_link()


def set_crop(crop: Crop | None) -> None:
    """Search with a part of the first image; for a widget's callback. Not a step of the way back."""
    query: ChosenQuery | None = st.session_state.get(_CHOICE)
    if query is not None:
        st.session_state[_CHOICE] = replace(query, crop=crop)
        _write_link()


def go_back() -> None:
    """Return to what was searched with before; for a widget's callback."""
    history: list[ChosenQuery] = st.session_state.get(_HISTORY, [])
    st.session_state[_CHOICE] = history.pop() if history else None
    st.session_state[_UPLOADER_VERSION] = uploader_version() + 1
    _write_link()


def can_go_back() -> bool:
    """Return True if something else was searched with before."""
    return bool(st.session_state.get(_HISTORY))


def uploader_version() -> int:
    """Return a number for the uploader's key: a new number empties it."""
    return st.session_state.get(_UPLOADER_VERSION, 0)


def _set_query(query: ChosenQuery | None) -> None:
    previous = st.session_state.get(_CHOICE)
    if previous is not None and query is not None and previous != query:
        st.session_state[_HISTORY] = [*st.session_state.get(_HISTORY, []), previous][-_MAX_HISTORY:]
    st.session_state[_CHOICE] = query


def _parse_crop(text: str | None) -> Crop | None:
    """Return the crop of an address; None if it is none, so that a mistyped address shows the whole image."""
    try:
        return None if text is None else Crop.parse(text)
    except SettingError:
        return None


def _read_link() -> _Link:
    """Return the query in the address."""
    first = next(((kind, st.query_params[kind]) for kind in (LIBRARY, SAMPLE) if kind in st.query_params), None)
    more, less = (tuple(st.query_params.get_all(name)) for name in (_MORE, _LESS))
    return _Link(first, more, less, st.query_params.get(_CROP))


def _link_of(query: ChosenQuery | None) -> _Link:
    if query is None:
        return _Link(None)
    first, *others = query.images
    more, less = (tuple(image.name for image in images if image.kind == LIBRARY) for images in (others, query.less))
    is_linked = first.kind in (LIBRARY, SAMPLE)
    crop = str(query.crop) if query.crop is not None and is_linked else None
    return _Link((first.kind, first.name) if is_linked else None, more, less, crop)


def _write_link() -> None:
    link = _link_of(st.session_state.get(_CHOICE))
    values: dict[str, str | list[str]] = {_MORE: list(link.more), _LESS: list(link.less), _CROP: link.crop or ""}
    values |= {kind: link.first[1] if link.first and link.first[0] == kind else "" for kind in (LIBRARY, SAMPLE)}
    for name, value in values.items():
        if value:
            st.query_params[name] = value
        elif name in st.query_params:
            del st.query_params[name]
    st.session_state[_LINK] = link


def samples_folder(home: Home) -> Path:
    """Return the folder into which `imgret samples` writes query images."""
    return home.path / "queries"


def sample_names(home: Home) -> list[str]:
    """Return the query images that are not in the library, by path in their folder."""
    folder = samples_folder(home)
    names = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if is_candidate(file.name))
    return sorted(name for name in names if image_file(folder, name))


def load_choice(choice: Choice, home: Home) -> QueryImage:
    """Read a query image.

    Raises:
        ImageError: there is no such image, or it can't be read.
    """
    if choice.data is not None:
        return QueryImage(choice.name, choice.data)
    root = home.images if choice.kind == LIBRARY else samples_folder(home)
    file = image_file(root, choice.name)
    if file is None:
        raise ImageError(
            f"There is no image {choice.name} in {root}",
            remedy="choose another one; if the file was deleted, `imgret run` removes it from the library",
        )
    data = read_query(file, max_bytes=home.settings.max_bytes).data
    return QueryImage(choice.name, data, choice.name if choice.kind == LIBRARY else None)


def load_parts(query: ChosenQuery, first: QueryImage, home: Home) -> list[QueryPart]:
    """Return the parts of a query; images of the library but the first by their stored vectors.

    Args:
        query: what is searched with.
        first: its first image, loaded.
        home: the home.

    Raises:
        ImageError: an image can't be read.
    """
    return [
        QueryPart(first, crop=query.crop),
        *(QueryPart(_load_source(choice, home)) for choice in query.images[1:]),
        *(QueryPart(_load_source(choice, home), less=True) for choice in query.less),
    ]


def _load_source(choice: Choice, home: Home) -> QueryImage | StoredImage:
    return StoredImage(choice.name) if choice.kind == LIBRARY else load_choice(choice, home)
