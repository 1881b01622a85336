"""Sample images to try imgret with: the drawn catalogue, or a public dataset.

Belongs here: making the folder of samples and the folder of queries beside it, whole or not at all, and
reading what is known of their pictures. Not here: which pictures there are (`catalogue`), how they
are drawn (`cars`, `goods`, `household`, `scenes`), downloads (`datasets`).
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.storage.atomic_files import write_json
from imgret_assets.errors import ImgretError
from imgret_assets.samples.catalogue import Shot, designs, draw_family
from imgret_assets.samples.datasets import fetch_photos

VERSION = 1
DRAWN = "drawn"
TRUTH = "truth.csv"
MARKER = ".samples.json"
FIRST_QUERY = "ibex.jpg"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Truth:
    """What is known of one picture.

    Attributes:
        path: POSIX, relative to its folder.
        label: the folder, as imgret labels it; of a query, the label its answers should have.
        family: the product; pictures of one family show the same one.
        variant: how it was made, such as `studio`, `crop` or `copy`.
        copy_of: path of the picture it was made from; empty for an original.
    """

    path: str
    label: str
    family: str
    variant: str
    copy_of: str


@dataclass(frozen=True)
class Catalogue:
    """A folder of samples.

    Attributes:
        folder: its root.
        queries: the folder of pictures to ask with, outside of the root.
        n_images: pictures in the root.
        families: names of the products, sorted.
        labels: labels of the pictures, sorted.
        drawn: False when everything was there already.
    """

    folder: Path
    queries: Path
    n_images: int
    families: tuple[str, ...]
    labels: tuple[str, ...]
    drawn: bool


def draw_catalogue(
    out: Path, *, progress: Progress | None = None, force: bool = False, families: int | None = None
) -> Catalogue:
    """Draw the catalogue into a folder and the queries into `queries` beside it, unless they are there.

    Pictures that were removed come back; files of others in a folder that imgret made are left alone.

    Args:
        out: the folder; may be missing or empty.
        progress: called with the products drawn so far and their number.
        force: draw again, also over another dataset, in a folder that imgret made.
        families: draw only so many products, spread over the catalogue.

    Raises:
        ImgretError: a folder holds files that imgret did not put there, or can't be written.
    """
    recipe = {"dataset": DRAWN, "version": VERSION, "families": families}
    return _make(out, recipe, lambda _scratch: _drawn(families, progress), force=force)


def fetch_dataset(name: str, out: Path, *, progress: Progress | None = None, force: bool = False) -> Catalogue:
    """Download a public dataset as <out>/<label>/<name>.jpg, with some pictures held out as queries.

    Args:
        name: one of `datasets.DATASETS`.
        out: the folder; may be missing or empty.
        progress: called with the photos written so far and their number.
        force: fetch again, also over another dataset, in a folder that imgret made.

    Raises:
        ImgretError: it can't be downloaded, or as for `draw_catalogue`.
    """
    recipe = {"dataset": name, "version": VERSION, "families": None}
    return _make(out, recipe, lambda scratch: fetch_photos(name, scratch, progress), force=force)


def read_truth(folder: Path) -> list[Truth]:
    """What is known of the pictures in a folder of samples or queries, by path.

    Raises:
        ImgretError: imgret made no samples there.
    """
    try:
        with (folder / TRUTH).open(encoding="utf-8", newline="") as file:
            return [Truth(**row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise ImgretError(
            f"{folder} has no {TRUTH}",
            expected="a folder made by `imgret samples`",
            remedy="run `imgret samples` first",
        ) from None
    except TypeError:
        raise ImgretError(
            f"{folder / TRUTH} has other columns",
            expected=", ".join(field.name for field in fields(Truth)),
            remedy="run `imgret samples --force`",
        ) from None


def queries_folder(out: Path) -> Path:
    """Where the queries of a folder of samples are."""
    return out.parent / "queries"


def sample_query(out: Path) -> Path:
    """A picture to ask with, a car where there is one; it is not in the collection.

    Where no samples were made yet, this is where the drawn catalogue will have it.
    """
    folder = queries_folder(out)
    known = read_truth(folder) if (folder / TRUTH).is_file() else []
    there = [truth for truth in known if (folder / truth.path).is_file()]
    if not there:
        return folder / FIRST_QUERY
    first = min(there, key=lambda truth: (truth.path != FIRST_QUERY, not truth.label.startswith("cars"), truth.path))
    return folder / first.path


def _drawn(families: int | None, progress: Progress | None) -> Iterator[Shot]:
    numbered = list(enumerate(designs()))
    if families is not None:
        numbered = numbered[:: max(1, len(numbered) // families)][:families]
    # Threads, because Pillow works without the interpreter's lock and processes would import a caller's __main__.
    pool = ThreadPoolExecutor(min(8, usable_threads()))
    try:
        drawing = [pool.submit(draw_family, design, number) for number, design in numbered]
        for done, family in enumerate(as_completed(drawing), 1):
            yield from family.result()
            if progress:
                progress(done, len(numbered))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make(out: Path, recipe: dict[str, Any], pictures: Callable[[Path], Iterable[Shot]], *, force: bool) -> Catalogue:
    queries = queries_folder(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(out.parent / ".samples.lock"):
            # Both are looked at first, so that a refusal comes before anything is changed.
            complete = [_is_current(folder, recipe, force=force) for folder in (queries, out)]
            current = all(complete)
            if not current:
                scratch = out.parent / ".samples.tmp"
                shutil.rmtree(scratch, ignore_errors=True)
                try:
                    _write(scratch, pictures(scratch / "download"), recipe)
                    _install(scratch / "queries", queries)
                    _install(scratch / "samples", out)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise ImgretError(
            f"The samples can't be written to {out} ({error.strerror or error})",
            remedy="make room there or make it writable, or name another folder with --out",
        ) from error
    truths = read_truth(out)
    return Catalogue(
        folder=out,
        queries=queries,
        n_images=len(truths),
        families=tuple(sorted({truth.family for truth in truths})),
        labels=tuple(sorted({truth.label for truth in truths})),
        drawn=not current,
    )


def _is_current(folder: Path, recipe: dict[str, Any], *, force: bool) -> bool:
    """Whether the folder holds all that the recipe makes.

    Raises:
        ImgretError: it may not be changed.
    """
    if folder.exists() and not folder.is_dir():
        raise ImgretError(f"{folder} is not a folder", remedy="name another one with --out")
    made = _marker(folder)
    if made is None:
        if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise ImgretError(
                f"{folder} holds files that `imgret samples` did not put there",
                expected="a missing or empty folder, or one it made",
                remedy="name another folder with --out (--force works only on folders it made)",
            )
        return False
    if made.get("dataset") != recipe["dataset"] and not force:
        raise ImgretError(
            f"{folder} holds the samples {made.get('dataset')!r}, not {recipe['dataset']!r}",
            remedy="--force replaces them, or name another folder with --out",
        )
    same = all(made.get(key) == value for key, value in recipe.items())
    return same and not force and all((folder / truth.path).is_file() for truth in read_truth(folder))


def _marker(folder: Path) -> dict[str, Any] | None:
    try:
        made = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return made if isinstance(made, dict) and made.get("made_by") == "imgret samples" else None


def _write(scratch: Path, pictures: Iterable[Shot], recipe: dict[str, Any]) -> None:
    known: dict[str, list[Truth]] = {"samples": [], "queries": []}
    for shot in pictures:
        part = "queries" if shot.variant == "query" else "samples"
        path = scratch / part / shot.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shot.data)
        known[part].append(Truth(shot.path, shot.label, shot.family, shot.variant, shot.copy_of))
    for part, truths in known.items():
        folder = scratch / part
        folder.mkdir(exist_ok=True)
        with (folder / TRUTH).open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, [field.name for field in fields(Truth)], lineterminator="\n")
            table.writeheader()
            table.writerows(asdict(truth) for truth in sorted(truths, key=lambda truth: truth.path))
        write_json(folder / MARKER, {"made_by": "imgret samples", **recipe, "images": len(truths)})


def _install(fresh: Path, folder: Path) -> None:
    """Put a finished folder in its place, at once where nothing is there, else file by file, its marker last."""
    if folder.is_dir() and not folder.is_symlink() and _marker(folder) is None:
        shutil.rmtree(folder)  # `_is_current` found nothing in it but hidden files
    if not folder.exists():
        fresh.rename(folder)
        return
    ours = {truth.path for truth in read_truth(folder)} if (folder / TRUTH).is_file() else set()
    new = {truth.path for truth in read_truth(fresh)}
    for path in sorted(new - ours):
        if (folder / path).exists():
            raise ImgretError(
                f"{folder / path} is not from `imgret samples` but has the name of a sample",
                remedy="move it away and run again",
            )
    for path in sorted(new):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (fresh / path).replace(folder / path)
    for path in sorted(ours - new):
        _remove(folder, path)
    for name in (TRUTH, MARKER):
        (fresh / name).replace(folder / name)


def _remove(folder: Path, path: str) -> None:
    if ".." in PurePosixPath(path).parts or PurePosixPath(path).is_absolute():
        return
    (folder / path).unlink(missing_ok=True)
    for parent in PurePosixPath(path).parents:
        place = folder / parent
        if place == folder or not place.is_dir() or any(place.iterdir()):
            return
        place.rmdir()
