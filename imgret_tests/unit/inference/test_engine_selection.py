import pytest

from imgret_assets.domain.inference import engine_selection
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.inference.torch_engine import TorchEmbedder
from imgret_assets.domain.models.resolution import Model
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import SettingError
from imgret_tests.support.fakes import FakeEmbedder


@pytest.fixture
def model() -> Model:
    return Model(FakeEmbedder().space, None)


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_selection, "_on_gpu", lambda device: device in ("cuda", "mps"))


@pytest.mark.parametrize(
    ("recorded", "asked", "expected"),
    [
        (None, {}, OpenVinoEmbedder),
        (None, {"device": "cpu"}, OpenVinoEmbedder),
        (None, {"device": "cuda"}, TorchEmbedder),
        (None, {"precision": "bfloat16"}, OpenVinoEmbedder),
        (None, {"precision": "float16"}, TorchEmbedder),
        (None, {"engine": "torch"}, TorchEmbedder),
        ("torch", {}, TorchEmbedder),  # a collection keeps its engine
        ("torch", {"engine": "openvino"}, OpenVinoEmbedder),  # unless another one is asked for
        ("openvino", {"device": "mps"}, TorchEmbedder),
    ],
)
def test_the_engine_follows_wish_then_record_then_device(
    home: Home, model: Model, recorded: str | None, asked: dict[str, str], expected: type
) -> None:
    if recorded:
        home = home.update(engine=recorded)
    assert type(choose_embedder(home, model, **asked)) is expected  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("recorded", "asked", "expected"),
    [
        ({}, {}, "auto"),
        ({"engine": "openvino", "precision": "float32"}, {}, "float32"),
        ({"engine": "openvino", "precision": "float32"}, {"precision": "auto"}, "float32"),
        ({"engine": "torch", "precision": "bfloat16"}, {}, "bfloat16"),
        ({"engine": "torch", "precision": "bfloat16"}, {"engine": "openvino"}, "auto"),
        ({"engine": "openvino", "precision": "float32"}, {"precision": "bfloat16"}, "bfloat16"),
    ],
)
def test_a_collection_keeps_its_precision_unless_another_is_asked_for(
    home: Home, model: Model, recorded: dict[str, str], asked: dict[str, str], expected: str
) -> None:
    embedder = choose_embedder(home.update(**recorded), model, **asked)  # pyright: ignore[reportArgumentType]
    assert embedder._asked_precision == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize("asked", [{"device": "cuda"}, {"precision": "float16"}])
def test_openvino_refuses_what_it_can_not_do(home: Home, model: Model, asked: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=r"OpenVINO|engine openvino was asked for"):
        choose_embedder(home, model, engine="openvino", **asked)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_family_is_named_as_the_setting_names_it(home: Home, model: Model, engine: str) -> None:
    assert choose_embedder(home, model, engine=engine).family == engine
