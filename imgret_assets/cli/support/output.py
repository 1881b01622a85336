"""Results on stdout: a table on a terminal, tab-separated values for a pipe, or the requested format.

Belongs here: the options `--format`, `-0`, `--json` and `--fail-on-found`, and writing rows in each format such that no
file name can break it. Not here: the rows (the commands), aligning columns (`cli.support.text_table`), progress
(`cli.support.progress_bar`).

In all formats stdout is UTF-8 and contains only results; messages go to stderr.
"""

import csv
import io
import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from imgret_assets.cli.support.text_table import align
from imgret_assets.errors import ImgretError
from imgret_assets.image_roots import AnyRoot
from imgret_assets.terminal import escaped, printable
from imgret_assets.wording import score_text

EXIT_FOUND = 11
SCHEMA = 1
TABLE, TSV, JSON, JSONL, CSV, PATHS = FORMATS = ("table", "tsv", "json", "jsonl", "csv", "paths")
# Fields of every document that has scores.
COSINE: Mapping[str, Any] = {"schema": SCHEMA, "metric": "cosine", "higher_is_closer": True}
SCORE_DIGITS = 4
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Output:
    """The format of results.

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
            columns: keys of the rows to write, in order, for `table`, `tsv` and `csv`.
            rows: one mapping per result.
            document: the document of `json`.
            lines: documents of `jsonl`, one per line; the rows if None.
            paths: paths of `paths`; the `path` of each row if None.

        Raises:
            ImgretError: the format is `paths` without `-0`, and a path contains a line break.
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
    """Add the output options to a command, which receives them as one argument `output`, an `Output`."""

    @click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        help="Format of the results (default: table on a terminal, else tsv). paths: absolute paths only.",
    )
    @click.option("-0", "--null", is_flag=True, help="End paths with NUL, for xargs -0; implies --format paths.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document; same as --format json.")
    @wraps(command)
    def with_output(*arguments: Any, form: str | None, null: bool, as_json: bool, **named: Any) -> Any:
        return command(*arguments, output=choose_output(form, null, as_json), **named)

    return with_output


def fail_on_found(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option `--fail-on-found` to a command, for scripts; see `exit_code`."""
    return click.option("--fail-on-found", is_flag=True, help=f"Exit with {EXIT_FOUND} if there is a result.")(command)


def exit_code(*, any_result: bool, fail_on_found: bool) -> int:
    """Return the exit code of a successful command: 11 if there is a result and `--fail-on-found` is set, else 0."""
    return EXIT_FOUND if any_result and fail_on_found else 0


def choose_output(form: str | None, null: bool, as_json: bool) -> Output:
    """Return the output that the options request.

    Raises:
        UsageError: two options request different formats.
    """
    requested = {name for name, is_set in ((form, form), (PATHS, null), (JSON, as_json)) if name and is_set}
    if len(requested) > 1:
        raise click.UsageError("--format, --json and -0 request different formats: give one")
    default = TABLE if sys.stdout.isatty() else TSV
    return Output(requested.pop() if requested else default, null)


def table(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Return a table with a header, numbers rounded and to the right, without characters that move the cursor.

    None is shown as `-`, a missing key as an empty cell.
    """
    cells = [list(columns), *([_cell(row[name]) if name in row else "" for name in columns] for row in rows)]
    return "\n".join(align(cells, right=[all(_is_number(row.get(name)) for row in rows) for name in columns]))


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return score_text(value, SCORE_DIGITS)
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def tsv_cell(value: Any) -> str:
    r"""Return a cell of tab-separated values: backslash and controls as \\, \t, \n, \x1b; invalid bytes as \xNN."""
    text = _machine_text(value).replace("\\", "\\\\")
    return "".join(escaped(char) if unicodedata.category(char) in ("Cc", "Cs") else char for char in text)


def _csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    text = io.StringIO(newline="")
    # Line ends of RFC 4180, with which the writer also quotes a lone carriage return.
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_encodable(_machine_text(row.get(name))) for name in columns] for row in rows)
    return text.getvalue()


def _machine_text(value: Any) -> str:
    """Return a value for programs: all digits of a number, true and false, an empty text for None."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _encodable(text: str) -> str:
    r"""Return a text that can be encoded as UTF-8: invalid bytes of a file name as \xNN."""
    return "".join(escaped(char) if 0xDC80 <= ord(char) <= 0xDCFF else char for char in text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _write_paths(paths: Sequence[str], *, null: bool) -> None:
    broken = [path for path in paths if "\n" in path]
    if broken and not null:
        raise ImgretError(
            f"{len(broken):,} paths contain a line break, such as {printable(broken[0])}, and would be read as two",
            remedy="use -0 and xargs -0, or --format json",
        )
    if not null and sys.stdout.isatty():
        paths = [printable(path) for path in paths]
    end = "\0" if null else "\n"
    # As bytes, because names in the file system need not be UTF-8.
    _write("".join(f"{path}{end}" for path in paths).encode("utf-8", "surrogateescape"))


def _write(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def absolute_paths(root: AnyRoot, paths: Iterable[str]) -> list[str]:
    """Return the paths of images as absolute paths that any program can open."""
    return [str(root / path) for path in paths]
