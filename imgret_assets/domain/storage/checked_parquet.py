"""Parquet files with checks: of every page, and of what the footer says about the rows.

Belongs here: writing the checks, verifying them on reading, the error of a damaged file and its mark. Not here: schemas
and paths (`domain.storage.tables`), removing damaged files (`domain.storage.verification`).

A page has a CRC-32, which any reader of parquet can verify. The footer has none. So the key `imgret:check` in the
file's metadata holds a digest of the other metadata, the columns and the number of rows. A file of an earlier version
has neither and is read without checks.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from imgret_assets.errors import TableError

CHECK_KEY = b"imgret:check"
# What pyarrow was seen to raise for damaged files.
_DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, RuntimeError, MemoryError, TypeError)
_Result = TypeVar("_Result")


class CheckedParquetFile(pq.ParquetFile):
    """A parquet file whose checks are verified as far as it is read.

    Args:
        path: the file.

    Raises:
        TableError: by the constructor and by every method that reads: the file is damaged, or not a parquet file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        initialise = super().__init__
        self._verified("its footer", lambda: initialise(path, page_checksum_verification=True))
        self._verified("its footer", self._check_footer)

    def _check_footer(self) -> None:
        if not self.metadata.metadata:
            raise ValueError("its metadata is missing")
        stored = self.metadata.metadata.get(CHECK_KEY)
        if stored is not None and stored != _footer_digest(self.schema_arrow, self.metadata.num_rows):
            raise ValueError("the check of its footer does not match")
        rows = sum(self.metadata.row_group(group).num_rows for group in range(self.num_row_groups))
        if rows != self.metadata.num_rows:
            raise ValueError(f"{rows} rows in its groups instead of {self.metadata.num_rows}")

    def _verified(self, part: str, read: Callable[[], _Result]) -> _Result:
        try:
            return read()
        except _DAMAGE as error:
            raise unreadable(self._path, f"{part}: {error}", error) from error

    def read(self, *args: Any, **options: Any) -> pa.Table:
        """Return the rows of all row groups; the arguments are pyarrow's."""
        rows = self.metadata.num_rows
        read = super().read
        return self._verified("its rows", lambda: _counted(read(*args, **options), rows))

    def read_row_group(self, i: int, *args: Any, **options: Any) -> pa.Table:
        """Return the rows of one row group; the arguments are pyarrow's."""
        rows = self.metadata.row_group(i).num_rows
        read = super().read_row_group
        return self._verified(f"row group {i}", lambda: _counted(read(i, *args, **options), rows))

    def iter_batches(
        self, batch_size: int = 1 << 16, row_groups: list[int] | None = None, *args: Any, **options: Any
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches; the arguments are pyarrow's."""
        read = super().iter_batches
        groups = range(self.num_row_groups) if row_groups is None else row_groups
        missing = sum(self.metadata.row_group(group).num_rows for group in groups)
        batches = self._verified("its rows", lambda: iter(read(batch_size, row_groups, *args, **options)))
        while (batch := self._verified("its rows", lambda: next(batches, None))) is not None:
            missing -= batch.num_rows
            yield batch
        # A damaged header of a page may end the rows early.
        if missing:
            raise unreadable(self._path, f"its rows: {missing} are missing", ValueError())


class CheckedParquetWriter(pq.ParquetWriter):
    """A writer that gives every page and the footer a check; the arguments are pyarrow's."""

    def __init__(self, where: Path, schema: pa.Schema, **options: Any) -> None:
        self._rows = 0
        super().__init__(where, schema, write_page_checksum=True, **options)

    def write_table(self, table: pa.Table, *args: Any, **options: Any) -> None:
        """Write the rows of a table; the arguments are pyarrow's, which also writes batches by this method."""
        super().write_table(table, *args, **options)
        self._rows += table.num_rows

    def close(self) -> None:
        """Write the footer with its check."""
        if self.is_open:
            self.add_key_value_metadata({CHECK_KEY: _footer_digest(self.schema, self._rows)})
        super().close()


def _counted(table: pa.Table, rows: int) -> pa.Table:
    if table.num_rows != rows and table.num_columns:
        raise ValueError(f"{table.num_rows} rows instead of {rows}")
    return table


def _footer_digest(schema: pa.Schema, rows: int) -> bytes:
    """Return the digest of what the footer says: metadata, columns, number of rows."""
    digest = hashlib.sha256()
    for key, value in sorted((schema.metadata or {}).items()):
        if not key.startswith(b"ARROW:") and key != CHECK_KEY:
            digest.update(b"%d %d " % (len(key), len(value)) + key + value)
    columns = [(field.name, field.nullable, _type_name(field.type)) for field in schema]
    digest.update(repr((columns, rows)).encode())
    return digest.hexdigest()[:32].encode()


def _type_name(kind: pa.DataType) -> str:
    """Return the name of a type; not Arrow's, which may change with its version."""
    if pa.types.is_fixed_size_list(kind):
        return f"{kind.list_size} {_type_name(kind.value_type)}"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        family = "float" if pa.types.is_floating(kind) else "int" if pa.types.is_signed_integer(kind) else "uint"
        return f"{family}{kind.bit_width}"
    return "string" if pa.types.is_string(kind) else "bool" if pa.types.is_boolean(kind) else "another"


def damage_mark(path: Path) -> Path:
    """Return the file whose existence says that a reader has met damage in a table."""
    return path.with_name(f".{path.name}.damaged")


def unreadable(path: Path, found: str, error: BaseException) -> TableError:
    """Return the error for a damaged file, and leave a mark for the next run, which makes the file again."""
    if not isinstance(error, FileNotFoundError | PermissionError):
        with suppress(OSError):
            damage_mark(path).touch()
    return TableError(
        f"{path} can't be read ({found})",
        remedy="run `imgret run`, which makes it again; no decision of a person is in it",
    )
