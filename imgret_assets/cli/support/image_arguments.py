"""Image arguments of the command line: files, folders of files, or paths under the image root.

Belongs here: resolving an argument to a file or folder and to its path in the library. Not here: reading images
(`domain.search.query`), listing a collection (`domain.images.manifest`).
"""

import os
from collections.abc import Sequence
from pathlib import Path

from imgret_assets.domain.images.files import image_file, walk
from imgret_assets.domain.images.image_status import Status
from imgret_assets.errors import ImageError
from imgret_assets.image_roots import AnyRoot, as_roots
from imgret_assets.object_url import ImageFile, ObjectUrl, image_file_at, is_url


def as_file(argument: Path, root: AnyRoot) -> ImageFile:
    """Return the file or folder of an argument: relative to the working folder if it exists there, else to the root.

    An address such as `s3://bucket/a.jpg` is that object. If it exists in neither place, the argument is returned
    unchanged.
    """
    if is_url(str(argument)):
        return image_file_at(argument)
    if os.path.lexists(argument):
        return argument
    below = root / argument
    if isinstance(below, ObjectUrl):
        return image_file(root, argument.as_posix()) or argument
    return below if os.path.lexists(below) else argument


def is_folder(argument: Path, root: AnyRoot) -> bool:
    """Return whether an argument names a folder of files."""
    file = as_file(argument, root)
    return isinstance(file, Path) and file.is_dir()


def in_library(file: ImageFile, root: AnyRoot) -> str | None:
    """Return the path of a file in tables and graph: POSIX, below its root; None if it is outside of every root."""
    roots = as_roots(root)
    # First without following links: a link inside a root is listed by its own name.
    return roots.path_of(file) or roots.path_of(file, real=True)


def folder_in_library(text: str, root: AnyRoot) -> str:
    """Return the path in the library of a folder that is written as the machine names it; other texts unchanged."""
    if not (is_url(text) or Path(text).is_absolute()):
        return text
    return in_library(image_file_at(text), root) or text


def files_in(arguments: Sequence[Path], root: AnyRoot) -> list[ImageFile]:
    """Return the files of arguments; a folder is replaced by its image files, sorted. No file is listed twice.

    A file that does not exist is included: opening it raises the error.

    Raises:
        ImageError: a folder contains no image.
        RootError: a folder cannot be listed.
    """
    files: list[ImageFile] = []
    for argument in arguments:
        path = as_file(argument, root)
        if isinstance(path, ObjectUrl) or not path.is_dir():
            files.append(path)
            continue
        # A file whose name is not UTF-8 cannot be in the library, but it can be a query image.
        images = [Path(entry.location) for entry in walk(path) if entry.status in (None, Status.BAD_NAME)]
        if not images:
            raise ImageError(f"{path} contains no image", expected="files with the extension of an image format")
        files += images
    return list(dict.fromkeys(files))
