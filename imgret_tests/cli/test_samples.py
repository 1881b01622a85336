"""`imgret samples`, with a drawn catalogue of two images."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from imgret_assets.cli.samples import samples as command
from imgret_assets.errors import ImgretError, LockTimeoutError
from imgret_assets.samples import folders
from imgret_assets.samples.catalogue import SampleImage
from imgret_tests.support.processes import Process

HOLD_SAMPLES = """
from pathlib import Path
from imgret_assets.samples import folders
from imgret_assets.samples.catalogue import SampleImage

def draw(families, progress):
    say("holds")
    wait()
    yield from ()

folders.drawn_images = draw
folders.draw_catalogue(Path(sys.argv[1]) / "samples")
"""


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


def test_a_second_process_waits_as_long_as_set_and_names_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("IMGRET_LOCK_TIMEOUT_S", "1.5")
    with Process(HOLD_SAMPLES, [tmp_path]) as first:
        assert first.hear() == "holds"
        done = CliRunner().invoke(command, ["--out", str(tmp_path / "samples")])
    assert isinstance(done.exception, LockTimeoutError)
    assert f"held by process {first.popen.pid} (-c, making samples, for" in str(done.exception)
    assert "was not freed within 1.5 s" in str(done.exception)
    assert f"Waiting for .samples, held by process {first.popen.pid}" in caplog.text
    # The first is gone, however it ended.
    assert CliRunner().invoke(command, ["--out", str(tmp_path / "samples")]).exit_code == 0


def test_an_unknown_dataset_is_wrong_use(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--out", str(tmp_path / "x"), "--dataset", "imagenet"])
    assert done.exit_code == 2
    assert "caltech101" in done.stderr
