"""Tests of mean-centred vectors: the last layer, the file, the space, the mean in force, creating a mean."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.analysis.ranking_quality import measure_quality
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.mean_centring import (
    centre_vectors,
    choose_source_space,
    create_mean,
    mean_of_unit_vectors,
)
from imgret_assets.domain.embeddings.table_reader import labelled_vectors
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.inference.torch_engine import TorchEmbedder
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.means import keep_mean, read_mean
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.resolution import (
    record_space,
    resolve,
)
from imgret_assets.domain.models.weights import file_sha256
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import TableError
from imgret_assets.locations import PROJECT
from imgret_assets.settings import load_settings
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.means import LITE0, mean_file
from imgret_tests.support.pictures import picture, picture_bytes, write_pictures

SPACE = EmbeddingSpace("m", "ab" * 32, Preprocessing((8, 8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 4)


class CentredFake(FakeEmbedder):
    """The fake model with a mean subtracted from its vectors, computed in numpy by the formula."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.mean = np.load(file)
        self._space = replace(self._space, centre=file_sha256(file))

    def embed(self, batch: np.ndarray) -> np.ndarray:
        vectors = super().embed(batch)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) - self.mean


# The network


def test_the_last_layer_normalises_vectors_and_subtracts_the_mean(home: Home, tmp_path: Path) -> None:
    file = mean_file(tmp_path)
    own, model = resolve(home, LITE0), resolve(home, LITE0, centre=keep_mean(home, file))
    batch = np.stack([own.space.preprocessing.resize_and_crop(picture(seed, (90, 70))) for seed in range(3)])
    plain, found = (
        TorchEmbedder(own, home.path / "models", device="cpu").embed(batch),
        TorchEmbedder(model, home.path / "models", device="cpu").embed(batch),
    )
    assert found.dtype == np.float32
    truth = plain / np.linalg.norm(plain, axis=1, keepdims=True) - np.load(file)
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-6)
    np.testing.assert_allclose(centre_vectors(plain, np.load(file)), truth, rtol=0, atol=1e-6)


def test_openvino_gives_the_same_and_a_query_needs_neither_torch_nor_the_file(home: Home, tmp_path: Path) -> None:
    file = mean_file(tmp_path)
    model = record_space(home, LITE0, centre=keep_mean(home, file))
    embedder = OpenVinoEmbedder(model, home.path / "models", precision="float32")
    batch = np.full((1, 224, 224, 3), 60, np.uint8)
    batch[0, :100, :50] = 200
    vector = embedder.embed(batch)
    np.testing.assert_allclose(
        vector, TorchEmbedder(model, home.path / "models", device="cpu").embed(batch), rtol=0, atol=1e-5
    )
    file.unlink()
    script = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from imgret_assets.domain.storage.home import open_home\n"
        "from imgret_assets.domain.models.resolution import resolve_space\n"
        "from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder\n"
        "from imgret_assets.settings import load_settings\n"
        "model = resolve_space(open_home(load_settings({'home': sys.argv[1]})), sys.argv[2])\n"
        "embedder = OpenVinoEmbedder(model, Path(sys.argv[1]) / 'models', precision='float32')\n"
        "batch = np.full((1, 224, 224, 3), 60, np.uint8)\n"
        "batch[0, :100, :50] = 200\n"
        "np.save(sys.argv[3], embedder.embed(batch))\n"
        "print(sorted({'torch', 'timm'} & set(sys.modules)))\n"
    )
    arguments = [sys.executable, "-c", script, str(home.path), model.space.id, str(tmp_path / "again.npy")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120, cwd=PROJECT)
    assert done.stdout.strip() == "[]"
    np.testing.assert_allclose(np.load(tmp_path / "again.npy"), vector, rtol=0, atol=1e-6)


# Creating a mean


@pytest.fixture
def built(home: Home, images: Path) -> EmbeddingSpace:
    """A home with 110 images and two exact duplicates of one of them."""
    write_pictures(images, 110)
    for copy in ("a.png", "b.png"):
        (images / copy).write_bytes(picture_bytes(0, family=0))
    (images / "torn.png").write_bytes(picture_bytes(7)[:60])
    embedder = FakeEmbedder()
    refresh_manifest(home)
    refresh_embeddings(home, embedder)
    return embedder.space


@pytest.mark.usefixtures("settled")
def test_the_mean_is_of_unit_vectors_and_counts_every_content_once(home: Home, built: EmbeddingSpace) -> None:
    rows = labelled_vectors(home, built.id)
    assert len(rows.contents) == 112
    once = {content: vector.astype(np.float64) for content, vector in zip(rows.contents, rows.vectors, strict=True)}
    truth = np.mean([vector / np.linalg.norm(vector) for vector in once.values()], axis=0)
    mean, images = mean_of_unit_vectors(home, built)
    assert (images, mean.dtype, mean.shape) == (110, np.float32, (48,))
    np.testing.assert_allclose(mean, truth, rtol=0, atol=1e-7)


