import importlib
import importlib.metadata
import json
import subprocess
import sys

import click
import pytest

from imgret_assets.cli import main as main_module
from imgret_assets.cli.main import COMMANDS, main, run_command
from imgret_assets.errors import ImageError, ImgretError, TableError
from imgret_assets.settings import PROJECT

HEAVY = [
    "dagster",
    "pandas",
    "torch",
    "torchvision",
    "timm",
    "streamlit",
    "matplotlib",
    "neo4j",
    "pyarrow",
    "jgo",
    "PIL",
]


def loaded_after(code: str, *names: str) -> set[str]:
    """Which of the modules a fresh process has loaded after running the code."""
    report = f"\nimport json, sys\nprint(json.dumps([name for name in {names!r} if name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, cwd=PROJECT, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def command_that(monkeypatch: pytest.MonkeyPatch, outcome: object) -> None:
    """Let `imgret demo` end so."""

    @click.command()
    def demo() -> object:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    class Module:
        pass

    module = Module()
    module.demo = demo  # type: ignore[attr-defined]
    monkeypatch.setattr(main_module.importlib, "import_module", lambda _: module)


# Exit codes


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (None, 0),
        (0, 0),
        (11, 11),
        ("a text", 0),
        (TableError("It is damaged"), 1),
        (ImageError("It is no picture"), 2),
        (click.UsageError("no such thing"), 2),
        (click.ClickException("no"), 1),
        (KeyboardInterrupt(), 1),
        (click.Abort(), 1),
    ],
    ids=repr,
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, outcome: object, code: int) -> None:
    command_that(monkeypatch, outcome)
    assert run_command(["demo"]) == code


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, TableError("It is damaged"))
    with pytest.raises(SystemExit) as problem:
        main(["demo"])
    assert problem.value.code == 1


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (ImgretError("It is gone", remedy="look for it"), "imgret: It is gone. What to do: look for it.\n"),
        (KeyboardInterrupt(), "\nimgret: stopped; run again: it goes on where it was\n"),
    ],
)
def test_a_failure_is_a_line_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outcome: BaseException, said: str
) -> None:
    command_that(monkeypatch, outcome)
    run_command(["demo"])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", said)


def test_what_nobody_foresaw_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run_command(["demo"])


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["query"], ["query", "a.png", "-k", "many"]])
def test_wrong_use_exits_with_2_and_says_how(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run_command(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: imgret" in captured.err


def test_a_setting_out_of_range_is_wrong_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMGRET_SHARDS", "many")
    assert run_command(["query", "a.png", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("imgret: IMGRET_SHARDS is 'many'. Expected: a whole number")


def test_a_query_that_is_no_file_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["query", "/nowhere/a.png"]) == 2
    assert "/nowhere/a.png can't be read" in capsys.readouterr().err


def test_a_reader_who_has_had_enough_causes_no_complaint() -> None:
    """As in `imgret --help | head -1`; what the exit code is then is click's affair."""
    code = "import sys; from imgret_assets.cli.main import main; sys.stdin.readline(); main(['--help'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.close()
    assert process.stderr is not None
    complaint = process.stderr.read()
    process.stderr.close()
    process.wait(60)
    assert complaint == b""


# Commands


def test_help_lists_every_command_without_importing_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == 0
    said = capsys.readouterr().out
    for name, (_, text) in COMMANDS.items():
        assert f"\n  {name} " in said
        assert text.split()[0] in said


def test_help_imports_nothing_heavy_and_no_command() -> None:
    modules = [module for module, _ in COMMANDS.values()]
    code = "from imgret_assets.cli.main import run_command\nassert run_command(['--help']) == 0"
    assert loaded_after(code, *HEAVY, *modules) == set()


def test_importing_the_package_imports_nothing_else() -> None:
    assert loaded_after("import imgret_assets", *HEAVY, "imgret_assets.settings") == set()


def test_importing_the_query_command_imports_neither_dagster_nor_pandas_nor_torch() -> None:
    banned = ["dagster", "pandas", "torch", "torchvision", "timm", "streamlit"]
    assert loaded_after("import imgret_assets.cli.query", *banned) == set()


def test_the_driver_is_loaded_for_a_query_without_pandas_which_can_be_loaded_later() -> None:
    code = "from imgret_assets.cli.query import _import_driver_without_pandas as load; load()"
    assert loaded_after(code, "neo4j", "pandas", "dagster") == {"neo4j"}
    assert loaded_after(f"{code}; import pandas", "neo4j", "pandas") == {"neo4j", "pandas"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_where_the_table_says_and_tells_its_name(name: str) -> None:
    module = importlib.import_module(COMMANDS[name][0])
    command = getattr(module, name)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert (command.help or "").strip()


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["query", "-h"], ["samples", "--help"], ["--version"]])
def test_asking_for_help_is_done(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run_command(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["--version"])
    assert importlib.metadata.version("imgret") in capsys.readouterr().out
