"""Folders of sample images: the drawn catalogue, or a public data set.

Belongs here: creating the folder of samples and the folder of queries next to it, completely or not at all, and reading
the ground truth of their images. Not here: the list of images (`catalogue`), drawing (`cars`, `goods`, `household`,
`outdoors`, `scenes`), downloads (`datasets`).
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.storage import locks
from imgret_assets.domain.storage.atomic_files import write_json
from imgret_assets.errors import ImgretError
from imgret_assets.samples.catalogue import SampleImage, designs, draw_family
from imgret_assets.samples.datasets import fetch_images
from imgret_assets.settings import DEFAULT_LOCK_TIMEOUT_S

VERSION = 1
DRAWN = "drawn"
TRUTH = "truth.csv"
MARKER = ".samples.json"
# Of the folder that contains samples and queries; hidden, because it may be the user's.
LOCK = ".samples"
FIRST_QUERY = "ibex.jpg"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Truth:
    """The ground truth of one image.

    Attributes:
        path: POSIX path, relative to its folder.
        label: the folder, as imgret labels it; for a query image, the label that its hits should have.
        family: the product; images of one family show the same product.
        variant: how it was made, such as `studio`, `crop` or `copy`.
        copy_of: path of the image it was made from; empty for an original.
    """

    path: str
    label: str
    family: str
    variant: str
    copy_of: str


@dataclass(frozen=True)
class Catalogue:
    """A folder of sample images.

    Attributes:
        folder: its root.
        queries: folder of query images, outside of the root.
        n_images: number of images in the root.
        families: names of the products, sorted.
        labels: labels of the images, sorted.
        drawn: False if everything existed already.
    """

    folder: Path
    queries: Path
    n_images: int
    families: tuple[str, ...]
    labels: tuple[str, ...]
    drawn: bool


def draw_catalogue(
    out: Path,
    *,
    progress: Progress | None = None,
    force: bool = False,
    families: int | None = None,
    lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
) -> Catalogue:
    """Draw the catalogue into a folder and the queries into the folder `queries` next to it, unless they exist.

    Images that were removed are drawn again. Other files in a folder that imgret made are kept.

    Args:
        out: the folder; it may be missing or empty.
        progress: called with the number of products drawn so far and in total.
        force: draw again, also over another data set, in a folder that imgret made.
        families: draw only this number of products, spread over the catalogue.
        lock_timeout_s: how long to wait for another process that makes samples in the same place, in seconds.

    Raises:
        ImgretError: a folder contains files that imgret did not create, or cannot be written.
        LockTimeoutError: another process makes samples there for longer; names it.
    """
    recipe = {"dataset": DRAWN, "version": VERSION, "families": families}
    return _make(
        out, recipe, lambda _scratch: drawn_images(families, progress), force=force, lock_timeout_s=lock_timeout_s
    )


def fetch_dataset(
    name: str,
    out: Path,
    *,
    progress: Progress | None = None,
    force: bool = False,
    lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
) -> Catalogue:
    """Download a public data set as <out>/<label>/<name>.jpg; some images become queries instead.

    Args:
        name: one of `datasets.DATASETS`.
        out: the folder; it may be missing or empty.
        progress: called with the number of images written so far and in total.
        force: download again, also over another data set, in a folder that imgret made.
        lock_timeout_s: as for `draw_catalogue`.

    Raises:
        ImgretError: it cannot be downloaded, or as for `draw_catalogue`.
    """
    recipe = {"dataset": name, "version": VERSION, "families": None}
    return _make(
        out,
        recipe,
        lambda scratch: fetch_images(name, scratch, progress),
        force=force,
        lock_timeout_s=lock_timeout_s,
    )


def read_truth(folder: Path) -> list[Truth]:
    """Return the ground truth of a folder of samples or queries, by path.

    Raises:
        ImgretError: imgret did not make the folder.
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
    """Return the folder of query images that belongs to a folder of samples."""
    return out.parent / "queries"


def sample_query(out: Path) -> Path:
    """Return the path of a query image that is not in the collection; a car if there is one.

    Before any samples are made, it is the path at which the drawn catalogue will have that image.
    """
    folder = queries_folder(out)
    truths = read_truth(folder) if (folder / TRUTH).is_file() else []
    existing = [truth for truth in truths if (folder / truth.path).is_file()]
    if not existing:
        return folder / FIRST_QUERY
    first = min(existing, key=lambda truth: (truth.path != FIRST_QUERY, not truth.label.startswith("cars"), truth.path))
    return folder / first.path