@pytest.mark.usefixtures("settled")
def test_a_run_in_the_centred_space_embeds_only_new_images(
    home: Home, images: Path, built: EmbeddingSpace, tmp_path: Path
) -> None:
    made = create_mean(home, "fake")
    assert made.file.parent == home.path / "models"
    assert made.file.name == f"centre-{built.id}-110-{made.space.centre[:8]}.npy"
    assert made.space == replace(built, centre=file_sha256(made.file))
    assert (made.source, made.images, made.prepared) == (built, 110, 109)
    np.testing.assert_array_equal(read_mean(made.file, 48), mean_of_unit_vectors(home, built)[0])
    (images / "later.png").write_bytes(picture_bytes(999))
    refresh_manifest(home)
    embedder = CentredFake(made.file)
    assert refresh_embeddings(home, embedder).embedded == 2, "the new one, and the one that proves the engine"
    assert create_mean(home, built.id).prepared == 0, "they are in the space's own tables"
    assert refresh_embeddings(home, embedder).embedded == 0
    other = open_home(load_settings({"home": tmp_path / "other", "images": images, "shards": 3}))
    refresh_manifest(other)
    refresh_embeddings(other, CentredFake(made.file))
    found, truth = ({**by_path(each, made.space.id)} for each in (home, other))
    assert found.keys() == truth.keys()
    assert len(found) == 113
    for path, vector in found.items():
        np.testing.assert_allclose(vector, truth[path], rtol=0, atol=1e-6)


def by_path(home: Home, space: str) -> dict[str, np.ndarray]:
    rows = labelled_vectors(home, space)
    return dict(zip(rows.paths, rows.vectors, strict=True))


@pytest.mark.usefixtures("settled")
def test_centring_removes_the_direction_that_all_images_share(home: Home, images: Path) -> None:
    class Biased(FakeEmbedder):
        """All pictures share a direction twice as long as what tells them apart."""

        def embed(self, batch: np.ndarray) -> np.ndarray:
            vectors = super().embed(batch)
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) + np.float32(2 / 48**0.5)

    write_pictures(images, 120)
    refresh_manifest(home)
    refresh_embeddings(home, Biased())
    rows = labelled_vectors(home, Biased().space.id)
    made = create_mean(home, "fake")
    plain = measure_quality(rows.vectors, rows.contents, rows.labels)
    found = measure_quality(centre_vectors(rows.vectors, np.load(made.file)), rows.contents, rows.labels)
    assert plain.different.median is not None
    assert plain.different.median > 0.7
    assert found.different.median is not None
    assert abs(found.different.median) < 0.4
    assert found.all.above < plain.all.above
    assert found.auc is not None
    assert plain.auc is not None
    assert found.auc >= plain.auc - 0.01


@pytest.mark.usefixtures("settled")
def test_a_vector_equal_to_the_mean_is_left_to_the_run(home: Home, images: Path) -> None:
    """In a collection of equal vectors, every centred vector is zero."""

    class Alike(FakeEmbedder):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            return np.tile(np.eye(1, 48, dtype=np.float32) * 3, (len(batch), 1))

    write_pictures(images, 100)
    refresh_manifest(home)
    refresh_embeddings(home, Alike())
    assert create_mean(home, "fake").prepared == 0


@pytest.mark.usefixtures("settled")
def test_the_output_file_and_the_source_space_can_be_chosen(home: Home, built: EmbeddingSpace, tmp_path: Path) -> None:
    made = create_mean(home, "fake", tmp_path / "new" / "mine.npy")
    assert made.file == tmp_path / "new" / "mine.npy"
    assert file_sha256(made.file) == made.space.centre
    assert choose_source_space(home, built.id) == built
    other = FakeEmbedder("other", 3)
    refresh_embeddings(home, other)
    assert choose_source_space(home, "other") == other.space
    with pytest.raises(TableError, match=rf"no vectors of nothing .*Expected: one of {built.id}, {other.space.id}"):
        choose_source_space(home, "nothing")
    with pytest.raises(TableError, match=r"no vectors of (resnet50|efficientnet_lite0) .*--model \1`"):
        choose_source_space(home)


@pytest.mark.usefixtures("settled")
def test_of_several_spaces_of_a_model_the_last_run_s_is_chosen(home: Home, images: Path) -> None:
    write_pictures(images, 4)
    refresh_manifest(home)

    class As(FakeEmbedder):
        def __init__(self, space: EmbeddingSpace) -> None:
            super().__init__()
            self._space = space

        def prepare(self, image: object) -> np.ndarray:
            return np.zeros((4, 4, 3), np.uint8)

        def embed(self, batch: np.ndarray) -> np.ndarray:
            return np.ones((len(batch), self._space.dim), np.float32)

    own, gem = (record_space(home, LITE0, pooling=pooling).space for pooling in ("auto", "gem"))
    centre = keep_mean(home, mean_file(home.path))
    in_force = record_space(home, LITE0, centre=centre).space
    for space in (own, gem, in_force):
        refresh_embeddings(home, As(space))
    with pytest.raises(TableError, match=r"has several spaces with tables .*name one"):
        choose_source_space(home, LITE0)
    assert choose_source_space(home.update(model=LITE0, centre=centre)) == own, "the one the last run's was made of"
    assert choose_source_space(home.update(model=LITE0, centre=centre, pooling="gem"), gem.id) == gem


@pytest.mark.usefixtures("settled")
def test_too_few_images_or_a_missing_shard_are_refused(home: Home, images: Path) -> None:
    write_pictures(images, 99)
    refresh_manifest(home)
    embedder = FakeEmbedder()
    refresh_embeddings(home, embedder)
    with pytest.raises(TableError, match=r"has 99 usable images\. Expected: at least 100"):
        create_mean(home, "fake")
    tables.embeddings_path(home.warehouse, embedder.space.id, "02").unlink()
    with pytest.raises(TableError, match=r"embeddings of shard 02 .* is missing"):
        create_mean(home, "fake")
    assert not list((home.path / "models").rglob("*.npy"))
