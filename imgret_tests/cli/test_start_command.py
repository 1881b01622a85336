"""`imgret FOLDER`: the steps, the end of its output, and what stands for a folder."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from imgret_assets.cli import app, start
from imgret_assets.cli.main import imgret
from imgret_assets.domain.operations.run_totals import Totals
from imgret_assets.image_roots import ImageRoots
from imgret_assets.locations import program
from imgret_assets.settings import Settings

TOTALS = Totals(images=3, usable=2, embedded=2, nodes=2, pairs=1, relationships=1, model="fake-00000000", seconds=1.0)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record the refresh and the start of the page, and do neither."""
    done: list[object] = []

    def refresh(settings: Settings, **_: object) -> Totals:
        done.append(("refresh", settings.images))
        return TOTALS

    def start_page(settings: Settings, port: int, *, open_browser: bool) -> None:
        done.append(("page", settings.home, open_browser))

    monkeypatch.setattr(start, "refresh_with_progress", refresh)
    monkeypatch.setattr(start, "start_page", start_page)
    return done


def imgret_with(*words: str | Path) -> Result:
    return CliRunner().invoke(imgret, [str(word) for word in words], standalone_mode=False, catch_exceptions=False)


def test_a_folder_in_the_place_of_a_command_is_refreshed_and_its_page_opened(
    steps: list[object], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    done = imgret_with(tmp_path / "photos", "--home", tmp_path / "my home")
    assert steps == [("refresh", ImageRoots.plain(tmp_path / "photos")), ("page", tmp_path / "my home", True)]
    first, heading, *commands = done.stdout.splitlines()
    assert first == TOTALS.summary
    assert heading == "Next steps"
    assert [line.split()[0] for line in commands] == [program()] * 3
    assert all(f"--home '{tmp_path / 'my home'}'" in line for line in commands)


def test_a_folder_beside_is_found_by_its_name_and_a_command_comes_first(
    steps: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "models"):
        (tmp_path / name).mkdir()
    imgret_with("photos", "--no-open", "--home", "h")
    assert steps == [("refresh", ImageRoots.plain(tmp_path / "photos")), ("page", tmp_path / "h", False)]
    context = click.Context(imgret)
    assert imgret.resolve_command(context, ["models"])[0] == "models"
    assert imgret.resolve_command(context, ["./models"])[0] == "start"


def test_a_word_that_is_no_folder_is_no_command(steps: list[object]) -> None:
    with pytest.raises(click.UsageError, match="querry"):
        imgret_with("querry")
    assert steps == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, False),
    ],
)
def test_a_browser_is_opened_only_where_there_is_a_display(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: bool
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert app.has_display() is expected
