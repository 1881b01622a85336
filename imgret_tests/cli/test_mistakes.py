"""Mistakes of a command line: found before anything is made or started, one line each, with the nearest known name."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from imgret_assets.cli.main import imgret, run_command
from imgret_assets.cli.support import checks_before_run
from imgret_assets.defs import execute_refresh
from imgret_assets.domain.neo4j_server import lifecycle
from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import load_settings
from imgret_tests.cli.conftest import Library
from imgret_tests.support.photos import ORIGINAL


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        pytest.fail("something was started")

    monkeypatch.setattr(execute_refresh, "refresh", started)
    monkeypatch.setattr(lifecycle, "ensure_running", started)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "resnet5"], "There is no model 'resnet5'; did you mean resnet50? Expected: resnet50 or "),
        (["--beside", "eficientnet_lite0"], "did you mean efficientnet_lite0? "),
        (["--model", "resnet50", "--weights", "no.pth"], "no.pth does not exist. "),
        (["--threshold", "8"], "--threshold is 8.0. Expected: a cosine from -1 to 1. "),
        (["--images", "PICTURS"], "/picturs does not exist; did you mean pictures? "),
        (["--images", "a=PICTURS", "--images", "b=s3://id:key@pics/x"], "has a login in place of a bucket's name"),
    ],
)
def test_a_run_s_mistake_is_one_line_and_makes_no_home(
    tmp_path: Path, images: Path, options: list[str], message: str
) -> None:
    home = tmp_path / "home"
    words = [word.replace("PICTURS", str(tmp_path / "picturs")) for word in options]
    folder = [] if "--images" in options else ["--images", str(images)]
    with pytest.raises(ImgretError) as caught:
        CliRunner().invoke(
            imgret,
            ["run", "--home", str(home), *folder, *words],
            standalone_mode=False,
            catch_exceptions=False,
        )
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not home.exists()


def test_a_model_that_timm_does_not_have_is_found_before_the_run(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timm.list_models", lambda: ["resnet18", "convnext_tiny"])
    settings = load_settings({"home": tmp_path / "home", "images": images, "model": "timm:resnet81"})
    with pytest.raises(ImgretError, match=r"timm has no model 'resnet81'; did you mean timm:resnet18\?"):
        checks_before_run.check_before_run(settings)
    for known in ("timm:resnet18", "timm:convnext_tiny.fb_in22k"):
        checks_before_run.check_before_run(load_settings({"images": images, "home": tmp_path, "model": known}))


def test_a_query_s_folder_is_checked_before_a_database_starts(library: Library) -> None:
    with pytest.raises(ImgretError, match=r"The library has no folder 'famly1'; did you mean family1\? Expected: "):
        library.run("query", ORIGINAL, "--folder", "famly1")
    with pytest.raises(ImgretError, match=r"The library has no folder 'nowhere'\. Expected: "):
        library.run("query", ORIGINAL, "--folder", library.root / "nowhere")
    with pytest.raises(ImgretError, match=r"folder is '\.'\. Expected: "):
        library.run("query", ORIGINAL, "--folder", library.root)


@pytest.mark.parametrize(
    "words",
    [
        *(["query", "a.jpg"], ["duplicates"], ["groups"], ["review"], ["export", "out"], ["explain", "a.jpg", "b.jpg"]),
        *(["app"], ["dev"], ["models"], ["models", "compare"], ["models", "centre"], ["gc"], ["doctor"]),
        *(["db", "start"], ["db", "stop"], ["db", "status"], ["db", "browse"], ["db", "shell"], ["db", "adopt"]),
        *(["reshard", "8"], ["run"]),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_a_home_makes_none_and_names_the_one_beside(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_home(load_settings({"home": tmp_path / "my-home"}))
    assert run_command([*words, "--home", str(tmp_path / "my-hone")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"There is no home in {tmp_path / 'my-hone'}; did you mean my-home? What to do: correct --home" in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["my-home"]


def test_the_page_and_the_database_may_start_before_the_first_run(tmp_path: Path) -> None:
    done = CliRunner().invoke(imgret, ["db", "status"], env={"IMGRET_HOME": str(tmp_path / "home")})
    assert (done.exit_code, done.stdout) == (0, f"Neo4j is not running. Home: {tmp_path / 'home'}\n")


@pytest.mark.parametrize(("word", "nearest"), [("querry", "query"), ("holidys", "holidays")])
def test_a_mistyped_command_or_folder_is_answered_with_the_nearest(
    tmp_path: Path, word: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holidays").mkdir()
    with pytest.raises(click.UsageError, match=rf"No such command '{word}'; did you mean {nearest}\?"):
        CliRunner().invoke(imgret, [word], standalone_mode=False, catch_exceptions=False)
