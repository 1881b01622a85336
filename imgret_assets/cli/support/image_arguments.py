"""Pictures as they are named on a command line: files, folders of them, or paths under the image root.

Belongs here: finding the file that is meant, and its path in the library; the embedding space that is asked. Not here:
reading pictures (`domain.search.find_similar`), listing a collection (`domain.images.manifest`).
"""

import os
from collections.abc import Sequence
from pathlib import Path

from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.images.files import walk
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.registry import space_of_last_run
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImageError, TableError


def as_file(given: Path, root: Path) -> Path:
    """The file or folder that is meant: seen from the working folder, else from the image root, else as given."""
    return root / given if not os.path.lexists(given) and os.path.lexists(root / given) else given


def in_library(file: Path, root: Path) -> str | None:
    """The path by which tables and graph would know a file: POSIX, relative to the root; None outside it."""
    # Not resolve(): a link inside the root is known by its own name.
    path, base = (os.path.abspath(one) for one in (file, root))  # noqa: PTH100
    if not path.startswith(base.rstrip("/") + "/"):
        path, base = os.path.realpath(file), os.path.realpath(root)
    inside = path.startswith(base.rstrip("/") + "/")
    return Path(path).relative_to(base).as_posix() if inside else None


def pictures_in(given: Sequence[Path], root: Path) -> list[Path]:
    """The files that are meant, folders replaced by what lies in them, sorted, each file once.

    A file that is not there is among them: whoever opens it says so.

    Raises:
        ImageError: a folder holds no picture.
        RootError: a folder can't be listed.
    """
    found: list[Path] = []
    for one in given:
        place = as_file(one, root)
        if not place.is_dir():
            found.append(place)
            continue
        # A name that is not UTF-8 can't be in the library, but can be asked with.
        inside = [Path(one.location) for one in walk(place) if one.status in (None, Status.BAD_NAME)]
        if not inside:
            raise ImageError(f"{place} holds no picture", expected="files with the extension of an image format")
        found += inside
    return list(dict.fromkeys(found))


def space_in_use(home: Home) -> EmbeddingSpace:
    """The embedding space of the home's last run, which tables and graph are in.

    Raises:
        TableError: there was no run yet.
    """
    space = space_of_last_run(home)
    if space is None:
        raise TableError(f"{home.path} holds no collection yet", remedy="run `imgret run --images FOLDER`")
    return space
