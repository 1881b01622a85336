"""Data versions: short digests of tables, which change only where the content does.

Belongs here: computing them. Not here: who shows them (`defs.asset_versions`), whether a table is current
(`domain.storage.derived_tables`), checks against damage (`domain.storage.checked_parquet`).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.storage import tables

# A quarter of SHA-256: enough to tell versions apart, short enough to be shown.
_DIGITS = 16


def version_of_rows(files: Iterable[Path], columns: Sequence[str]) -> str:
    """Return a digest of some text columns of several files, 16 hexadecimal digits; missing files are left out.

    Args:
        files: tables with their rows in a fixed order, such as the shards of a manifest.
        columns: names of text columns; null counts as the empty text.

    Raises:
        TableError: a file is damaged.
    """
    digest = hashlib.sha256()
    empty = pa.scalar("", pa.string())
    for file in files:
        if not file.is_file():
            continue
        rows = tables.read(file, list(columns))
        texts = [pc.call_function("coalesce", [rows[name].cast(pa.string()), empty]) for name in columns]
        # Arrow's stream of one piece without nulls depends on nothing but the texts.
        whole = pa.table(texts, names=list(columns)).combine_chunks()
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, whole.schema) as writer:
            writer.write_table(whole)
        digest.update(stream.getvalue())
    return digest.hexdigest()[:_DIGITS]


def version_of_inputs(file: Path) -> str:
    """Return a digest of what a derived table was made from and how, 16 hexadecimal digits.

    That is its metadata: space, coverage of the embeddings, method and limits. The same inputs give the same rows.

    Raises:
        TableError: the file is damaged.
    """
    return version_of(tables.read_metadata(file))


def version_of(values: Mapping[str, object]) -> str:
    """Return a digest of named values, 16 hexadecimal digits; their order doesn't matter."""
    text = "".join(f"{name}\0{value}\0" for name, value in sorted(values.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
