"""Which model, decoding, pooling and mean are in force, and the space they define."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.models.families import timm_models
from imgret_assets.domain.models.resolution import (
    chosen_centre,
    chosen_decoding_and_pooling,
    record_space,
    resolve,
    resolve_space,
    space_of_last_run,
)
from imgret_assets.domain.models.weights import file_sha256
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ModelError, SettingError
from imgret_assets.locations import PROJECT
from imgret_assets.settings import load_settings
from imgret_tests.support.means import LITE0, mean_file, with_centre
from imgret_tests.support.torch_models import (
    SMALL,
    TrainedNetwork,
)


def test_settings_choose_decoding_and_pooling(home: Home) -> None:
    flags = {"home": home.path, "decoding": "full", "pooling": "gem"}
    space = resolve(open_home(load_settings(flags)), LITE0).space
    assert (space.preprocessing.decoding, space.pooling) == ("full", "gem")
    for name, value in (("IMGRET_DECODING", "half"), ("IMGRET_POOLING", "max")):
        with pytest.raises(SettingError, match=rf"^{name} is '{value}'\. Expected: one of auto, "):
            load_settings(env={"IMGRET_ENV_FILE": os.devnull, name: value})


def test_the_article_s_model_is_decoded_in_full_and_others_at_scale(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    decodings = {"auto": "full", "full": "full", "scaled": "scaled"}
    for asked, decoding in decodings.items():
        assert resolve(home, "resnet50", file, decoding=asked).space.preprocessing.decoding == decoding
    assert resolve(home, LITE0).space.preprocessing.decoding == "scaled"
    full, scaled = (resolve(home, LITE0, decoding=asked).space.id for asked in ("full", "scaled"))
    assert full != scaled
    assert resolve(home, LITE0, decoding="full").space.id == full


def test_a_recorded_space_is_not_computed_again(
    home: Home, tmp_path: Path, trained_small: TrainedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking must not load a network or hash a hundred megabytes."""
    copy = tmp_path / "copy.pth"
    copy.write_bytes(trained_small[0].read_bytes())
    first = record_space(home, SMALL, copy)
    with monkeypatch.context() as patched:
        patched.setattr(timm_models.TimmModels, "define", lambda *_: pytest.fail("the network was built again"))
        assert resolve(home, SMALL, copy) == first
    assert resolve(home, SMALL, trained_small[0]).space == first.space


