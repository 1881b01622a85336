"""The choice of the query image: an upload, an image of the library, or a sample.

Belongs here: remembering the choice between runs of the script, the way back, the address of it. Not here: the widgets
that choose (`app.views.search_page`). An uploaded file stays in the session's memory.
"""

from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from imgret_assets.domain.images.files import image_file, is_candidate
from imgret_assets.domain.search.query import QueryImage, read_query
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImageError

# Kinds of query images; the last two are also names of the address's parameters.
UPLOAD, LIBRARY, SAMPLE = "upload", "image", "sample"
_MAX_HISTORY = 20
# Session state: the choice, the earlier choices, the address's parameter as last written, the uploader's version.
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


def current_choice() -> Choice | None:
    """Return the current query image; an address that was opened or edited counts."""
    linked = _linked_image()
    if linked != st.session_state.get(_LINK):
        st.session_state[_LINK] = linked
        history = st.session_state.get(_HISTORY, [])
        if linked and history and (history[-1].kind, history[-1].name) == linked:
            # The browser's own way back.
            st.session_state[_CHOICE] = history.pop()
        else:
            _set_choice(Choice(*linked) if linked else None)
    return st.session_state.get(_CHOICE)


def choose(choice: Choice | None, *, keep_upload: bool = False) -> None:
    """Make this the query image; for a widget's callback.

    Args:
        choice: the image; None for none.
        keep_upload: the uploader says so itself. It empties itself before it takes another file, which a new uploader
            would lose.
    """
    _set_choice(choice)
    if not keep_upload:
        # A new uploader: the file in the old one is no longer the query image.
        st.session_state[_UPLOADER_VERSION] = uploader_version() + 1
    _write_link()


def go_back() -> None:
    """Return to the previous query image; for a widget's callback."""
    history: list[Choice] = st.session_state.get(_HISTORY, [])
    st.session_state[_CHOICE] = history.pop() if history else None
    st.session_state[_UPLOADER_VERSION] = uploader_version() + 1
    _write_link()


def can_go_back() -> bool:
    """Return True if there is a previous query image."""
    return bool(st.session_state.get(_HISTORY))


def uploader_version() -> int:
    """Return a number for the uploader's key: a new number empties it."""
    return st.session_state.get(_UPLOADER_VERSION, 0)


def _set_choice(choice: Choice | None) -> None:
    previous = st.session_state.get(_CHOICE)
    if previous is not None and choice is not None and previous != choice:
        st.session_state[_HISTORY] = [*st.session_state.get(_HISTORY, []), previous][-_MAX_HISTORY:]
    st.session_state[_CHOICE] = choice


def _linked_image() -> tuple[str, str] | None:
    """Return kind and name of the query image in the address; None if it has none."""
    return next(((kind, st.query_params[kind]) for kind in (LIBRARY, SAMPLE) if kind in st.query_params), None)


def _write_link() -> None:
    choice = st.session_state.get(_CHOICE)
    for kind in (LIBRARY, SAMPLE):
        if choice is not None and choice.kind == kind:
            st.query_params[kind] = choice.name
        elif kind in st.query_params:
            del st.query_params[kind]
    st.session_state[_LINK] = _linked_image()


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
