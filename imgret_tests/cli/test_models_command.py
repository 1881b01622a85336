import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from imgret_assets.cli.models import models as command
from imgret_assets.domain.embeddings.embedding_spaces import record_speed
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.resolution import record_space
from imgret_assets.domain.models.weights import file_sha256
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError
from imgret_assets.locations import PROJECT
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes, write_pictures


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


def built(home: Home, embedder: FakeEmbedder) -> EmbeddingSpace:
    refresh_manifest(home)
    refresh_embeddings(home, embedder)
    refresh_pairs(home, embedder.space.id, 0.8)
    return embedder.space


@pytest.fixture
def two_spaces(home: Home, images: Path) -> tuple[EmbeddingSpace, EmbeddingSpace]:
    write_pictures(images, 20)
    return built(home, FakeEmbedder()), built(home, FakeEmbedder("other", 3))


def line_of(done: Result, start: str) -> str:
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(start)]
    return line


def test_the_list_needs_no_command(home: Home, two_spaces: tuple[EmbeddingSpace, EmbeddingSpace]) -> None:
    record_speed(home, two_spaces[0].id, "fake", 12.34)
    own = record_space(home, "efficientnet_lite0").space
    home.update(model="efficientnet_lite0")
    done = run("--home", str(home.path))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == run("list", "--home", str(home.path)).stdout
    assert line_of(done, "model").split()[:4] == ["model", "numbers", "input", "decoding"]
    assert "1,280  224 x 224  scaled    auto     images    here" in line_of(done, "efficientnet_lite0")
    assert line_of(done, "efficientnet_lite0").endswith(f"{own.id} * in the graph")
    assert "12.3 fake" in line_of(done, "fake")
    assert "  20  " in line_of(done, "other")
    assert sum("* in the graph" in line for line in done.stdout.splitlines()) == 1


def test_the_list_as_json(home: Home, two_spaces: tuple[EmbeddingSpace, EmbeddingSpace]) -> None:
    done = run("list", "--json", "--home", str(home.path))
    rows = {row["space"]: row for row in json.loads(done.stdout)["models"]}
    one, two = two_spaces
    assert rows[one.id]["tables"]["rows"] == rows[two.id]["tables"]["rows"] == 20
    assert (rows[two.id]["dim"], rows[two.id]["size"], rows[two.id]["weights"]) == (27, [3, 3], "missing")
    assert (rows[one.id]["in_graph"], rows[one.id]["exact_only"]) == (False, False)


def test_timm_s_models_are_listed_by_pattern() -> None:
    done = run("--timm", "vit_xsmall_patch16_clip_224*", "--json")
    (found,) = json.loads(done.stdout)["timm"]
    name = "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"
    assert found == {"name": name, "size": [224, 224], "dim": 512, "joint": True}
    small = run("--timm", "mobilenetv3_small_050*").stdout.splitlines()[-1].split()
    assert small[:2] == ["timm:mobilenetv3_small_050.lamb_in1k", "1,024"], "as long as resolving it says"
    many = json.loads(run("--timm", "resnet*", "--json").stdout)["timm"]
    assert len(many) > 40
    assert {model["dim"] for model in many} == {None}
    assert "nothing like no_such_*" in run("--timm", "no_such_*").stdout


def test_options_before_a_command_are_not_lost(home: Home) -> None:
    done = run("--home", str(home.path), "compare")
    assert done.exit_code == 2
    assert "options come after the command: imgret models compare" in done.stderr


