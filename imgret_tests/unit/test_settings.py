"""Settings: where a value comes from, unknown names, malformed values."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from imgret_assets.errors import SettingError
from imgret_assets.image_roots import ImageRoots
from imgret_assets.locations import PROJECT
from imgret_assets.settings import (
    KNOWN_VARIABLES,
    VARIABLES,
    Settings,
    check_threshold,
    env_file,
    load_settings,
)


def loaded(flags: Mapping[str, object] | None = None, **env: str) -> Settings:
    return load_settings(flags, env={"IMGRET_ENV_FILE": os.devnull, **env})


def test_defaults() -> None:
    settings = loaded()
    assert settings.home == PROJECT / "data"
    assert settings.dagster_home == PROJECT / "data" / "dagster"
    assert (settings.images, settings.model, settings.weights, settings.shards, settings.threshold) == (None,) * 5
    assert settings.device == "auto"
    assert settings.max_pixels == 100_000_000
    assert settings.neo4j.embedded
    assert settings.neo4j.username == "neo4j"
    assert settings.warnings == ()


def test_a_flag_wins_over_the_environment_which_wins_over_the_env_file(tmp_path: Path) -> None:
    file = tmp_path / "some.env"
    file.write_text("IMGRET_MODEL=from_file\nIMGRET_SHARDS=3\nIMGRET_THRESHOLD=0.7\n")
    env = {"IMGRET_ENV_FILE": str(file), "IMGRET_SHARDS": "5", "IMGRET_THRESHOLD": "0.6"}
    settings = load_settings({"threshold": 0.5, "model": None}, env=env)
    assert (settings.model, settings.shards, settings.threshold) == ("from_file", 5, 0.5)


def test_an_empty_value_counts_as_not_set(tmp_path: Path) -> None:
    """Compose files and CI set variables to nothing."""
    file = tmp_path / "some.env"
    file.write_text("IMGRET_MODEL=from_file\nIMGRET_SHARDS=\n")
    settings = load_settings(env={"IMGRET_ENV_FILE": str(file), "IMGRET_MODEL": "", "NEO4J_URI": ""})
    assert (settings.model, settings.shards, settings.neo4j.uri) == ("from_file", None, None)


def test_the_environment_of_the_process_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGRET_MODEL", "first")
    assert load_settings().model == "first"
    monkeypatch.setenv("IMGRET_MODEL", "second")
    assert load_settings().model == "second"


def test_the_env_file_is_the_one_beside_pyproject_toml_by_default() -> None:
    assert env_file({}) == PROJECT / ".env"
    assert (PROJECT / "pyproject.toml").is_file()


def test_paths_become_absolute_and_links_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = loaded(IMGRET_HOME="some/../home", IMGRET_IMAGES="link", IMGRET_WEIGHTS="~/w.pth")
    assert settings.home == tmp_path / "home"
    assert settings.images == ImageRoots.plain(tmp_path / "link")
    assert settings.weights == tmp_path / "w.pth"


def test_flags_of_neo4j_and_dagster(tmp_path: Path) -> None:
    settings = loaded(
        {"neo4j_uri": "bolt://x", "neo4j_username": "u", "neo4j_password": "p", "neo4j_database": "d"}
        | {"dagster_home": tmp_path, "lock_timeout_s": 0}
    )
    assert (settings.neo4j.uri, settings.neo4j.username, settings.neo4j.password) == ("bolt://x", "u", "p")
    assert settings.neo4j.database == "d"
    assert not settings.neo4j.embedded
    assert settings.dagster_home == tmp_path
    assert settings.lock_timeout_s == 0.0


@pytest.mark.parametrize("flag", VARIABLES)
def test_every_setting_is_read(flag: str) -> None:
    """A known name that nothing reads would be ignored without a message."""
    values = {"decoding": "full", "pooling": "gem", "device": "cpu", "engine": "torch", "app_url": "http://x"}
    values |= {"pair_search": "brute_force", "orientations": "on", "neo4j_uri": "bolt://y", "readable_by": "group"}
    values |= {"api_token": "0123456789abcdef", "api_max_bytes": "3000", "store": "s3://bucket", "graph_vectors": "no"}
    uri = {"neo4j_uri": "bolt://x"} if flag.startswith("neo4j_") else {}
    assert loaded(uri | {flag: values.get(flag, "0.5" if flag in ("threshold", "memory_gb") else "3")}) != loaded(
        {} if flag == "neo4j_uri" else uri
    )


def test_a_login_without_a_uri_is_ignored_with_a_warning() -> None:
    """The embedded server has its own password."""
    settings = loaded(NEO4J_USERNAME="someone", NEO4J_PASSWORD="secret")
    assert (settings.neo4j.username, settings.neo4j.password) == ("neo4j", None)
    assert settings.warnings == (
        "NEO4J_USERNAME and NEO4J_PASSWORD ignored: "
        "without NEO4J_URI the embedded server and its own password are used",
    )
    assert loaded(NEO4J_URI="bolt://x", NEO4J_PASSWORD="secret").warnings == ()


def test_no_representation_shows_the_password() -> None:
    settings = loaded(NEO4J_URI="bolt://x", NEO4J_PASSWORD="very secret")
    assert "very secret" not in repr(settings)
    assert "bolt://x" in repr(settings)


@pytest.mark.parametrize(
    ("flag", "nearest"),
    [("thresold", "threshold"), ("neo4j_username_", "neo4j_username"), ("Model", "model"), ("model ", "model")],
)
@pytest.mark.parametrize("value", [0.5, None])
def test_an_unknown_flag_is_an_error_with_the_nearest_name(flag: str, nearest: str, value: object) -> None:
    with pytest.raises(SettingError, match=rf"^There is no setting {flag}\. .* the nearest: {nearest}\."):
        loaded({flag: value})


def test_an_unknown_variable_of_the_environment_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(
        SettingError,
        match=r"^There is no setting IMGRET_THRESOLD \(in the environment\)\. .*the nearest: IMGRET_THRESHOLD\.",
    ):
        loaded(IMGRET_THRESOLD="0.5")


def test_an_unknown_variable_of_the_env_file_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "some.env"
    file.write_text("IMGRET_MODELL=resnet50\n")
    with pytest.raises(
        SettingError,
        match=rf"^There is no setting IMGRET_MODELL \(in {re.escape(str(file))}\)\. .* the nearest: IMGRET_MODEL\.",
    ):
        load_settings(env={"IMGRET_ENV_FILE": str(file)})


def test_several_unknown_variables_are_named_together() -> None:
    message = r"^There is no setting IMGRET_HOMES or IMGRET_SHARD .* the nearest: IMGRET_HOME, IMGRET_SHARDS\."
    with pytest.raises(SettingError, match=message):
        loaded(IMGRET_SHARD="4", IMGRET_HOMES="/x")


def test_an_unknown_variable_without_a_value_sets_nothing() -> None:
    assert loaded(IMGRET_THRESOLD="").threshold is None


@pytest.mark.parametrize("name", ["IMGRET_TEST_NEO4J_URI", "IMGRET_CODE_MODULE", "IMGRET_COMPOSE_NEO4J_PASSWORD"])
def test_variables_of_tests_and_containers_are_known(name: str) -> None:
    assert loaded(None, **{name: "x"}).model is None


@pytest.mark.parametrize("name", ["NEO4J_AUTH", "DAGSTER_IS_DEV_CLI", "_IMGRET_COMPLETE", "IMGRETTE"])
def test_variables_of_other_programs_are_not_checked(name: str) -> None:
    assert loaded(None, **{name: "x"}).model is None


@pytest.mark.parametrize("file", ["docker-compose.yml", "Dockerfile", "docker/code_server.py", "Makefile"])
def test_every_variable_of_the_project_s_own_files_is_known(file: str) -> None:
    named = set(re.findall(r"\bIMGRET_[A-Z0-9_]+", (PROJECT / file).read_text(encoding="utf-8")))
    assert named
    assert {name for name in named if not name.startswith("IMGRET_TEST_")} <= KNOWN_VARIABLES


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("IMGRET_SHARDS", "0", "a whole number from 1 to 1024"),
        ("IMGRET_SHARDS", "1025", "a whole number from 1 to 1024"),
        ("IMGRET_SHARDS", "4.5", "a whole number from 1 to 1024"),
        ("IMGRET_THRESHOLD", "1.01", "a number from -1 to 1"),
        ("IMGRET_THRESHOLD", "nan", "a number from -1 to 1"),
        ("IMGRET_THRESHOLD", "high", "a number from -1 to 1"),
        ("IMGRET_MAX_PIXELS", "0", "a whole number from 1 to"),
        ("IMGRET_LOCK_TIMEOUT_S", "-1", "a number from 0 to"),
        ("IMGRET_DEVICE", "gpu", "one of auto, cpu, cuda, mps"),
        ("IMGRET_GRAPH_VECTORS", "off", "one of yes, no"),
        ("IMGRET_CLUSTER_GPUS", "0", "a number from 0.01 to 64"),
        ("IMGRET_CLUSTER_GPUS", "1.5", "a part of one GPU, such as 0.5, or a whole number"),
        ("IMGRET_APP_URL", "images.example", "an address such as"),
    ],
)
def test_a_value_out_of_range_is_an_error_with_the_range(name: str, value: str, expected: str) -> None:
    with pytest.raises(SettingError, match=rf"^{name} is '{value}'\. Expected: {expected}"):
        loaded(None, **{name: value})


def test_allowed_hosts_are_names_and_addresses_each_once() -> None:
    value = "Images.Example, 192.168.1.5,,my_host,[FE80::1],fe80::2,images.example"
    expected = ("images.example", "192.168.1.5", "my_host", "[fe80::1]", "fe80::2")
    assert loaded(IMGRET_ALLOWED_HOSTS=value).allowed_hosts == expected
    assert loaded().allowed_hosts == ()


@pytest.mark.parametrize(
    "host", ["*", "*.example", "http://images.example", "images.example:8443", "a/b", "-x", "x.", "[fe80", "fe80:::1"]
)
def test_anything_else_is_no_allowed_host(host: str) -> None:
    message = (
        rf"^IMGRET_ALLOWED_HOSTS names {re.escape(repr(host))}\. Expected: host names without scheme, port and path"
    )
    with pytest.raises(SettingError, match=message):
        loaded(IMGRET_ALLOWED_HOSTS=f"images.example,{host}")


@pytest.mark.parametrize(
    ("store", "shown"),
    [("/mnt/share", "is '/mnt/share'"), ("s3://", "is 's3://'"), ("s3://key:secret@bucket/x", "has a user name")],
)
def test_a_store_is_a_bucket_and_its_message_shows_no_secret(store: str, shown: str) -> None:
    with pytest.raises(SettingError, match=rf"^IMGRET_STORE {shown}.* s3://bucket/prefix") as caught:
        loaded(IMGRET_STORE=store)
    assert "secret" not in str(caught.value)
    assert loaded(IMGRET_STORE="s3://bucket/a/b/").store == "s3://bucket/a/b"


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.8, 1.0])
def test_a_cosine_is_a_threshold(value: float) -> None:
    assert check_threshold(value) == value


@pytest.mark.parametrize("value", [-1.001, 1.001, float("nan"), float("inf")])
def test_other_numbers_are_no_threshold(value: float) -> None:
    with pytest.raises(SettingError, match=r"--threshold is .*Expected: a cosine from -1 to 1"):
        check_threshold(value, "--threshold")


def test_an_import_reads_no_settings(tmp_path: Path) -> None:
    """A malformed environment fails `load_settings`, never an import."""
    env = {**os.environ, "IMGRET_SHARDS": "many", "IMGRET_ENV_FILE": str(tmp_path)}
    code = "import imgret_assets.settings, imgret_assets.domain.storage.home"
    subprocess.run([sys.executable, "-c", code], env=env, check=True, cwd=PROJECT)


@pytest.mark.parametrize("variable", ["IMGRET_HOME", "DAGSTER_HOME"])
@pytest.mark.parametrize("name", ["100%", "what?", "a\nb", "tab\there", "bell\x07"])
def test_a_path_that_the_storage_cannot_open_is_refused_by_its_name(variable: str, name: str) -> None:
    with pytest.raises(SettingError, match=f"{variable} is ") as caught:
        load_settings(env={"IMGRET_ENV_FILE": os.devnull, variable: f"/srv/{name}/home"})
    assert repr(f"/srv/{name}/home") in str(caught.value)


@pytest.mark.parametrize("path", ["/srv/" + "x" * 256, "/srv" + "/0123456789" * 40])
def test_a_path_that_is_too_long_is_refused(path: str) -> None:
    with pytest.raises(SettingError, match=f"IMGRET_HOME has {len(path)} bytes"):
        loaded(IMGRET_HOME=path)


def test_the_bytes_of_a_path_count_and_not_its_characters() -> None:
    assert loaded(IMGRET_HOME="/srv/" + "x" * 255).home.name == "x" * 255
    with pytest.raises(SettingError, match="its longest name 256"):
        loaded(IMGRET_HOME="/srv/" + "é" * 128)


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:7474", "127.0.0.1:7687", "bolt://", "bolt://host:99999", "bolt://host:port", "neo4j"]
)
def test_an_address_that_no_driver_can_open_is_refused(uri: str) -> None:
    with pytest.raises(SettingError, match=r"NEO4J_URI is .*Expected: an address such as bolt://host:7687"):
        loaded(NEO4J_URI=uri)


@pytest.mark.parametrize("uri", ["bolt://[::1]:7687", "neo4j+s://abc.databases.neo4j.io", "bolt+ssc://host"])
def test_an_address_of_every_scheme_is_taken(uri: str) -> None:
    assert loaded(NEO4J_URI=uri).neo4j.uri == uri


@pytest.mark.parametrize("uri", ["bolt://neo4j:hush@host:7687", "neo4j://hush@host", "bolt://u:hush@:x", "u:hush@h"])
def test_a_password_within_the_address_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(SettingError, match="NEO4J_PASSWORD instead") as caught:
        loaded(NEO4J_URI=uri)
    assert "hush" not in repr(caught.value)


def test_an_env_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="which is not there"):
        load_settings(env={"IMGRET_ENV_FILE": str(tmp_path / "none.env")})
    with pytest.raises(SettingError, match="which is a folder"):
        load_settings(env={"IMGRET_ENV_FILE": str(tmp_path)})
    assert load_settings(env={"IMGRET_ENV_FILE": os.devnull}).model is None


def test_an_env_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "some.env"
    file.write_bytes(b"IMGRET_MODEL=caf\xe9\n")
    with pytest.raises(SettingError, match=r"some\.env is not UTF-8 \(byte 16 is 0xe9\)"):
        load_settings(env={"IMGRET_ENV_FILE": str(file)})
