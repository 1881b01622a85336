"""`imgret setup`: what it makes, what it leaves alone, where its choice of a model is kept."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from imgret_assets import locations
from imgret_assets.cli.main import imgret
from imgret_assets.domain.models import default_model
from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import ModelError
from imgret_assets.samples import folders
from imgret_assets.settings import load_settings


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights on this machine, no network, an empty project folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no weights"))
    monkeypatch.delenv("IMGRET_ENV_FILE", raising=False)
    monkeypatch.setattr(locations, "PROJECT", tmp_path / "project")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").write_text('[project]\nname = "imgret"\n')

    def refused() -> Path:
        raise ModelError("There is no network")

    monkeypatch.setattr(default_model, "fetch_resnet50", refused)


def run_setup(home: Path) -> Result:
    words = ["setup", "--skip-server", "--skip-samples", "--home", str(home)]
    return CliRunner().invoke(imgret, words, standalone_mode=False, catch_exceptions=False)


def test_the_chosen_model_is_kept_in_the_home_and_no_env_file_is_written(tmp_path: Path) -> None:
    done = run_setup(tmp_path / "home")
    assert done.stdout == (
        f"Ready: model efficientnet_lite0, home {tmp_path / 'home'}, images {tmp_path / 'home' / 'samples'}.\n"
    )
    assert done.stderr.startswith("imgret: There is no network. ")
    assert [file.name for file in (tmp_path / "project").iterdir()] == ["pyproject.toml"]
    assert open_home(load_settings({"home": tmp_path / "home"})).model == "efficientnet_lite0"
    # A setting wins over the choice of set-up.
    assert open_home(load_settings({"home": tmp_path / "home", "model": "resnet50"})).model == "resnet50"


def test_a_second_set_up_changes_nothing(tmp_path: Path) -> None:
    first = run_setup(tmp_path / "home")
    record = (tmp_path / "home" / "home.json").read_text()
    second = run_setup(tmp_path / "home")
    assert second.stdout == first.stdout
    assert second.stderr == ""
    assert (tmp_path / "home" / "home.json").read_text() == record


def test_the_model_of_an_older_set_up_s_env_file_counts_and_the_file_stays(tmp_path: Path) -> None:
    dotenv = tmp_path / "project" / ".env"
    dotenv.write_text("IMGRET_MODEL=timm:resnet18\n")
    assert run_setup(tmp_path / "home").stdout.startswith("Ready: model timm:resnet18, ")
    assert dotenv.read_text() == "IMGRET_MODEL=timm:resnet18\n"


@pytest.mark.parametrize(("words", "drawn"), [([], False), (["--samples"], True), (["--skip-samples"], False)])
def test_with_images_of_its_own_a_home_gets_samples_only_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], drawn: bool
) -> None:
    """The query job and the page offer the sample queries of the home, in containers too, where images are mounted."""
    (tmp_path / "images").mkdir()
    monkeypatch.setenv("IMGRET_IMAGES", str(tmp_path / "images"))
    folders_drawn: list[Path] = []
    monkeypatch.setattr(folders, "draw_catalogue", lambda folder, **_: folders_drawn.append(folder))
    words = ["setup", "--skip-server", *words, "--home", str(tmp_path / "home")]
    done = CliRunner().invoke(imgret, words, standalone_mode=False, catch_exceptions=False)
    assert done.exit_code == 0
    assert folders_drawn == ([tmp_path / "home" / "samples"] if drawn else [])


def test_secrets_are_written_where_there_is_a_compose_file(tmp_path: Path) -> None:
    (tmp_path / "project" / "docker-compose.yml").write_text("services: {}\n")
    run_setup(tmp_path / "home")
    assert "IMGRET_COMPOSE_NEO4J_PASSWORD=" in (tmp_path / "project" / "compose.env").read_text()