def test_spaces_are_compared(home: Home, two_spaces: tuple[EmbeddingSpace, EmbeddingSpace], tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    done = run("compare", "--home", str(home.path), "--plot", str(plot))
    assert done.exit_code == 0
    head = line_of(done, "space").split("  ")
    for column in ("images", "P@1", "P@10", "mAP", "AUC", "same > 0.8", "different > 0.8"):
        assert column in [name.strip() for name in head]
    for space in two_spaces:
        assert line_of(done, space.id).split()[1:4] == ["20", "20", "5"]
    assert f"histograms are in {plot}" in done.stderr
    with Image.open(plot) as image:
        assert image.format == "PNG"


def test_a_comparison_as_json_is_all_that_is_on_stdout(
    home: Home, images: Path, two_spaces: tuple[EmbeddingSpace, EmbeddingSpace]
) -> None:
    (images / "family0/later.png").write_bytes(picture_bytes(99, family=0))
    built(home, FakeEmbedder())
    done = run("compare", "--json", "--home", str(home.path))
    said = json.loads(done.stdout)
    assert {space: figures["images"] for space, figures in said.items()} == {two_spaces[0].id: 21, two_spaces[1].id: 20}
    assert all(0.0 < figures["precision_1"] <= 1.0 and figures["same"]["pairs"] for figures in said.values())
    assert "different numbers of images" in done.stderr


def test_the_threshold_is_the_home_s(home: Home, two_spaces: tuple[EmbeddingSpace, EmbeddingSpace]) -> None:
    refresh_pairs(home, two_spaces[0].id, 0.3)
    done = run("compare", "--json", "--home", str(home.path))
    said = json.loads(done.stdout)[two_spaces[0].id]
    assert said["threshold"] == 0.3
    assert said["all"]["above"] == tables.count_rows(tables.pairs_path(home.warehouse, two_spaces[0].id))


def test_without_labels_it_says_what_would_help(home: Home, images: Path) -> None:
    for seed in range(6):
        (images / f"{seed}.png").write_bytes(picture_bytes(seed))
    space = built(home, FakeEmbedder())
    done = run("compare", "--home", str(home.path))
    assert "no image has a label" in done.stderr
    assert "sort some into folders" in done.stderr
    assert f"{space.id}: 15 pairs, median cosine" in done.stdout


def test_one_label_is_said_to_be_too_few(home: Home, images: Path) -> None:
    write_pictures(images, 4, families=1)
    built(home, FakeEmbedder())
    assert "more folders are needed" in run("compare", "--home", str(home.path)).stderr


def test_a_space_with_a_missing_shard_is_left_out_by_name(
    home: Home, two_spaces: tuple[EmbeddingSpace, EmbeddingSpace]
) -> None:
    one, two = two_spaces
    tables.embeddings_path(home.warehouse, one.id, "01").unlink()
    done = run("compare", "--home", str(home.path), "--json")
    assert list(json.loads(done.stdout)) == [two.id]
    assert f"{one.id} is left out" in done.stderr
    tables.embeddings_path(home.warehouse, two.id, "01").unlink()
    with pytest.raises(TableError, match=r"no space whose vectors could be compared.*imgret run"):
        run("compare", "--home", str(home.path))


def test_a_mean_is_made_and_it_is_said_what_to_do_with_it(home: Home, images: Path, tmp_path: Path) -> None:
    write_pictures(images, 100)
    space = built(home, FakeEmbedder())
    done = run("centre", "fake", "--home", str(home.path))
    (file,) = (home.path / "models").glob(f"centre-{space.id}-100-*.npy")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"The mean of 100 images in {space.id} is in {file}\n")
    assert f"set IMGRET_CENTRE={file}, then `imgret run`" in done.stdout
    assert "99 vectors in it are ready" in done.stdout
    output = tmp_path / "mine.npy"
    said = json.loads(run("centre", space.id, "--output", str(output), "--json", "--home", str(home.path)).stdout)
    assert output.read_bytes() == file.read_bytes()
    made = replace(space, centre=said["sha256"])
    assert said == {
        "file": str(output),
        "sha256": file_sha256(output),
        "source": space.id,
        "images": 100,
        "dim": 48,
        "space": made.id,
        "ready": 99,
    }


def test_a_centred_space_is_marked_in_the_list_and_the_comparison(home: Home, images: Path) -> None:
    class Centred(FakeEmbedder):
        def __init__(self) -> None:
            super().__init__()
            self._space = replace(self._space, centre="0a" * 32, pooling="gem")

    write_pictures(images, 20)
    plain, centred = built(home, FakeEmbedder()), built(home, Centred())
    lines = [line for line in run("--home", str(home.path)).stdout.splitlines() if line.startswith("fake")]
    assert sorted(line.endswith(f"{centred.id} centred") for line in lines) == [False, True]
    compared = run("compare", "--home", str(home.path))
    assert line_of(compared, f"{centred.id} (gem, centred)")
    assert line_of(compared, f"{plain.id}  ")


@pytest.mark.parametrize("arguments", [["list"], ["compare"], ["centre", "fake"]])
def test_neither_torch_nor_matplotlib_is_imported(home: Home, images: Path, arguments: list[str]) -> None:
    write_pictures(images, 100)
    built(home, FakeEmbedder())
    code = (
        "import sys\nfrom imgret_assets.cli.main import run_command\n"
        f"assert run_command(['models', *{arguments}, '--home', {str(home.path)!r}]) == 0\n"
        "print([name for name in ('torch', 'timm', 'matplotlib', 'dagster') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
