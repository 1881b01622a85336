"""The embedder resource: which model it chooses, and that only the embeddings asset records the choice in the home."""

from pathlib import Path

import numpy as np
import pytest

from imgret_assets.cli.models import models as models_command
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.inference.torch_engine import TorchEmbedder
from imgret_assets.domain.models.resolution import resolve_space
from imgret_assets.domain.models.weights import file_sha256
from imgret_assets.domain.operations import doctor
from imgret_assets.domain.search.query_embedding import query_embedder
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import read_record
from imgret_assets.errors import ModelError, SettingError
from imgret_assets.settings import load_settings
from imgret_tests.support.chain import Chain
from imgret_tests.support.fakes import FakeEmbedderResource

LITE0 = "efficientnet_lite0"


def reopened(home: Home) -> Home:
    """The home as another process opens it, with the environment's settings."""
    return open_home(load_settings({"home": home.path}))


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder but locks and Dagster's own."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not {"locks", "dagster"} & set(file.relative_to(folder).parts)
    }


class RealModelChain(Chain):
    """A chain whose embedder is the product's own resource."""

    @property
    def resources(self) -> dict[str, object]:
        return {**super().resources, "embedder": EmbedderResource()}


@pytest.fixture
def mean(tmp_path: Path) -> Path:
    """A mean of as many numbers as a vector of EfficientNet-Lite0 has."""
    file = tmp_path / "mean.npy"
    np.save(file, np.full(1280, 0.01, np.float32))
    return file


@pytest.fixture
def other_model(tmp_path: Path, mean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names another model than the home has recorded."""
    weights = tmp_path / "resnet50.pth"
    weights.write_bytes(b"weights that nothing loads")
    np.save(mean, np.full(2048, 0.01, np.float32))
    for name, value in {"MODEL": "resnet50", "WEIGHTS": weights, "POOLING": "gem", "CENTRE": mean}.items():
        monkeypatch.setenv(f"IMGRET_{name}", str(value))


@pytest.mark.parametrize(("engine", "kind"), [("torch", TorchEmbedder), ("openvino", OpenVinoEmbedder)])
def test_the_embedder_is_made_once_and_loads_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, engine: str, kind: type
) -> None:
    monkeypatch.setenv("IMGRET_MODEL", LITE0)
    resource = EmbedderResource(batch_size=3, engine=engine, device="cpu")
    embedder = resource.provide(home)
    assert isinstance(embedder, TorchEmbedder | OpenVinoEmbedder)
    assert isinstance(embedder, kind)
    assert embedder is resource.provide(home)
    assert (embedder.space.model, embedder.family, embedder.batch_size, embedder.loaded) == (LITE0, engine, 3, False)
    assert resource.space(home) == embedder.space


def test_the_configured_model_wins_over_the_environment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGRET_MODEL", "no-such-model")
    assert EmbedderResource(model=LITE0).space(home).model == LITE0
    with pytest.raises(ModelError, match="no model 'no-such-model'"):
        EmbedderResource().space(home)


def test_an_unknown_device_is_refused(home: Home) -> None:
    with pytest.raises(SettingError, match="IMGRET_DEVICE is 'tpu'"):
        EmbedderResource(model=LITE0, device="tpu").provide(home)


def test_an_unknown_precision_is_refused_at_launch() -> None:
    with pytest.raises(ValueError, match="precision"):
        EmbedderResource(precision="float8")  # pyright: ignore[reportArgumentType] - the point


def test_the_fake_embedder_has_the_real_ones_fields() -> None:
    assert set(EmbedderResource.model_fields) < set(FakeEmbedderResource.model_fields)


# Recording


def test_a_run_without_flags_goes_on_with_the_recorded_model(home: Home) -> None:
    first = EmbedderResource(model=LITE0)
    first.record_models(home)
    assert reopened(home).model == LITE0
    assert EmbedderResource().space(reopened(home)) == first.space(home)
    assert resolve_space(reopened(home), first.space(home).id).space == first.space(home)


def test_a_run_without_flags_goes_on_with_the_recorded_engine(home: Home) -> None:
    EmbedderResource(model=LITE0, engine="torch", device="cpu").record_models(home)
    # Choosing an engine makes no vectors: `refresh_embeddings` records it with the first that it has made.
    assert reopened(home).record.engine is None
    reopened(home).update(engine="torch")
    assert isinstance(EmbedderResource(device="cpu").provide(reopened(home)), TorchEmbedder)


def test_a_device_that_is_not_there_is_refused_before_anything_is_recorded(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    home = home.update(engine="openvino", precision="float32")
    before = contents(home.path)
    with pytest.raises(ModelError, match="device 'cuda' is not available"):
        EmbedderResource(model=LITE0, device="cuda").record_models(home)
    assert contents(home.path) == before


def test_a_run_without_flags_goes_on_with_the_recorded_mean(
    home: Home, mean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EmbedderResource(model=LITE0).record_models(reopened(home))
    plain = EmbedderResource().space(reopened(home))
    monkeypatch.setenv("IMGRET_CENTRE", str(mean))
    EmbedderResource().record_models(reopened(home))
    centred = EmbedderResource().space(reopened(home))
    assert (plain.centre, centred.centre) == ("", file_sha256(mean))
    monkeypatch.delenv("IMGRET_CENTRE")
    mean.unlink()
    assert EmbedderResource().space(reopened(home)) == centred, "it must not go back silently"
    monkeypatch.setenv("IMGRET_CENTRE", "none")
    assert EmbedderResource().space(reopened(home)) == plain
    EmbedderResource().record_models(reopened(home))
    monkeypatch.delenv("IMGRET_CENTRE")
    assert EmbedderResource().space(reopened(home)) == plain
    assert reopened(home).record.centre is None


def test_additional_models_are_not_centred(home: Home, mean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean has as many numbers as the graph's model; the same model beside it shows what centring does."""
    monkeypatch.setenv("IMGRET_CENTRE", str(mean))
    resource = EmbedderResource(model=LITE0, beside=LITE0)
    resource.record_models(reopened(home))
    (additional,) = resource.provide_additional(reopened(home))
    assert (additional.space.model, additional.space.centre) == (LITE0, "")
    assert resource.space(reopened(home)).centre == file_sha256(mean)
    assert resolve_space(reopened(home), additional.space.id).space == additional.space


@pytest.mark.usefixtures("other_model")
def test_the_embeddings_asset_records_the_model(chain: Chain) -> None:
    """Without images nothing is loaded, and the tables are written all the same."""
    RealModelChain(chain.settings).run(assets=["raw_images", "embeddings"])
    record = read_record(chain.home.path)
    assert record is not None
    assert (record.model, record.engine, record.decoding, record.pooling) == ("resnet50", None, "auto", "gem")
    assert record.weights is not None
    assert record.centre is not None


@pytest.mark.usefixtures("other_model")
def test_what_only_reads_under_another_model_writes_nothing(chain: Chain) -> None:
    home = chain.home.update(model=LITE0, engine="openvino", precision="float32", decoding="auto", pooling="auto")
    before = contents(home.path)
    check = RealModelChain(chain.settings).check("embeddings")["one_embedding_space"]
    assert str(check.metadata["space"].value).startswith("resnet50-"), "it must check the other model"
    doctor.diagnose(chain.settings, lambda settings: str(settings.dagster_home))
    models_command.main(["list", "--home", str(home.path)], standalone_mode=False)
    resource = EmbedderResource()
    resource.provide(home)
    resource.provide_additional(home)
    query_embedder(home, None)
    assert contents(home.path) == before
