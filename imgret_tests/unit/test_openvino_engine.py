"""OpenVINO's vectors are torch's, and asking for one needs no torch; needs torch itself, no network."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.embedder import TorchEmbedder
from imgret_assets.domain.home import open_home
from imgret_assets.domain.models import Model, resolve
from imgret_assets.domain.openvino_engine import MIN_AGREEMENT, OpenVinoEmbedder, check_agreement, fixed_pictures
from imgret_assets.errors import ModelError, SettingError
from imgret_assets.settings import load_settings
from imgret_tests.fakes import picture


@pytest.fixture(scope="module")
def home_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openvino")


@pytest.fixture(scope="module")
def model(home_folder: Path) -> Model:
    return resolve(open_home(load_settings({"home": home_folder})), "efficientnet_lite0")


@pytest.fixture(scope="module")
def embedder(model: Model, home_folder: Path) -> OpenVinoEmbedder:
    loaded = OpenVinoEmbedder(model, home_folder / "models", batch_size=4)
    loaded.load()
    return loaded


def test_its_vectors_are_torchs(embedder: OpenVinoEmbedder, model: Model) -> None:
    batch = np.stack([embedder.prepare(picture(seed)) for seed in range(5)])
    reference = TorchEmbedder(model, device="cpu").embed(batch)
    vectors = embedder.embed(batch)
    assert vectors.dtype == np.float32
    assert check_agreement(reference, vectors, "vectors") > 0.999999
    np.testing.assert_allclose(vectors, reference, atol=1e-4)


def test_a_vector_does_not_depend_on_its_batch(embedder: OpenVinoEmbedder) -> None:
    batch = np.stack([embedder.prepare(picture(seed)) for seed in range(3)])
    np.testing.assert_array_equal(embedder.embed(batch)[2], embedder.embed(batch[2:])[0])


def test_a_batch_of_none_gives_none(embedder: OpenVinoEmbedder) -> None:
    assert embedder.embed(np.empty((0, 3, 224, 224), np.float32)).shape == (0, 1280)


def test_the_converted_network_needs_no_torch(embedder: OpenVinoEmbedder, home_folder: Path) -> None:
    script = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from imgret_assets.domain.home import open_home\n"
        "from imgret_assets.domain.models import resolve\n"
        "from imgret_assets.domain.openvino_engine import OpenVinoEmbedder\n"
        "from imgret_assets.settings import load_settings\n"
        "home = open_home(load_settings({'home': sys.argv[1]}))\n"
        "embedder = OpenVinoEmbedder(resolve(home, 'efficientnet_lite0'), Path(sys.argv[1]) / 'models')\n"
        "vector = embedder.embed(np.full((1, 3, 224, 224), 0.25, np.float32))\n"
        "print(vector.shape, sorted({'torch', 'timm'} & set(sys.modules)))\n"
    )
    assert embedder.converted.is_file()
    done = subprocess.run(
        [sys.executable, "-c", script, str(home_folder)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "(1, 1280) []"


def test_openvino_reports_its_use_to_nobody() -> None:
    script = (
        "import sys\n"
        "from imgret_assets.domain.openvino_engine import import_openvino\n"
        "import_openvino().convert_model\n"
        "import openvino.tools.ovc.telemetry_utils as used\n"
        "print(used.tm.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"


def test_nothing_unfinished_is_left(embedder: OpenVinoEmbedder, home_folder: Path) -> None:
    assert embedder.loaded
    assert not list((home_folder / "models").glob(".converting-*"))


def test_an_engine_that_disagrees_is_refused(rng: np.random.Generator) -> None:
    reference = rng.normal(size=(6, 64)).astype(np.float32)
    wrong = reference.copy()
    wrong[3] += 0.03 * rng.normal(size=64).astype(np.float32)
    with pytest.raises(ModelError, match=rf"cosine of 0\.999.*at least {MIN_AGREEMENT}"):
        check_agreement(reference, wrong, "X's vectors")
    with pytest.raises(ModelError, match="shape"):
        check_agreement(reference, wrong[:, :60], "X's vectors")
    wrong[3] = np.nan
    with pytest.raises(ModelError, match="nan"):
        check_agreement(reference, wrong, "X's vectors")


def test_a_disagreeing_conversion_leaves_nothing(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgret_assets.domain.openvino_engine.MIN_AGREEMENT", 1.1)
    broken = OpenVinoEmbedder(model, tmp_path / "models")
    with pytest.raises(ModelError, match="IMGRET_ENGINE=torch"):
        broken.embed(np.zeros((1, 3, 224, 224), np.float32))
    assert not broken.converted.exists()


def test_the_fixed_pictures_differ_and_fit_any_size() -> None:
    pictures = fixed_pictures(37, 50)
    assert pictures.shape == (6, 3, 37, 50)
    assert pictures.dtype == np.float32
    assert len({float(one.std()) for one in pictures}) == 6


def test_a_batch_size_of_zero_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="batch_size is 0"):
        OpenVinoEmbedder(model, tmp_path, batch_size=0)
