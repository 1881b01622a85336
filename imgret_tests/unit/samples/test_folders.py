"""Folders of sample images: complete or not created, other files kept, the ground truth."""

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from imgret_assets.errors import ImgretError
from imgret_assets.samples import folders
from imgret_assets.samples.catalogue import SampleImage
from imgret_assets.samples.folders import draw_catalogue, queries_folder, read_truth, sample_query
from imgret_tests.unit.samples.conftest import file_hashes, image_bytes, small_images


def test_drawn_images_are_the_same_every_time_and_match_their_truth(tmp_path: Path) -> None:
    made = draw_catalogue(tmp_path / "a" / "samples", families=2)
    again = draw_catalogue(tmp_path / "b" / "samples", families=2)
    assert made.drawn
    assert len(made.families) == 2
    assert file_hashes(made.folder.parent) == file_hashes(again.folder.parent)
    truths = read_truth(made.folder)
    assert made.n_images == len(truths) >= 12
    for truth in truths:
        assert truth.path.rpartition("/")[0] == truth.label
        with Image.open(made.folder / truth.path) as image:
            assert 400 <= image.width <= 640
            assert 300 <= image.height <= 480
            image.load()
    assert {truth.copy_of for truth in truths} - {""} <= {truth.path for truth in truths}


def test_a_second_call_does_nothing(small_catalogue: None, tmp_path: Path) -> None:
    progress_calls: list[tuple[int, int]] = []
    assert draw_catalogue(tmp_path / "samples", progress=lambda done, total: progress_calls.append((done, total))).drawn
    assert progress_calls[-1] == (4, 4)
    stat_before = (tmp_path / "samples" / "cars/bus/whale-0.png").stat()
    again = draw_catalogue(tmp_path / "samples", progress=lambda done, total: progress_calls.append((done, total)))
    assert not again.drawn
    assert again.n_images == 4
    assert len(progress_calls) == 4
    assert (tmp_path / "samples" / "cars/bus/whale-0.png").stat() == stat_before


def test_queries_are_outside_of_the_collection(small_catalogue: None, tmp_path: Path) -> None:
    out = draw_catalogue(tmp_path / "samples").folder
    query = sample_query(out)
    assert query == tmp_path / "queries" / "whale.png"
    assert query.is_file()
    assert [truth.label for truth in read_truth(queries_folder(out))] == ["cars/bus"]
    assert file_hashes(query.parent)[query.name] not in file_hashes(out).values()


def test_the_path_of_a_query_before_samples_exist(tmp_path: Path) -> None:
    assert sample_query(tmp_path / "samples") == tmp_path / "queries" / folders.FIRST_QUERY


def test_removed_images_are_drawn_again_and_other_files_are_kept(small_catalogue: None, tmp_path: Path) -> None:
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
def test_a_folder_with_other_files_is_never_changed(
    small_catalogue: None, tmp_path: Path, folder: str, force: bool
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(ImgretError, match=rf"{folder} contains files .* did not create.*--out"):
        draw_catalogue(tmp_path / "samples", force=force)
    assert file_hashes(tmp_path) == {f"{folder}/holiday.jpg": hashlib.sha256(b"precious").hexdigest()}


def test_a_file_in_place_of_the_folder_is_an_error(small_catalogue: None, tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("x")
    with pytest.raises(ImgretError, match="is not a folder"):
        draw_catalogue(tmp_path / "samples")


def test_an_empty_folder_is_filled(small_catalogue: None, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / ".DS_Store").write_bytes(b"")
    assert draw_catalogue(tmp_path / "samples").drawn
    assert (tmp_path / "samples" / "truth.csv").is_file()


def test_interrupted_drawing_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(families: int | None, progress: object) -> Iterator[SampleImage]:
        yield next(small_images(families, None))
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "drawn_images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_catalogue(tmp_path / "samples")
    assert file_hashes(tmp_path) == {}
    assert not (tmp_path / "samples").exists()


def test_files_of_a_killed_run_are_removed(small_catalogue: None, tmp_path: Path) -> None:
    leftover = tmp_path / ".samples.tmp" / "samples"
    leftover.mkdir(parents=True)
    (leftover / "half.png").write_bytes(b"half")
    out = draw_catalogue(tmp_path / "samples").folder
    assert not (out / "half.png").exists()
    assert not leftover.parent.exists()


def test_another_version_replaces_the_old_images(
    small_catalogue: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = draw_catalogue(tmp_path / "samples").folder

    def newer(families: int | None, progress: object) -> Iterator[SampleImage]:
        yield SampleImage("mugs/tea-1.png", "mugs", "tea", "v", "", image_bytes((1, 2, 3)))
        yield SampleImage("tea.png", "mugs", "tea", "query", "", image_bytes((3, 2, 1)))

    monkeypatch.setattr(folders, "drawn_images", newer)
    monkeypatch.setattr(folders, "VERSION", folders.VERSION + 1)
    assert draw_catalogue(out).labels == ("mugs",)
    assert sorted(file_hashes(out)) == [".samples.json", "mugs/tea-1.png", "truth.csv"]
    assert not (out / "cars").exists()


def test_another_file_with_the_name_of_a_sample_is_an_error(
    small_catalogue: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = draw_catalogue(tmp_path / "samples").folder
    (out / "new.png").write_bytes(b"mine")

    def newer(families: int | None, progress: object) -> Iterator[SampleImage]:
        yield SampleImage("new.png", "", "new", "v", "", image_bytes((1, 2, 3)))

    monkeypatch.setattr(folders, "drawn_images", newer)
    with pytest.raises(ImgretError, match=r"new\.png was not made by .*move it"):
        draw_catalogue(out, force=True)
    assert (out / "new.png").read_bytes() == b"mine"


def test_a_path_outside_of_the_folder_in_truth_csv_is_not_removed(small_catalogue: None, tmp_path: Path) -> None:
    out = draw_catalogue(tmp_path / "samples").folder
    (tmp_path / "precious.png").write_bytes(b"precious")
    with (out / "truth.csv").open("a", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow(["../precious.png", "x", "x", "x", ""])
    draw_catalogue(out, force=True)
    assert (tmp_path / "precious.png").read_bytes() == b"precious"


def test_the_truth_of_a_folder_without_samples_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ImgretError, match="run `imgret samples` first"):
        read_truth(tmp_path)
    (tmp_path / "truth.csv").write_text("path,colour,a,b,c\nx,y,1,2,3\n")
    with pytest.raises(ImgretError, match="has other columns"):
        read_truth(tmp_path)
