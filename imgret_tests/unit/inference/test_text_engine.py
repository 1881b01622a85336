"""A text tower in OpenVINO gives open_clip's vectors, and a warm one needs no torch."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from imgret_assets.domain.inference.text_engine import REFERENCE_TEXTS, TextEncoder
from imgret_assets.domain.models.resolution import Model, record_space, resolve
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ModelError, QueryError
from imgret_assets.locations import PROJECT
from imgret_assets.settings import load_settings
from imgret_tests.support.agreement_records import recorded_agreements
from imgret_tests.support.tiny_clip import make_tiny_clip

TEXTS = ["a red car in a forest", "zwei Hunde spielen", "赤い車", "a b c d e f g h i j k l m n o p q r s t u v"]


@pytest.fixture(scope="module")
def clip_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return open_home(load_settings({"home": tmp_path_factory.mktemp("home")}, env={"IMGRET_ENV_FILE": "/dev/null"}))


@pytest.fixture(scope="module")
def model(clip_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return record_space(clip_home, make_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny"))


@pytest.fixture(scope="module")
def encoder(clip_home: Home, model: Model) -> TextEncoder:
    encoder = TextEncoder(model, clip_home.path / "models")
    encoder.load()
    return encoder


def reference(model: Model) -> np.ndarray:
    name = model.space.model.removeprefix("openclip:")
    original: Any = open_clip.create_model(name, require_pretrained=True)
    with torch.inference_mode():
        return original.eval().encode_text(open_clip.get_tokenizer(name)(TEXTS)).numpy()


def test_its_vectors_are_open_clip_s(encoder: TextEncoder, model: Model) -> None:
    vectors = [encoder.encode(text) for text in TEXTS]
    rows = np.stack([vector.vector for vector in vectors])
    assert (rows.dtype, rows.shape) == (np.float32, (len(TEXTS), model.space.dim))
    np.testing.assert_allclose(rows, reference(model), rtol=0, atol=2e-5)
    # The texts are told apart.
    assert np.linalg.matrix_rank(rows, tol=0.01) == len(TEXTS)
    assert [vector.truncated for vector in vectors] == [False, False, False, True]


def test_the_agreement_is_recorded(encoder: TextEncoder) -> None:
    [(key, agreement)] = recorded_agreements(encoder.space_folder, "text-agreement.json").items()
    assert key.startswith("openvino-cpu-float32 ")
    assert agreement.least_cosine > 0.999999
    assert len(REFERENCE_TEXTS) == len(np.load(encoder.converted.parent / "reference.npy"))


def test_a_warm_text_query_needs_no_torch(encoder: TextEncoder, clip_home: Home) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from imgret_assets.domain.storage.home import open_home\n"
        "from imgret_assets.domain.models.resolution import resolve_space\n"
        "from imgret_assets.domain.inference.text_engine import TextEncoder\n"
        "from imgret_assets.settings import load_settings\n"
        "home = open_home(load_settings({'home': sys.argv[1]}))\n"
        "encoder = TextEncoder(resolve_space(home, sys.argv[2]), home.path / 'models')\n"
        "vector = encoder.encode('a red car').vector\n"
        "print(vector.shape, sorted({'torch', 'open_clip', 'timm', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(clip_home.path), encoder.model.space.id],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "(24,) []"), done.stderr


@pytest.mark.parametrize("name", ["model.bin", "model.xml", "tokenizer.json", "text.json", "reference.npy"])
def test_a_damaged_file_is_made_again(
    clip_home: Home, model: Model, encoder: TextEncoder, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    expected = encoder.encode(TEXTS[0]).vector
    file = encoder.converted.parent / name
    file.write_bytes(file.read_bytes()[:-7])
    again = TextEncoder(model, clip_home.path / "models")
    np.testing.assert_array_equal(again.encode(TEXTS[0]).vector, expected)
    assert f"{file} is damaged. The text tower is converted again." in caplog.text


def test_a_text_tower_of_other_numbers_is_refused(
    clip_home: Home, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imgret_assets.domain.models.networks import BuiltTextTower

    right = model.build_text_tower()
    wrong = BuiltTextTower(right.network, right.tokenizer, lambda texts: right.reference(texts) + 1.0)
    monkeypatch.setattr(Model, "build_text_tower", lambda _self: wrong)
    encoder = TextEncoder(model, tmp_path)
    with pytest.raises(ModelError, match=r"text vectors of .* have a cosine of .*use another model"):
        encoder.encode("a red car")


def test_a_model_without_a_text_tower_is_an_error_that_names_models_with_one(clip_home: Home) -> None:
    with pytest.raises(
        QueryError,
        match=r"efficientnet_lite0 has no text tower.*openclip:<architecture>/<pretrained> or openclip:local-dir:",
    ):
        TextEncoder(resolve(clip_home, "efficientnet_lite0"), clip_home.path / "models")


def test_a_text_of_nothing_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(QueryError, match="has no words"):
        encoder.encode(" \x00 ")
