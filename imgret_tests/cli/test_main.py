"""The `imgret` command: exit codes, completion, and what it imports."""

import errno
import gc
import importlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest

from imgret_assets.cli import main as main_module
from imgret_assets.cli.main import COMMANDS, main, run_command
from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import ImageError, ImgretError, TableError
from imgret_assets.locations import PROJECT
from imgret_assets.settings import load_settings

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
    """Return the modules among `names` that a new process has loaded after it ran the code."""
    report = f"\nimport json, sys\nprint(json.dumps([name for name in {names!r} if name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, cwd=PROJECT, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def replace_demo(monkeypatch: pytest.MonkeyPatch, outcome: object) -> None:
    """Replace `imgret demo` by a command that raises or returns the outcome."""

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
    replace_demo(monkeypatch, outcome)
    assert run_command(["demo"]) == code


def test_main_looks_for_garbage_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gc.get_threshold()
    replace_demo(monkeypatch, None)
    try:
        with pytest.raises(SystemExit):
            main(["demo"])
        assert gc.get_threshold()[0] == 50_000
    finally:
        gc.set_threshold(*before)


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_demo(monkeypatch, TableError("It is damaged"))
    with pytest.raises(SystemExit) as problem:
        main(["demo"])
    assert problem.value.code == 1


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (ImgretError("It is gone", remedy="look for it"), "imgret: It is gone. What to do: look for it.\n"),
        (KeyboardInterrupt(), "\nimgret: interrupted; run again to continue where it stopped\n"),
    ],
)
def test_a_failure_is_a_line_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outcome: BaseException, message: str
) -> None:
    replace_demo(monkeypatch, outcome)
    run_command(["demo"])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message)


def test_an_unexpected_error_is_a_line_that_names_the_file_with_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    replace_demo(monkeypatch, ZeroDivisionError("a bug"))
    assert run_command(["demo"]) == 1
    (log,) = tmp_path.iterdir()
    assert capsys.readouterr().err == (
        "imgret: An unexpected error ended the command (ZeroDivisionError: a bug). "
        f"What to do: run it again; if it ends again, report it: the traceback is in {log}.\n"
    )
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["query"], ["query", "a.png", "-k", "many"]])
def test_wrong_use_exits_with_2_and_shows_the_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
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


def test_a_query_image_that_does_not_exist_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    open_home(load_settings())
    assert run_command(["query", "/nowhere/a.png"]) == 2
    assert "/nowhere/a.png can't be read" in capsys.readouterr().err


# Prints a lot in pieces and returns the exit code that the command has if everything was read.
PRINT_LINES = """
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
    """Run a command whose reader closes the pipe after some bytes; return the exit code and stderr."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT)
    assert process.stdout is not None
    assert len(process.stdout.read(bytes_read)) == bytes_read
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    return process.wait(60), errors


def test_a_closed_pipe_prints_no_error() -> None:
    """As in `imgret … | head -1`: the exit code is that of git and ls, which end by the signal of the closed pipe."""
    assert read_and_close([sys.executable, "-c", PRINT_LINES, "demo"], 10) == (141, b"")


def test_help_with_a_closed_output() -> None:
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


def test_the_exit_code_of_a_command_whose_output_is_read() -> None:
    done = subprocess.run([sys.executable, "-c", PRINT_LINES, "demo"], capture_output=True, cwd=PROJECT, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (11, 20_000)


def test_a_broken_pipe_other_than_the_output_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For example a connection that broke while the output is still read."""
    replace_demo(monkeypatch, BrokenPipeError(errno.EPIPE, "a socket"))
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", stdout)
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        assert run_command(["demo"]) == 1
    (log,) = tmp_path.iterdir()
    assert "other than the output broke" in log.read_text()


def test_ctrl_c_prints_one_line_and_exits_with_130() -> None:
    program = PRINT_LINES.replace("for number in range(20_000)", "for number in [print('ready', flush=True)]").replace(
        'click.echo("a line of some length " * 4)', "__import__('time').sleep(60)"
    )
    # As on a terminal: programs that a script starts in the background ignore SIGINT, and their children do too.
    with_handler = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    with subprocess.Popen(
        [sys.executable, "-c", with_handler + program, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=PROJECT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert errors.strip() == b"imgret: interrupted; run again to continue where it stopped"


# Completion


def completions(words: str, **environment: str) -> list[str]:
    number = len(words.split(" ")) - 1
    variables = {"_IMGRET_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "imgret_assets.cli.main"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_commands_options_and_values_are_completed() -> None:
    assert completions("imgret ex") == ["plain,explain", "plain,export"]
    assert completions("imgret query --rel") == ["plain,--relations"]
    assert completions("imgret query --mode ex") == ["plain,exact"]
    assert completions("imgret query ") == ["file,"]
    assert "plain,start" in completions("imgret db st")


def test_completing_a_command_imports_no_command() -> None:
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
def test_the_completion_script_of_a_shell(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert run_command(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_IMGRET_COMPLETE={shell}_complete" in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script, text=True, check=True)


def test_an_unknown_shell_is_wrong_use() -> None:
    assert run_command(["completion", "tcsh"]) == 2


# Commands


def test_help_lists_every_command_without_importing_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == 0
    output = capsys.readouterr().out
    for name, (_, text) in COMMANDS.items():
        assert f"\n  {name} " in output
        assert text.split()[0] in output


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
    code = "from imgret_assets.cli.query import import_driver_without_pandas as load; load()"
    assert loaded_after(code, "neo4j", "pandas", "dagster") == {"neo4j"}
    assert loaded_after(f"{code}; import pandas", "neo4j", "pandas") == {"neo4j", "pandas"}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_in_its_module_and_has_a_help_text(name: str) -> None:
    module = importlib.import_module(COMMANDS[name][0])
    command = getattr(module, name)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert (command.help or "").strip()


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["query", "-h"], ["samples", "--help"], ["--version"]])
def test_help_and_version_exit_with_0(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run_command(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["--version"])
    assert importlib.metadata.version("imgret") in capsys.readouterr().out
