"""`imgret samples`, with a drawn catalogue of two images."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from imgret_assets.cli.samples import samples as command
from imgret_assets.errors import ImgretError
from imgret_assets.samples import folders
from imgret_assets.samples.catalogue import SampleImage


@pytest.fixture(autouse=True)
def _two_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.new("RGB", (8, 6)).save(data, "PNG")

    def drawn(families: int | None, progress: object) -> Iterator[SampleImage]:
        assert progress is None  # stderr of the runner is not a terminal
        yield SampleImage("cars/bus/whale.png", "cars/bus", "whale", "studio", "", data.getvalue())
        yield SampleImage("whale.png", "cars/bus", "whale", "query", "", data.getvalue())

    monkeypatch.setattr(folders, "drawn_images", drawn)
    monkeypatch.setenv("IMGRET_ENV_FILE", os.devnull)


def test_samples_are_written_to_the_home_with_one_line_of_output(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--home", str(tmp_path / "home")], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stderr == ""
    assert done.stdout.startswith("1 image of 1 family under 1 label in ")
    assert len(done.stdout.splitlines()) == 1
    assert (tmp_path / "home/samples/cars/bus/whale.png").is_file()
    assert (tmp_path / "home/queries/whale.png").is_file()


def test_a_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path / "images")]
    CliRunner().invoke(command, arguments, catch_exceptions=False)
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.startswith("Nothing to do")


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(ImgretError, match="did not create"):
        CliRunner().invoke(command, ["--out", str(tmp_path), "--force"], catch_exceptions=False)


def test_an_unknown_dataset_is_wrong_use(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--out", str(tmp_path / "x"), "--dataset", "imagenet"])
    assert done.exit_code == 2
    assert "caltech101" in done.stderr
