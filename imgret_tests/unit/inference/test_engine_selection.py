"""Which engine and precision a home gets: as set, else as recorded, else by the device."""

import pytest

from imgret_assets.domain.inference import engine_selection
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.inference.torch_engine import TorchEmbedder
from imgret_assets.domain.models.resolution import Model
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import SettingError
from imgret_tests.support.fake_model import FakeEmbedder


@pytest.fixture
def model() -> Model:
    return Model(FakeEmbedder().space, None)


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU."""
    monkeypatch.setattr(engine_selection, "uses_gpu", lambda device: device in ("cuda", "mps"))


@pytest.mark.parametrize(
    ("recorded", "options", "expected"),
    [
        (None, {}, OpenVinoEmbedder),
        (None, {"device": "cpu"}, OpenVinoEmbedder),
        (None, {"device": "cuda"}, TorchEmbedder),
        (None, {"precision": "bfloat16"}, OpenVinoEmbedder),
        (None, {"precision": "float16"}, TorchEmbedder),
        (None, {"engine": "torch"}, TorchEmbedder),
        ("torch", {}, TorchEmbedder),
        ("torch", {"engine": "openvino"}, OpenVinoEmbedder),
        ("openvino", {"device": "mps"}, TorchEmbedder),
    ],
)
def test_the_engine_is_the_requested_else_the_recorded_else_the_device_s(
    home: Home,
    model: Model,
    recorded: str | None,
    options: dict[str, str],
    expected: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_selection, "choose_device", lambda device: device)
    if recorded:
        home = home.update(engine=recorded)
    assert type(choose_embedder(home, model, **options)) is expected  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("recorded", "options", "expected"),
    [
        ({}, {}, "auto"),
        ({"engine": "openvino", "precision": "float32"}, {}, "float32"),
        ({"engine": "openvino", "precision": "float32"}, {"precision": "auto"}, "float32"),
        ({"engine": "torch", "precision": "float32"}, {}, "float32"),
        ({"engine": "torch", "precision": "bfloat16"}, {"device": "cuda"}, "bfloat16"),
        # Chosen for a GPU, and there is none.
        ({"engine": "torch", "precision": "bfloat16"}, {}, "auto"),
        ({"engine": "torch", "precision": "float16"}, {"device": "cpu"}, "auto"),
        ({"engine": "torch", "precision": "float16"}, {"precision": "bfloat16"}, "bfloat16"),
        ({"engine": "torch", "precision": "bfloat16"}, {"engine": "openvino"}, "auto"),
        ({"engine": "openvino", "precision": "float32"}, {"precision": "bfloat16"}, "bfloat16"),
    ],
)
def test_a_home_keeps_its_precision_unless_another_is_requested(
    home: Home,
    model: Model,
    recorded: dict[str, str],
    options: dict[str, str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_selection, "choose_device", lambda device: device)
    embedder = choose_embedder(home.update(**recorded), model, **options)  # pyright: ignore[reportArgumentType]
    assert isinstance(embedder, OpenVinoEmbedder | TorchEmbedder)
    assert embedder.requested_precision == expected


@pytest.mark.parametrize("options", [{"device": "cuda"}, {"precision": "float16"}])
def test_openvino_refuses_what_it_can_not_do(home: Home, model: Model, options: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=r"precision is 'float16' with OpenVINO|openvino can't run on device cuda"):
        choose_embedder(home, model, engine="openvino", **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_family_is_named_as_the_setting_names_it(home: Home, model: Model, engine: str) -> None:
    assert choose_embedder(home, model, engine=engine).family == engine
