"""`imgret run` before anything is executed: the model of a home that no set-up has prepared."""

from pathlib import Path
from typing import Any

import pytest

from imgret_assets.cli.run import refresh_with_progress
from imgret_assets.defs import execute_refresh
from imgret_assets.domain.models import default_model
from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import ModelError
from imgret_assets.settings import Settings, load_settings


class ExecutionError(Exception):
    """The refresh would be executed now."""


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights on this machine, no network, no execution."""

    def no_network() -> Path:
        raise ModelError("There is no network")

    def no_execution(settings: Settings, **_: Any) -> None:
        raise ExecutionError(open_home(settings).model)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no weights"))
    monkeypatch.setattr(default_model, "fetch_resnet50", no_network)
    monkeypatch.setattr(execute_refresh, "refresh", no_execution)


def test_the_first_run_of_a_home_chooses_the_model_whose_weights_are_here_and_downloads_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    settings = load_settings({"home": tmp_path / "home", "images": tmp_path / "images"})
    with pytest.raises(ExecutionError, match="efficientnet_lite0"):
        refresh_with_progress(settings)
    assert f"The model of {tmp_path / 'home'} is efficientnet_lite0; --model" in capsys.readouterr().err
    assert open_home(settings).record.model == "efficientnet_lite0"


def test_a_model_that_is_set_or_recorded_is_not_chosen_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = open_home(load_settings({"home": tmp_path / "home"})).update(model="timm:resnet18")
    with pytest.raises(ExecutionError, match="timm:resnet18"):
        refresh_with_progress(home.settings)
    with pytest.raises(ExecutionError, match="resnet50"):
        refresh_with_progress(load_settings({"home": tmp_path / "home", "model": "resnet50"}))
    assert capsys.readouterr().err == ""
    assert open_home(home.settings).record.model == "timm:resnet18"
