"""Which picture is asked with: an upload, one of the library, or a sample.

Belongs here: remembering the choice between reruns, the way back, the link to it. Not here: the widgets that
choose (`app.views.search_page`). An uploaded file is kept in the session's memory only.
"""

from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from imgret_assets.app.components.thumbnails import picture_file
from imgret_assets.domain.images.files import is_candidate
from imgret_assets.domain.search.query import QueryImage, read_query
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImageError

UPLOAD, LIBRARY, SAMPLE = "upload", "image", "sample"
_MAX_BACK = 20
# Session state: the choice, the ones before it, the link as it was last written, and the uploader's key.
_CHOICE, _TRAIL, _LINK, _ROUND = "query_choice", "query_trail", "query_link", "upload_round"


@dataclass(frozen=True)
class Choice:
    """A picture to ask with.

    Attributes:
        kind: UPLOAD, LIBRARY or SAMPLE; the last two are also names in the page's address.
        name: the uploaded file's name, or the path under the image root or the folder of samples.
        data: an uploaded file's bytes.
    """

    kind: str
    name: str
    data: bytes | None = field(default=None, repr=False)


def current_choice() -> Choice | None:
    """The picture to ask with now; a link that was opened or changed by hand counts."""
    linked = _linked()
    if linked != st.session_state.get(_LINK):
        st.session_state[_LINK] = linked
        trail = st.session_state.get(_TRAIL, [])
        if linked and trail and (trail[-1].kind, trail[-1].name) == linked:
            # The browser's own way back.
            st.session_state[_CHOICE] = trail.pop()
        else:
            _remember(Choice(*linked) if linked else None)
    return st.session_state.get(_CHOICE)


def choose(choice: Choice | None) -> None:
    """Ask with this picture from now on; meant as a widget's callback."""
    _remember(choice)
    if choice is None or choice.kind != UPLOAD:
        # A fresh uploader: the file in the old one is not what is asked with any more.
        st.session_state[_ROUND] = upload_round() + 1
    _write_link()


def go_back() -> None:
    """Ask with the picture before this one; meant as a widget's callback."""
    trail: list[Choice] = st.session_state.get(_TRAIL, [])
    st.session_state[_CHOICE] = trail.pop() if trail else None
    st.session_state[_ROUND] = upload_round() + 1
    _write_link()


def can_go_back() -> bool:
    """True where there was a picture before this one."""
    return bool(st.session_state.get(_TRAIL))


def upload_round() -> int:
    """Number for the uploader's key: another one empties it."""
    return st.session_state.get(_ROUND, 0)


def _remember(choice: Choice | None) -> None:
    before = st.session_state.get(_CHOICE)
    if before is not None and choice is not None and before != choice:
        st.session_state[_TRAIL] = [*st.session_state.get(_TRAIL, []), before][-_MAX_BACK:]
    st.session_state[_CHOICE] = choice


def _linked() -> tuple[str, str] | None:
    return next(((kind, st.query_params[kind]) for kind in (LIBRARY, SAMPLE) if kind in st.query_params), None)


def _write_link() -> None:
    choice = st.session_state.get(_CHOICE)
    for kind in (LIBRARY, SAMPLE):
        if choice is not None and choice.kind == kind:
            st.query_params[kind] = choice.name
        elif kind in st.query_params:
            del st.query_params[kind]
    st.session_state[_LINK] = _linked()


def samples_folder(home: Home) -> Path:
    """Where `imgret samples` puts the pictures to ask with."""
    return home.path / "queries"


def sample_names(home: Home) -> list[str]:
    """Pictures to ask with that are not in the library, by path in their folder."""
    folder = samples_folder(home)
    found = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if is_candidate(file.name))
    return sorted(name for name in found if picture_file(folder, name))


def load_choice(choice: Choice, home: Home) -> QueryImage:
    """The picture itself.

    Raises:
        ImageError: there is no such picture, or it can't be read.
    """
    if choice.data is not None:
        return QueryImage(choice.name, choice.data)
    root = home.images if choice.kind == LIBRARY else samples_folder(home)
    file = picture_file(root, choice.name)
    if file is None:
        raise ImageError(
            f"There is no picture {choice.name} in {root}",
            remedy="choose another one; if the file was removed, `imgret run` takes it out of the library, too",
        )
    return QueryImage(choice.name, read_query(file).data, choice.name if choice.kind == LIBRARY else None)
