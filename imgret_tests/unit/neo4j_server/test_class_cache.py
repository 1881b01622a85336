"""The options of Java for the cache of loaded classes."""

import time
from pathlib import Path

import pytest

from imgret_assets.domain.neo4j_server import class_cache, server_process
from imgret_assets.domain.neo4j_server.run_file import ServerFolder


def test_the_cache_is_used_only_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "jars" / "lib").mkdir(parents=True)
    link = tmp_path / "lib"
    link.symlink_to(tmp_path / "jars" / "lib")
    assert class_cache.use_flags(link) == ()
    file = class_cache.cache_file(tmp_path / "jars")
    file.touch()
    assert class_cache.use_flags(link)[0] == f"-XX:AOTCache={file}"


def test_another_java_has_another_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = class_cache.cache_file(tmp_path)
    monkeypatch.setattr(class_cache, "version", lambda _: "26.0.1")
    assert class_cache.cache_file(tmp_path) != file


@pytest.mark.parametrize("recording", [False, True])
def test_a_server_uses_the_cache_unless_it_records_one(
    folder: ServerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording: bool
) -> None:
    (tmp_path / "jars" / "lib").mkdir(parents=True)
    class_cache.cache_file(tmp_path / "jars").touch()
    (folder.path / "lib").symlink_to(tmp_path / "jars" / "lib")
    script = tmp_path / "java"
    arguments = tmp_path / "arguments"
    script.write_text(f'#!/bin/sh\necho "$@" > "{arguments}.new" && mv "{arguments}.new" "{arguments}"\n')
    script.chmod(0o755)
    monkeypatch.setattr(server_process, "java_command", lambda: [str(script)])
    flags = class_cache.record_flags(tmp_path / "recorded.aot") if recording else ()
    server_process.spawn(folder, 200, flags)
    deadline = time.monotonic() + 60
    while not arguments.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    given = arguments.read_text()
    assert ("-XX:AOTCache=" in given, "-XX:AOTCacheOutput=" in given) == (not recording, recording)