def test_resolving_writes_nothing(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    resolve(home, "resnet50", file)
    assert not (home.path / "models").exists()


def test_a_file_that_changed_is_another_space(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    first = resolve(home, "resnet50", file)
    file.write_bytes(b"another")
    assert resolve(home, "resnet50", file).space.id != first.space.id


def test_a_space_is_found_again_by_its_id(home: Home, tmp_path: Path) -> None:
    found = {}
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode())
        found[name] = record_space(home, "resnet50", tmp_path / name)
    (home.path / "models" / "aa-damaged.json").write_text("{")
    assert resolve_space(home, found["one"].space.id) == found["one"]
    assert resolve_space(home, found["two"].space.id) == found["two"]


def test_a_space_is_found_again_whatever_the_settings_are_now(home: Home) -> None:
    made = {
        (decoding, pooling): record_space(home, LITE0, decoding=decoding, pooling=pooling)
        for decoding in ("full", "scaled")
        for pooling in ("auto", "gem")
    }
    assert len({model.space.id for model in made.values()}) == 4
    other = open_home(load_settings({"home": home.path, "decoding": "full", "pooling": "gem"}))
    for model in made.values():
        assert resolve_space(other, model.space.id) == model


def test_the_space_of_the_last_run_comes_from_the_record(home: Home, tmp_path: Path) -> None:
    assert space_of_last_run(home) is None
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    other = record_space(home, "resnet50", file).space
    own = record_space(home, LITE0).space
    recorded = home.update(model=LITE0)
    assert space_of_last_run(recorded) == own
    assert space_of_last_run(recorded.update(model="resnet50", weights=str(file))) == other
    assert space_of_last_run(recorded.update(model="resnet50", weights=None)) is None
    gem = open_home(load_settings({"home": home.path, "pooling": "gem"})).update(model=LITE0)
    assert space_of_last_run(gem) == own, "the only one it can have been"
    assert record_space(gem, LITE0).space == space_of_last_run(gem) != own
    exact = gem.update(decoding="auto", pooling="auto")
    assert space_of_last_run(exact) == own, "what is set for the next run changes nothing"


def test_a_space_that_is_not_known_or_has_changed_is_an_error(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"embedding space x-12345678 is not known in .*run `imgret run`"):
        resolve_space(home, "x-12345678")
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    space = record_space(home, "resnet50", file).space.id
    file.write_bytes(b"another")
    with pytest.raises(ModelError, match=f"{space} is not known in .* or its weights have changed"):
        resolve_space(home, space)


def test_without_a_name_it_is_the_home_s_model(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    chosen = open_home(replace(home.settings, model="resnet50", weights=file))
    assert resolve(chosen).weights == file
    assert resolve(open_home(replace(home.settings, model=LITE0))).space.model == LITE0


def test_importing_models_loads_no_torch() -> None:
    code = (
        "import sys, imgret_assets.domain.models.resolution, imgret_assets.domain.inference.embedder; "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)


@pytest.mark.parametrize(
    ("recorded", "setting", "name", "expected"),
    [
        ({}, {}, "resnet50", ("auto", "auto")),
        ({}, {"pooling": "gem"}, "resnet50", ("auto", "gem")),
        ({"model": "resnet50", "decoding": "scaled", "pooling": "gem"}, {}, "resnet50", ("scaled", "gem")),
        ({"model": "resnet50", "decoding": "scaled", "pooling": "gem"}, {}, "timm:resnet18", ("auto", "auto")),
        (
            {"model": "resnet50", "decoding": "scaled", "pooling": "gem"},
            {"decoding": "full"},
            "resnet50",
            ("full", "gem"),
        ),
    ],
)
def test_a_home_goes_on_with_the_decoding_and_pooling_of_its_model(
    home: Home, recorded: dict[str, str], setting: dict[str, str], name: str, expected: tuple[str, str]
) -> None:
    there = replace(home.update(**recorded), settings=replace(home.settings, **setting))  # type: ignore[arg-type]
    assert chosen_decoding_and_pooling(there, name) == expected


def test_a_mean_is_in_force_as_set_else_as_recorded_with_the_model(home: Home, tmp_path: Path) -> None:
    files = [mean_file(tmp_path, seed=seed) for seed in (0, 1)]
    first, second = (file_sha256(file) for file in files)
    assert chosen_centre(home, LITE0) == ""
    assert chosen_centre(with_centre(home, files[0]), LITE0) == first
    home.update(model=LITE0, centre=first)
    assert chosen_centre(with_centre(home, None), LITE0) == first
    assert chosen_centre(with_centre(home, None), "resnet50") == "", "it was another model's"
    assert chosen_centre(with_centre(home, files[1]), LITE0) == second
    assert chosen_centre(with_centre(home, "none"), LITE0) == "", "the way back"


def test_the_setting_is_a_path_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = {
        value: load_settings(env={"IMGRET_ENV_FILE": os.devnull, "IMGRET_CENTRE": value}).centre
        for value in ("", "none", "./none", "a/b.npy")
    }
    assert said == {"": None, "none": "none", "./none": tmp_path / "none", "a/b.npy": tmp_path / "a/b.npy"}


def test_another_content_of_the_file_is_another_space(home: Home, tmp_path: Path) -> None:
    file = mean_file(tmp_path)
    set_home = with_centre(home, file)
    first = record_space(set_home, LITE0)
    shutil.copy(mean_file(tmp_path, seed=1), file)
    assert resolve(set_home, LITE0).space.id != first.space.id
    assert resolve_space(set_home, first.space.id) == first
    moved = file.rename(tmp_path / "elsewhere.npy")
    assert resolve(with_centre(home, moved), LITE0).space.centre == file_sha256(moved)


def test_the_space_of_the_last_run_is_with_the_recorded_mean(home: Home, tmp_path: Path) -> None:
    file = mean_file(tmp_path)
    plain, model = record_space(home, LITE0), record_space(with_centre(home, file), LITE0)
    assert space_of_last_run(home.update(model=LITE0)) == plain.space
    recorded = home.update(model=LITE0, centre=model.space.centre)
    assert space_of_last_run(recorded) == model.space
    assert space_of_last_run(replace(recorded, settings=with_centre(home, tmp_path / "gone.npy").settings)) == (
        model.space
    ), "what is set for the next run changes nothing, be it wrong"
    gem = replace(recorded, settings=replace(recorded.settings, pooling="gem"))
    assert space_of_last_run(gem) == model.space, "the only one with this mean"