def drawn_images(families: int | None, progress: Progress | None) -> Iterator[SampleImage]:
    """Draw the images of the catalogue, or of `families` products; yield them in the order in which they are ready."""
    numbered = list(enumerate(designs()))
    if families is not None:
        numbered = numbered[:: max(1, len(numbered) // families)][:families]
    # Threads, because Pillow releases the interpreter's lock and processes would import the __main__ of the caller.
    pool = ThreadPoolExecutor(min(8, usable_threads()))
    try:
        tasks = [pool.submit(draw_family, design, number) for number, design in numbered]
        for done, family in enumerate(as_completed(tasks), 1):
            yield from family.result()
            if progress:
                progress(done, len(numbered))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make(
    out: Path,
    recipe: dict[str, Any],
    draw: Callable[[Path], Iterable[SampleImage]],
    *,
    force: bool,
    lock_timeout_s: float,
) -> Catalogue:
    queries = queries_folder(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with locks.hold(out.parent, [LOCK], timeout_s=lock_timeout_s, purpose="making samples"):
            # Both are checked first, so that an error comes before any change.
            complete = [_is_current(folder, recipe, force=force) for folder in (queries, out)]
            current = all(complete)
            if not current:
                scratch = out.parent / ".samples.tmp"
                shutil.rmtree(scratch, ignore_errors=True)
                try:
                    _write(scratch, draw(scratch / "download"), recipe)
                    _install(scratch / "queries", queries)
                    _install(scratch / "samples", out)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise ImgretError(
            f"The samples cannot be written to {out} ({error.strerror or error})",
            remedy="free some space or make the folder writable, or choose another folder with --out",
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
    """Return True if the folder contains everything that the recipe makes.

    Raises:
        ImgretError: the folder must not be changed.
    """
    if folder.exists() and not folder.is_dir():
        raise ImgretError(f"{folder} is not a folder", remedy="choose another folder with --out")
    marker = _read_marker(folder)
    if marker is None:
        if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise ImgretError(
                f"{folder} contains files that `imgret samples` did not create",
                expected="a missing or empty folder, or one that it made",
                remedy="choose another folder with --out (--force works only on folders that it made)",
            )
        return False
    if marker.get("dataset") != recipe["dataset"] and not force:
        raise ImgretError(
            f"{folder} contains the samples {marker.get('dataset')!r}, not {recipe['dataset']!r}",
            remedy="replace them with --force, or choose another folder with --out",
        )
    is_same = all(marker.get(key) == value for key, value in recipe.items())
    return is_same and not force and all((folder / truth.path).is_file() for truth in read_truth(folder))


def _read_marker(folder: Path) -> dict[str, Any] | None:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return marker if isinstance(marker, dict) and marker.get("made_by") == "imgret samples" else None


def _write(scratch: Path, images: Iterable[SampleImage], recipe: dict[str, Any]) -> None:
    truths_of: dict[str, list[Truth]] = {"samples": [], "queries": []}
    for image in images:
        part = "queries" if image.variant == "query" else "samples"
        path = scratch / part / image.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.data)
        truths_of[part].append(Truth(image.path, image.label, image.family, image.variant, image.copy_of))
    for part, truths in truths_of.items():
        folder = scratch / part
        folder.mkdir(exist_ok=True)
        with (folder / TRUTH).open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, [field.name for field in fields(Truth)], lineterminator="\n")
            table.writeheader()
            table.writerows(asdict(truth) for truth in sorted(truths, key=lambda truth: truth.path))
        write_json(folder / MARKER, {"made_by": "imgret samples", **recipe, "images": len(truths)})


def _install(source: Path, folder: Path) -> None:
    """Move a finished folder to its place: as a whole if nothing exists there, else file by file, its marker last."""
    if folder.is_dir() and not folder.is_symlink() and _read_marker(folder) is None:
        shutil.rmtree(folder)  # `_is_current` has checked that it contains only hidden files
    if not folder.exists():
        source.rename(folder)
        return
    old_paths = {truth.path for truth in read_truth(folder)} if (folder / TRUTH).is_file() else set()
    new_paths = {truth.path for truth in read_truth(source)}
    for path in sorted(new_paths - old_paths):
        if (folder / path).exists():
            raise ImgretError(
                f"{folder / path} was not made by `imgret samples` but has the name of a sample",
                remedy="move it to another folder and run again",
            )
    for path in sorted(new_paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).replace(folder / path)
    for path in sorted(old_paths - new_paths):
        _remove(folder, path)
    for name in (TRUTH, MARKER):
        (source / name).replace(folder / name)


def _remove(folder: Path, path: str) -> None:
    if ".." in PurePosixPath(path).parts or PurePosixPath(path).is_absolute():
        return
    (folder / path).unlink(missing_ok=True)
    for parent in PurePosixPath(path).parents:
        subfolder = folder / parent
        if subfolder == folder or not subfolder.is_dir() or any(subfolder.iterdir()):
            return
        subfolder.rmdir()
