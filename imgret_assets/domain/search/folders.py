"""The folder of the library that hits lie in or below: its path, and whether there is such a folder.

Belongs here: what people write as a folder. Not here: the filter in Cypher (`domain.graph.cypher.FILTERS`), the label
of an image (`domain.images.files`).
"""

from collections.abc import Sequence
from pathlib import PurePosixPath

from imgret_assets.domain.images.library import cached_library
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import SettingError, did_you_mean

_EXPECTED = "a folder of the library, with the name of its root first where there are several"


def folder_path(text: str) -> str:
    """Return the path of a folder in tables and graph: without a slash at its ends, and without `.`.

    Args:
        text: such as `photos/2024`, `photos/2024/` or `./photos/2024`.

    Raises:
        SettingError: the text names no folder.
    """
    path = PurePosixPath(text.strip("/"))
    if not path.parts or ".." in path.parts:
        raise SettingError(f"folder is {text!r}", expected=_EXPECTED, remedy="leave it out to search everywhere")
    return str(path)


def check_folder(home: Home, text: str) -> None:
    """Raise an error if no image of the library lies in or below a folder.

    While no run has listed any images, every folder passes.

    Raises:
        SettingError: with the folder that is probably meant.
    """
    path = folder_path(text)
    library = cached_library(home)
    if library.paths and path not in library.folders:
        question = _probably_meant(path, library.folders)
        raise SettingError(f"The library has no folder {text!r}{question}", expected=_EXPECTED)


def _probably_meant(path: str, folders: Sequence[str]) -> str:
    """Return a question for the end of a sentence: the folder that ends with what was written, or one like it."""
    end = f"/{path}".casefold()
    named = next((folder for folder in folders if f"/{folder}".casefold().endswith(end)), None)
    return did_you_mean(path, folders) if named is None else f"; did you mean {named}?"
