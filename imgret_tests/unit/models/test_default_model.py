"""The model that set-up chooses, and the download of its weights."""

import hashlib
from pathlib import Path

import pytest

from imgret_assets.domain.models import default_model
from imgret_assets.domain.models.families import resnet50
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ModelError
from imgret_assets.settings import Settings, load_settings
from imgret_tests.support.means import LITE0


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of resnet50 are neither on this machine nor to be downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))

    def refused(*_: object) -> Path:
        raise ModelError("no network here")

    monkeypatch.setattr(default_model, "fetch_resnet50", refused)


@pytest.mark.usefixtures("no_network")
def test_the_fallback_model_is_recorded_in_the_home_once(settings: Settings) -> None:
    messages: list[str] = []
    assert default_model.choose(open_home(settings), messages.append) == LITE0
    assert open_home(settings).model == LITE0
    assert "no network here" in messages[0]
    assert str(settings.home) in messages[0]
    assert default_model.choose(open_home(settings), messages.append) == LITE0
    assert len(messages) == 1


@pytest.mark.usefixtures("no_network")
def test_the_env_file_is_never_written_and_its_model_still_counts(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older set-up wrote IMGRET_MODEL there: since then it is a choice of the user's."""
    dotenv = tmp_path / "settings.env"
    monkeypatch.setenv("IMGRET_ENV_FILE", str(dotenv))
    dotenv.write_text("NEO4J_DATABASE=x\n")
    default_model.choose(open_home(settings), lambda _: None)
    assert dotenv.read_text() == "NEO4J_DATABASE=x\n"
    dotenv.write_text("IMGRET_MODEL=timm:resnet18\n")
    opened = open_home(load_settings({"home": settings.home}))
    assert default_model.choose(opened, pytest.fail) == opened.model == "timm:resnet18"


def test_weights_on_this_machine_make_resnet50_the_default(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / resnet50.WEIGHTS_FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    assert default_model.choose(home, pytest.fail) == "resnet50"
    assert open_home(home.settings).record.model is None, "a default needs no record"


class Response:
    """A download that gives these bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __enter__(self) -> "Response":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def raise_for_status(self) -> None:
        pass

    def iter_content(self, _size: int) -> list[bytes]:
        return [self.data[:5], self.data[5:]]


@pytest.mark.parametrize("right", [True, False])
def test_downloaded_weights_are_used_only_with_the_right_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    data = b"these are the weights"
    digest = hashlib.sha256(data).hexdigest()[:8] if right else "0badc0de"
    monkeypatch.setattr(default_model, "WEIGHTS_FILE", f"resnet50-{digest}.pth")
    asked: dict[str, object] = {}

    def get(url: str, **how: object) -> Response:
        asked.update(how, url=url)
        return Response(data)

    monkeypatch.setattr("requests.get", get)
    target = tmp_path / "weights.pth"
    if right:
        assert default_model.fetch_resnet50("somewhere", target).read_bytes() == data
        assert asked["timeout"] == (10, 30)
    else:
        with pytest.raises(ModelError, match="Expected: the hash 0badc0de"):
            default_model.fetch_resnet50("somewhere", target)
        assert not target.exists()
