"""Results on stdout: a table for people, tab-separated lines for a pipe, or the form that was asked for.

Belongs here: the options `--format`, `-0`, `--json` and `--fail-on-found`, and writing rows in each form so that no
file name can break it. Not here: what the rows are (the commands), progress (`cli.support.progress_bar`).

Whatever the form, stdout is UTF-8 and nothing but results; everything else goes to stderr.
"""

import csv
import io
import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from imgret_assets.cli.support.text_table import align
from imgret_assets.errors import ImgretError

EXIT_FOUND = 11
SCHEMA = 1
TABLE, TSV, JSON, JSONL, CSV, PATHS = FORMATS = ("table", "tsv", "json", "jsonl", "csv", "paths")
# What every document says of its scores.
COSINE: Mapping[str, Any] = {"schema": SCHEMA, "metric": "cosine", "higher_is_closer": True}
_DIGITS = 4
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Output:
    """How results are to be written.

    Attributes:
        form: one of `FORMATS`.
        null: paths end with NUL instead of a line break.
    """

    form: str
    null: bool = False

    def emit(
        self,
        columns: Sequence[str],
        rows: Sequence[Row],
        *,
        document: Any,
        lines: Iterable[Any] | None = None,
        paths: Iterable[str] | None = None,
    ) -> None:
        """Write results to stdout.

        Args:
            columns: the keys of the rows that are shown, in order; of `table`, `tsv` and `csv`.
            rows: what they show.
            document: what `json` writes: one document.
            lines: what `jsonl` writes, one document a line; the rows where None.
            paths: what `paths` writes; the rows' `path` where None.

        Raises:
            ImgretError: the format is `paths` without `-0`, and a path holds a line break.
        """
        if self.form == JSON:
            _write(f"{_json(document)}\n".encode("utf-8", "backslashreplace"))
        elif self.form == JSONL:
            _write("".join(f"{_json(line)}\n" for line in (rows if lines is None else lines)).encode(*_UTF8))
        elif self.form == PATHS:
            _write_paths([row["path"] for row in rows] if paths is None else list(paths), null=self.null)
        elif self.form == CSV:
            _write(_csv(columns, rows).encode(*_UTF8))
        elif self.form == TSV:
            cells = [columns, *([tsv_cell(row.get(name)) for name in columns] for row in rows)]
            _write("".join("\t".join(line) + "\n" for line in cells).encode(*_UTF8))
        elif rows:
            _write(f"{table(columns, rows)}\n".encode(*_UTF8))


_UTF8 = ("utf-8", "backslashreplace")


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of output; it is called with `output`, an Output, in their place."""

    @click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        help="Form of the results; a table on a terminal, else tsv. paths: the files alone, absolute.",
    )
    @click.option("-0", "--null", is_flag=True, help="Paths that end with NUL, for xargs -0; means --format paths.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON document; the same as --format json.")
    @wraps(command)
    def with_output(*arguments: Any, form: str | None, null: bool, as_json: bool, **named: Any) -> Any:
        return command(*arguments, output=_chosen(form, null, as_json), **named)

    return with_output


def fail_on_found(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option `--fail-on-found`, which scripts use to ask; see `exit_code`."""
    return click.option("--fail-on-found", is_flag=True, help=f"Exit with {EXIT_FOUND} if there is a result.")(command)


def exit_code(*, found: bool, asked: bool) -> int:
    """The exit code of a command that has done what it should: 11 if something was found and that was asked for."""
    return EXIT_FOUND if found and asked else 0


def _chosen(form: str | None, null: bool, as_json: bool) -> Output:
    asked = [name for name, there in ((form, form), (PATHS, null), (JSON, as_json)) if there]
    if len(set(asked)) > 1:
        raise click.UsageError("--format, --json and -0 ask for different forms: give one")
    default = TABLE if sys.stdout.isatty() else TSV
    return Output(asked[0] or default if asked else default, null)


def table(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Columns side by side under their names, numbers to the right and rounded; no character that moves the cursor.

    None shows as `-`, a key that a row has not as nothing.
    """
    cells = [list(columns), *([_shown(row[name]) if name in row else "" for name in columns] for row in rows)]
    return "\n".join(align(cells, right=[all(_is_number(row.get(name)) for row in rows) for name in columns]))


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{_DIGITS}f}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def printable(text: str) -> str:
    r"""A text as it may be shown on a terminal: what is not printable as \n or \x1b, invalid bytes as \xNN."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    # Python reads a file name's invalid byte NN as the lone surrogate U+DCNN.
    return f"\\x{ord(sign) - 0xDC00:02x}" if 0xDC80 <= ord(sign) <= 0xDCFF else repr(sign)[1:-1]


def tsv_cell(value: Any) -> str:
    r"""A cell of tab-separated values: backslash and controls as \\, \t, \n, \x1b; invalid bytes as \xNN."""
    text = _machine(value).replace("\\", "\\\\")
    return "".join(_escaped(sign) if unicodedata.category(sign) in ("Cc", "Cs") else sign for sign in text)


def _csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    text = io.StringIO(newline="")
    # RFC 4180, whose line ends also have the writer quote a lone carriage return.
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_valid(_machine(row.get(name))) for name in columns] for row in rows)
    return text.getvalue()


def _machine(value: Any) -> str:
    """A value for programs: all digits of a number, true and false, nothing for None."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _valid(text: str) -> str:
    r"""A text that is UTF-8: invalid bytes of a file name as \xNN."""
    return "".join(_escaped(sign) if 0xDC80 <= ord(sign) <= 0xDCFF else sign for sign in text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _write_paths(paths: Sequence[str], *, null: bool) -> None:
    broken = [path for path in paths if "\n" in path]
    if broken and not null:
        raise ImgretError(
            f"{len(broken):,} paths hold a line break, such as {printable(broken[0])}, and would be read as two",
            remedy="ask with -0, and read with xargs -0; or take --format json",
        )
    if not null and sys.stdout.isatty():
        paths = [printable(path) for path in paths]
    end = "\0" if null else "\n"
    # As bytes: the name is what the file system has, whether it is UTF-8 or not.
    _write("".join(f"{path}{end}" for path in paths).encode("utf-8", "surrogateescape"))


def _write(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def absolute_paths(root: Path, paths: Iterable[str]) -> list[str]:
    """Paths of images as files that any program can open."""
    return [str(root / path) for path in paths]
