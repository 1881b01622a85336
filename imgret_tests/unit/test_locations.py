"""The places that count without a setting, in a checkout and outside of one."""

import sys
from pathlib import Path

import pytest

from imgret_assets import locations
from imgret_assets.settings import load_settings


def test_only_imgret_s_own_pyproject_makes_a_checkout(tmp_path: Path) -> None:
    """Some packages put a pyproject.toml of their own into site-packages."""
    assert locations.is_checkout()
    assert not locations.is_checkout(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "something"\n')
    assert not locations.is_checkout(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "imgret"\n')
    assert locations.is_checkout(tmp_path)


def test_outside_a_checkout_the_user_s_folders_and_the_working_folder_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locations, "PROJECT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / ".env").write_text("IMGRET_MODEL=timm:resnet18\n")
    settings = load_settings(env={})
    assert settings.model == "timm:resnet18"
    if sys.platform == "linux":
        assert (settings.home, settings.cache) == (tmp_path / "data" / "imgret", tmp_path / "cache" / "imgret")
    assert not str(settings.home).startswith(str(locations.PROJECT))
    assert locations.program() == "imgret"
    assert locations.install_command().startswith("pip install ")
