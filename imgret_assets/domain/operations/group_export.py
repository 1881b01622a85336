"""A group of images for other programs: a list of files, a folder of links, an album of one file.

Belongs here: writing these. Not here: which images a group has (`domain.analysis.groups_table`), the graph's files
(`domain.operations.export`).
"""

import base64
import html
from collections.abc import Callable, Sequence
from pathlib import Path

from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import HomeError, ImgretError
from imgret_assets.object_url import ImageFile, ObjectUrl
from imgret_assets.wording import counted

LIST, LINKS, ALBUM = EXPORTS = ("list", "links", "album")
_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem;color-scheme:light dark}"
    "main{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-end}figure{margin:0;max-width:256px}"
    "img{max-width:100%;height:auto;display:block}figcaption{font-size:12px;overflow-wrap:anywhere;margin-top:.3rem}"
)


def list_of_files(files: Sequence[ImageFile]) -> bytes:
    """Return the paths of files, one a line, in UTF-8; bytes of a name that are no UTF-8 stay as they are.

    Raises:
        ImgretError: a path contains a line break, and would be read as two.
    """
    broken = next((file for file in files if "\n" in str(file)), None)
    if broken is not None:
        raise ImgretError(
            f"The path {str(broken)!r} contains a line break, and would be read as two",
            remedy="use `imgret groups GROUP -0`, or export links or an album",
        )
    return "".join(f"{file}\n" for file in files).encode("utf-8", "surrogateescape")


def link_files(files: Sequence[ImageFile], folder: Path) -> int:
    """Fill a new folder with symbolic links to files, numbered in their order, and return how many.

    Args:
        files: absolute paths.
        folder: created; must be missing or empty, so that nothing in it is replaced.

    Raises:
        ImgretError: an image lies in a bucket; nothing is created.
        HomeError: the folder has files, or can't be written.
        DiskFullError: the disk is full.
    """
    in_bucket = next((file for file in files if isinstance(file, ObjectUrl)), None)
    if in_bucket is not None:
        raise ImgretError(
            f"{in_bucket} lies in a bucket, and a link leads to files alone",
            remedy="export a list, which has the addresses, or an album: --as list, --as album",
        )
    with atomic_files.named_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise HomeError(f"{folder} is not empty", expected="a new or empty folder")
        digits = len(str(len(files)))
        for number, file in enumerate(files, 1):
            (folder / f"{number:0{digits}d} {file.name}").symlink_to(file)
    return len(files)


def album(
    title: str, files: Sequence[ImageFile], captions: Sequence[str], thumbnail: Callable[[ImageFile], bytes]
) -> str:
    """Return an HTML page with thumbnails of files, each a link to its file; it needs no other file or server.

    Args:
        title: of the page.
        files: absolute paths, or objects.
        captions: text below each image.
        thumbnail: returns a file as JPEG.
    """
    figures = []
    for file, caption in zip(files, captions, strict=True):
        data = base64.b64encode(thumbnail(file)).decode()
        text = html.escape(caption)
        figures.append(
            f'<figure><a href="{html.escape(file.as_uri())}"><img src="data:image/jpeg;base64,{data}" alt="{text}"></a>'
            f"<figcaption>{text}</figcaption></figure>"
        )
    heading = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{heading}</h1><p>{counted(len(files), 'image')}</p>\n<main>\n"
        + "\n".join(figures)
        + "\n</main></body></html>\n"
    )
