"""The cache of the server's loaded classes: made once and whole, and never a reason for set-up to fail."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from imgret_assets.domain.neo4j_server import class_cache, lifecycle
from imgret_assets.domain.neo4j_server.jars import JarFolder
from imgret_assets.domain.neo4j_server.run_file import Connection
from imgret_assets.domain.operations import class_recording
from imgret_assets.errors import ServerError
from imgret_assets.settings import Settings, load_settings

SERVER = Connection("bolt://127.0.0.1:1", "neo4j", "secret")


class Recorder:
    """Stands in for the server: writes its cache when it is stopped, as Java does."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.asked = 0
        self.recorded: Path | None = None

    def ensure_running(self, settings: Settings, *, jvm_flags: Sequence[str], **_: Any) -> Connection:
        """Begin to record."""
        self.calls.append(f"start {settings.home.name}")
        self.recorded = Path(jvm_flags[0].partition("=")[2])
        return SERVER

    def stop(self, settings: Settings, *, within_s: float) -> bool:
        """Write the cache, if the end may take the time for it."""
        self.calls.append("stop" if within_s else "kill")
        if self.recorded and within_s:
            self.recorded.write_text("classes")
        return True


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a cache of jars."""
    return load_settings({"home": tmp_path / "home", "cache": tmp_path / "cache"}, env={})


@pytest.fixture
def file(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache is to be, beside jars that are there."""
    jars = settings.cache / "jars"
    jars.mkdir(parents=True)
    monkeypatch.setattr(class_recording, "assemble", lambda *_, **__: JarFolder(jars, "1", "2"))
    return class_cache.cache_file(jars)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A server that records and answers everything."""
    recorder = Recorder()
    monkeypatch.setattr(lifecycle, "ensure_running", recorder.ensure_running)
    monkeypatch.setattr(lifecycle, "stop", recorder.stop)
    monkeypatch.setattr(class_recording, "ask_as_a_first_run", lambda server: None)
    return recorder


def test_it_is_made_once_and_nothing_else_stays(settings: Settings, file: Path, recorder: Recorder) -> None:
    lines: list[str] = []
    assert class_recording.record_classes(settings, log=lines.append)
    assert file.read_text() == "classes"
    assert recorder.calls == ["start .neo4j-classes", "stop", "kill"]
    assert not (settings.cache / class_recording.FOLDER).exists()
    assert class_recording.record_classes(settings, log=lines.append)
    assert len(recorder.calls) == 3
    assert len(lines) == 1


def test_the_server_of_a_killed_try_is_ended_first(settings: Settings, file: Path, recorder: Recorder) -> None:
    left = settings.cache / class_recording.FOLDER / "neo4j"
    left.mkdir(parents=True)
    assert class_recording.record_classes(settings, log=print)
    assert recorder.calls == ["kill", "start .neo4j-classes", "stop", "kill"]
    assert file.is_file()


@pytest.mark.parametrize("error", [ServerError("it ended"), OSError(28, "No space left on device")])
def test_a_failure_is_told_and_leaves_no_file(
    settings: Settings, file: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(server: Connection) -> None:
        raise error

    monkeypatch.setattr(class_recording, "ask_as_a_first_run", fail)
    lines: list[str] = []
    assert not class_recording.record_classes(settings, log=lines.append)
    assert lines[-1] == f"Neo4j will start slower than it could: {error}"
    assert not file.exists()
    assert recorder.calls[-1] == "kill"
    assert not (settings.cache / class_recording.FOLDER).exists()


def test_a_java_that_writes_no_cache_is_told(
    settings: Settings, file: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "stop", lambda *_, **__: True)
    lines: list[str] = []
    assert not class_recording.record_classes(settings, log=lines.append)
    assert "No such file" in lines[-1]
    assert not file.exists()
