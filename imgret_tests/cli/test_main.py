import errno
import importlib
import importlib.metadata
import json
import os
import shutil
import signal
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
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
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


# Says a lot in pieces, and returns what the exit code is to be if all was read.
TALKS = """
import sys, types, click
from imgret_assets.cli import main as module

@click.command()
def demo():
    for number in range(20_000):
        click.echo("a line of some length " * 4)
    return 11

module.importlib.import_module = lambda name: types.SimpleNamespace(demo=demo)
module.main(sys.argv[1:])
"""


def read_and_close(command: list[str], bytes_read: int) -> tuple[int, bytes]:
    """Run with a reader who has had enough after so many bytes; exit code and what was said on stderr."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT)
    assert process.stdout is not None
    assert len(process.stdout.read(bytes_read)) == bytes_read
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    return process.wait(60), said


def test_a_reader_who_has_had_enough_causes_no_complaint() -> None:
    """As in `imgret … | head -1`; the code is that of git and ls, which the closed pipe's signal ends."""
    assert read_and_close([sys.executable, "-c", TALKS, "demo"], 10) == (141, b"")


def test_help_to_a_reader_who_is_gone() -> None:
    code = "import sys; from imgret_assets.cli.main import main; sys.stdin.readline(); main(['--help'])"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_all_read_is_the_command_s_own_code() -> None:
    done = subprocess.run([sys.executable, "-c", TALKS, "demo"], capture_output=True, cwd=PROJECT, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (11, 20_000)


def test_another_broken_pipe_is_no_closed_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that broke, say, while somebody still reads."""
    command_that(monkeypatch, BrokenPipeError(errno.EPIPE, "a socket"))
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", stdout)
        with pytest.raises(RuntimeError, match="not the output broke"):
            run_command(["demo"])


def test_ctrl_c_ends_with_a_line_and_130() -> None:
    waits = TALKS.replace("for number in range(20_000)", "for number in [print('ready', flush=True)]").replace(
        'click.echo("a line of some length " * 4)', "__import__('time').sleep(60)"
    )
    # As from a terminal: what a script starts in the background ignores it, and so would all that these tests start.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    with subprocess.Popen(
        [sys.executable, "-c", heard + waits, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert said.strip() == b"imgret: stopped; run again: it goes on where it was"


# Completion


def completed(words: str, **environment: str) -> list[str]:
    number = len(words.split(" ")) - 1
    given = {"_IMGRET_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "imgret_assets.cli.main"],
        env=os.environ | given,
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_commands_options_and_values_are_completed() -> None:
    assert completed("imgret ex") == ["plain,explain", "plain,export"]
    assert completed("imgret query --rel") == ["plain,--relations"]
    assert completed("imgret query --mode ex") == ["plain,exact"]
    assert completed("imgret query ") == ["file,"]
    assert "plain,start" in completed("imgret db st")


def test_completing_a_command_imports_none() -> None:
    modules = [module for module, _ in COMMANDS.values()]
    code = """
import os
from imgret_assets.cli.main import run_command
os.environ |= {"_IMGRET_COMPLETE": "bash_complete", "COMP_WORDS": "imgret ", "COMP_CWORD": "1"}
try:
    run_command([])
except SystemExit:
    print()
"""
    assert loaded_after(code, *HEAVY, *modules) == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert run_command(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert f"_IMGRET_COMPLETE={shell}_complete" in said
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=said, text=True, check=True)


def test_an_unknown_shell_is_wrong_use() -> None:
    assert run_command(["completion", "tcsh"]) == 2


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
