"""imgret installed from its wheel: its files, the text for the package index, its places outside a checkout.

The environment is new; the heavy packages are those of the environment that runs the tests.
"""

import email
import json
import re
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from imgret_assets.locations import PROJECT
from imgret_assets.settings import load_settings
from imgret_tests.support.neo4j_server import clean_environment

RELATIVE_LINK = re.compile(r"\]\((?!https?://|#|mailto:)")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, a user's home folder, and an empty working folder."""

    folder: Path

    @property
    def site_packages(self) -> Path:
        return next((self.folder / "venv").glob("lib/python*/site-packages"))

    def run(self, *words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a program of the environment in the empty folder."""
        environment = clean_environment() | {
            "HOME": str(self.folder / "user"),
            "XDG_DATA_HOME": str(self.folder / "user" / "share"),
            "XDG_CACHE_HOME": str(self.folder / "user" / "cache"),
        }
        for name in ("PYTHONPATH", "IMGRET_CACHE", "IMGRET_HOME", "IMGRET_ENV_FILE"):
            environment.pop(name, None)
        return subprocess.run(
            [str(self.folder / "venv" / "bin" / words[0]), *words[1:]],
            cwd=self.folder / "work",
            env=environment | (env or {}),
            capture_output=True,
            text=True,
            check=False,
        )

    def output(self, *words: str, env: dict[str, str] | None = None) -> str:
        done = self.run(*words, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout


def pip(*words: str | Path, python: Path | None = None) -> None:
    chosen = ["--python", str(python)] if python else []
    command = [sys.executable, "-m", "pip", *chosen, *map(str, words), "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, PROJECT)
    (file,) = folder.glob("imgret-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    for name in ("work", "user"):
        (folder / name).mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    environment = Installed(folder)
    pip("install", "--no-deps", "--no-index", wheel, python=folder / "venv" / "bin" / "python")
    # Searched after the environment's own packages; .pth files of that folder are not read.
    heavy = sysconfig.get_path("purelib")
    (environment.site_packages / "heavy.pth").write_text(f"{heavy}\n", encoding="utf-8")
    return environment


def files_of(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    package = PROJECT / "imgret_assets"
    expected = {f"imgret_assets/{name}" for name in files_of(package) if "__pycache__" not in name}
    assert {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name} == expected
    assert {"imgret_assets/app/icon.png", "imgret_assets/domain/neo4j_server/neo4j-jars.txt"} <= expected


def test_the_description_for_the_package_index_has_no_relative_links(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    description = str(metadata.get_payload())
    assert description.startswith("# imgret")
    assert RELATIVE_LINK.search((PROJECT / "README.md").read_text(encoding="utf-8")), "else there is nothing to replace"
    assert not RELATIVE_LINK.search(description)


PLACES = """
import json, os
import imgret_assets, imgret_assets.cli.main
from imgret_assets.settings import env_file, load_settings
from imgret_assets.domain.storage.home import open_home
settings = load_settings()
import imgret_assets.domain.duplicates.hash_kernels, numba
print(json.dumps({
    "package": imgret_assets.__file__, "home": str(settings.home), "cache": str(settings.cache),
    "model": open_home(load_settings({"home": "made"})).model,
    "env": str(env_file()), "images": str(settings.images), "numba": numba.config.CACHE_DIR,
}))
"""


def test_home_cache_and_env_file_are_the_user_s_and_the_default_model_is_there(installed: Installed) -> None:
    work, user = installed.folder / "work", installed.folder / "user"
    (work / ".env").write_text("IMGRET_IMAGES=photos\n", encoding="utf-8")
    try:
        places = json.loads(installed.output("python", "-c", PLACES))
    finally:
        (work / ".env").unlink()
    assert places == {
        "package": str(installed.site_packages / "imgret_assets" / "__init__.py"),
        "home": str(user / "share" / "imgret"),
        "cache": str(user / "cache" / "imgret"),
        "model": "efficientnet_lite0",
        "env": str(work / ".env"),
        "images": str(work / "photos"),
        "numba": str(user / "cache" / "imgret" / "numba"),
    }
    assert installed.output("imgret", "--version").startswith("imgret, version ")


@pytest.mark.exhaustive
@pytest.mark.timeout(900)  # every kernel is compiled for this environment
def test_samples_run_and_query_work_in_an_empty_folder(installed: Installed) -> None:
    before = files_of(installed.site_packages)
    # The server's files are those of the tests: what is tested here needs no download.
    shared = {"IMGRET_CACHE": str(load_settings().cache)}

    def imgret(*words: str | Path) -> str:
        return installed.output("imgret", *map(str, words), env=shared)

    home = installed.folder / "user" / "share" / "imgret"
    try:
        imgret("samples")
        assert json.loads(imgret("run", "--json"))["model"].startswith("efficientnet_lite0-")
        (hits,) = [json.loads(imgret("query", home / "queries" / "ibex.jpg", "--json"))["results"]]
        assert len(hits) == 5
    finally:
        installed.run("imgret", "db", "stop", env=shared)
    assert all(name.startswith("made/") for name in files_of(installed.folder / "work"))
    assert files_of(installed.site_packages) == before
