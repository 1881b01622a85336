"""The embedder resource and a mean: it is lent with what is set, recorded, and gone on with."""

from pathlib import Path

import numpy as np
import pytest

from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.domain.models.weights import file_sha256
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.settings import load_settings

LITE0 = "efficientnet_lite0"


def opened(home: Home) -> Home:
    """The home as another process finds it."""
    return open_home(load_settings({"home": home.path}))


def test_a_home_goes_on_with_its_mean_until_told_otherwise(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mean.npy"
    np.save(file, np.full(1280, 0.01, np.float32))
    plain = EmbedderResource(model=LITE0).space(opened(home))
    monkeypatch.setenv("IMGRET_CENTRE", str(file))
    centred = EmbedderResource().space(opened(home))
    assert (plain.centre, centred.centre) == ("", file_sha256(file))
    monkeypatch.delenv("IMGRET_CENTRE")
    file.unlink()
    assert EmbedderResource().space(opened(home)) == centred, "it must not go back silently"
    monkeypatch.setenv("IMGRET_CENTRE", "none")
    assert EmbedderResource().space(opened(home)) == plain
    monkeypatch.delenv("IMGRET_CENTRE")
    assert EmbedderResource().space(opened(home)) == plain
    assert opened(home).record.centre is None


def test_models_beside_are_not_centred(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean has as many numbers as the graph's model; the same model beside it shows what centring does."""
    file = tmp_path / "mean.npy"
    np.save(file, np.full(1280, 0.01, np.float32))
    monkeypatch.setenv("IMGRET_CENTRE", str(file))
    resource = EmbedderResource(model=LITE0, beside=LITE0)
    (beside,) = resource.lend_beside(opened(home))
    assert (beside.space.model, beside.space.centre) == (LITE0, "")
    assert resource.space(opened(home)).centre == file_sha256(file)
