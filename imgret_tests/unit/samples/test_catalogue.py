import csv
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from imgret_assets.errors import ImgretError, SettingError
from imgret_assets.samples import folders as samples
from imgret_assets.samples.catalogue import Shot, designs, draw_family
from imgret_assets.samples.folders import draw_catalogue, fetch_dataset, queries_folder, read_truth, sample_query


def _picture(colour: tuple[int, int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(data, "PNG")
    return data.getvalue()


def _few_shots(families: int | None, progress: Callable[[int, int], None] | None) -> Iterator[Shot]:
    """The drawing, replaced where a test is about folders: four small pictures and a query."""
    del families
    for i in range(4):
        yield Shot(f"cars/bus/whale-{i}.png", "cars/bus", "whale", f"v{i}", "", _picture((i, 0, 0)))
        if progress:
            progress(i + 1, 4)
    yield Shot("whale.png", "cars/bus", "whale", "query", "", _picture((9, 9, 9)))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_drawn", _few_shots)


def _files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_drawn_pictures_are_the_same_every_time_and_match_their_truth(tmp_path: Path) -> None:
    made = draw_catalogue(tmp_path / "a" / "samples", families=2)
    again = draw_catalogue(tmp_path / "b" / "samples", families=2)
    assert made.drawn
    assert len(made.families) == 2
    assert _files(made.folder.parent) == _files(again.folder.parent)
    truths = read_truth(made.folder)
    assert made.n_images == len(truths) >= 12
    for truth in truths:
        assert truth.path.rpartition("/")[0] == truth.label
        with Image.open(made.folder / truth.path) as image:
            assert 400 <= image.width <= 640
            assert 300 <= image.height <= 480
            image.load()
    assert {truth.copy_of for truth in truths} - {""} <= {truth.path for truth in truths}


def test_the_catalogue_has_what_its_users_count_on() -> None:
    known = designs()
    assert len({design.name for design in known}) == len(known) >= 40
    assert all(design.label.startswith("cars/") for design in known[:16])
    assert len({design.label for design in known}) >= 20


def test_a_family_has_its_variants_and_exact_copies_are_exact() -> None:
    number = 3  # of those with a copy among the new arrivals
    shots = {shot.path: shot for shot in draw_family(designs()[number], number)}
    variants = {shot.variant for shot in shots.values()}
    assert variants >= {"studio", "plain", "colour", "angle", "scene-1", "scene-2", "crop", "copy"}
    copies = [shot for shot in shots.values() if shot.variant == "copy"]
    assert [shot.label for shot in copies] == ["new-arrivals"]
    assert all(shot.data == shots[shot.copy_of].data for shot in copies)
    originals = [shot.data for shot in shots.values() if shot.variant != "copy"]
    assert len(set(originals)) == len(originals)


def test_a_second_call_does_nothing(few: None, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert draw_catalogue(tmp_path / "samples", progress=lambda done, total: seen.append((done, total))).drawn
    assert seen[-1] == (4, 4)
    before = (tmp_path / "samples" / "cars/bus/whale-0.png").stat()
    again = draw_catalogue(tmp_path / "samples", progress=lambda done, total: seen.append((done, total)))
    assert not again.drawn
    assert again.n_images == 4
    assert len(seen) == 4
    assert (tmp_path / "samples" / "cars/bus/whale-0.png").stat() == before


def test_queries_lie_outside_of_the_collection(few: None, tmp_path: Path) -> None:
    out = draw_catalogue(tmp_path / "samples").folder
    query = sample_query(out)
    assert query == tmp_path / "queries" / "whale.png"
    assert query.is_file()
    assert [truth.label for truth in read_truth(queries_folder(out))] == ["cars/bus"]
    assert _files(query.parent)[query.name] not in _files(out).values()


def test_a_query_has_a_place_before_there_are_samples(tmp_path: Path) -> None:
    assert sample_query(tmp_path / "samples") == tmp_path / "queries" / samples.FIRST_QUERY


def test_removed_pictures_come_back_and_foreign_files_stay(few: None, tmp_path: Path) -> None:
    out = draw_catalogue(tmp_path / "samples").folder
    (out / "cars/bus/whale-2.png").unlink()
    (out / "mine.png").write_bytes(b"mine")
    assert draw_catalogue(out).drawn
    assert (out / "cars/bus/whale-2.png").is_file()
    assert (out / "mine.png").read_bytes() == b"mine"
    assert draw_catalogue(out, force=True).drawn
    assert (out / "mine.png").read_bytes() == b"mine"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("folder", ["samples", "queries"])
def test_a_folder_of_others_is_never_touched(few: None, tmp_path: Path, folder: str, force: bool) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(ImgretError, match=rf"{folder} holds files .* did not put there.*--out"):
        draw_catalogue(tmp_path / "samples", force=force)
    assert _files(tmp_path) == {f"{folder}/holiday.jpg": hashlib.sha256(b"precious").hexdigest()}


def test_a_file_in_the_place_of_the_folder_is_named(few: None, tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("x")
    with pytest.raises(ImgretError, match="is not a folder"):
        draw_catalogue(tmp_path / "samples")


def test_an_empty_folder_is_filled(few: None, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / ".DS_Store").write_bytes(b"")
    assert draw_catalogue(tmp_path / "samples").drawn
    assert (tmp_path / "samples" / "truth.csv").is_file()


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(families: int | None, progress: object) -> Iterator[Shot]:
        yield next(_few_shots(families, None))
        raise KeyboardInterrupt

    monkeypatch.setattr(samples, "_drawn", broken)
    with pytest.raises(KeyboardInterrupt):
        draw_catalogue(tmp_path / "samples")
    assert _files(tmp_path) == {}
    assert not (tmp_path / "samples").exists()


def test_what_a_killed_run_left_is_cleaned_up(few: None, tmp_path: Path) -> None:
    leftover = tmp_path / ".samples.tmp" / "samples"
    leftover.mkdir(parents=True)
    (leftover / "half.png").write_bytes(b"half")
    out = draw_catalogue(tmp_path / "samples").folder
    assert not (out / "half.png").exists()
    assert not leftover.parent.exists()


def test_another_version_is_replaced_and_its_old_pictures_go(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = draw_catalogue(tmp_path / "samples").folder

    def newer(families: int | None, progress: object) -> Iterator[Shot]:
        yield Shot("mugs/tea-1.png", "mugs", "tea", "v", "", _picture((1, 2, 3)))
        yield Shot("tea.png", "mugs", "tea", "query", "", _picture((3, 2, 1)))

    monkeypatch.setattr(samples, "_drawn", newer)
    monkeypatch.setattr(samples, "VERSION", samples.VERSION + 1)
    assert draw_catalogue(out).labels == ("mugs",)
    assert sorted(_files(out)) == [".samples.json", "mugs/tea-1.png", "truth.csv"]
    assert not (out / "cars").exists()


def test_a_foreign_file_with_a_samples_name_stops_the_update(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = draw_catalogue(tmp_path / "samples").folder
    (out / "new.png").write_bytes(b"mine")

    def newer(families: int | None, progress: object) -> Iterator[Shot]:
        yield Shot("new.png", "", "new", "v", "", _picture((1, 2, 3)))

    monkeypatch.setattr(samples, "_drawn", newer)
    with pytest.raises(ImgretError, match=r"new\.png is not from .*move it away"):
        draw_catalogue(out, force=True)
    assert (out / "new.png").read_bytes() == b"mine"


def test_a_path_in_a_tampered_truth_removes_nothing_outside(few: None, tmp_path: Path) -> None:
    out = draw_catalogue(tmp_path / "samples").folder
    (tmp_path / "precious.png").write_bytes(b"precious")
    with (out / "truth.csv").open("a", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow(["../precious.png", "x", "x", "x", ""])
    draw_catalogue(out, force=True)
    assert (tmp_path / "precious.png").read_bytes() == b"precious"


def test_truth_of_a_folder_without_samples_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ImgretError, match="run `imgret samples` first"):
        read_truth(tmp_path)
    (tmp_path / "truth.csv").write_text("path,colour,a,b,c\nx,y,1,2,3\n")
    with pytest.raises(ImgretError, match="has other columns"):
        read_truth(tmp_path)


class _FakePets:
    """torchvision's OxfordIIITPet, at its edge: classes, length, (picture, class number)."""

    classes = ("Maine Coon", "Pug")

    def __init__(self, root: str, *, split: str, download: bool) -> None:
        assert download
        Path(root, "archive.tar").write_bytes(b"big")
        self.numbers = {"trainval": [0, 0, 1], "test": [1, 0]}[split]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        return Image.new("L", (20, 10), 40 * i), self.numbers[i]


def _fake_torchvision(monkeypatch: pytest.MonkeyPatch, **classes: object) -> None:
    package, datasets = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    for name, value in classes.items():
        setattr(datasets, name, value)
    package.datasets = datasets  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)


def test_a_dataset_is_laid_out_by_its_classes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake_torchvision(monkeypatch, OxfordIIITPet=_FakePets)
    made = fetch_dataset("oxford-iiit-pet", tmp_path / "samples")
    assert [truth.path for truth in read_truth(made.folder)] == [
        "maine-coon/maine-coon-0002.jpg",
        "maine-coon/maine-coon-0003.jpg",
        "pug/pug-0002.jpg",
    ]
    assert sorted(truth.path for truth in read_truth(made.queries)) == ["maine-coon.jpg", "pug.jpg"]
    assert json.loads((made.folder / ".samples.json").read_text())["dataset"] == "oxford-iiit-pet"
    assert not list(tmp_path.rglob("archive.tar"))
    assert not fetch_dataset("oxford-iiit-pet", tmp_path / "samples").drawn


def test_another_dataset_needs_force(few: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake_torchvision(monkeypatch, OxfordIIITPet=_FakePets)
    out = draw_catalogue(tmp_path / "samples").folder
    with pytest.raises(ImgretError, match=r"holds the samples 'drawn'.*--force"):
        fetch_dataset("oxford-iiit-pet", out)
    assert fetch_dataset("oxford-iiit-pet", out, force=True).labels == ("maine-coon", "pug")
    assert not (out / "cars").exists()


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (OSError("no route"), r"can't be downloaded \(OSError: no route\).*drawn samples"),
        (RuntimeError("File not found or corrupted."), r"can't be downloaded \(RuntimeError"),
        (ModuleNotFoundError("No module named 'gdown'"), r"needs a package.*gdown"),
    ],
)
def test_a_download_that_fails_says_so_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: Exception, message: str
) -> None:
    import socket

    limits: list[float | None] = []

    def unreachable(root: str, *, download: bool) -> None:
        limits.append(socket.getdefaulttimeout())
        raise failure

    _fake_torchvision(monkeypatch, Caltech101=unreachable)
    before = socket.getdefaulttimeout()
    with pytest.raises(ImgretError, match=message):
        fetch_dataset("caltech101", tmp_path / "samples")
    assert limits == [30.0]
    assert socket.getdefaulttimeout() == before
    assert _files(tmp_path) == {}


def test_an_unknown_dataset_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="caltech101"):
        fetch_dataset("imagenet", tmp_path / "samples")
