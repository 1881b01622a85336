"""A store of tables in memory, which ends the process at chosen operations.

Belongs here: the store, and tables of any content. Not here: a server that speaks S3 (`support/s3_server.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore

from imgret_assets.domain.operations import table_pull, table_store
from imgret_assets.domain.storage.object_store.bucket import Bucket, Listed, Stored

ADDRESS = "s3://bucket/tables"


class KilledError(BaseException):
    """Stands for the end of the process: nothing handles it."""


class MemoryBucket(Bucket):
    """A store in memory, which counts operations and can end the process before or after one of them.

    Attributes:
        operations: keys of the operations so far, each with its kind.
        kill_at: number of the operation that ends the process, from 1; 0 for none.
        kill_after: whether the store has done it by then.
    """

    def __init__(self) -> None:
        self.kill_at, self.kill_after = 0, False
        self.reset({})

    def reset(self, contents: Mapping[str, bytes]) -> None:
        """Begin again with these objects and no operations."""
        self.store = MemoryStore()
        super().__init__(self.store, self.store, ADDRESS)
        self.operations: list[str] = []
        for key, content in contents.items():
            obstore.put(self.store, key, content)

    @contextmanager
    def _operation(self, name: str) -> Iterator[None]:
        self.operations.append(name)
        # A dead process sends nothing more, such as the release of its lease.
        is_dead = self.kill_at and len(self.operations) > self.kill_at
        is_last = len(self.operations) == self.kill_at
        if is_dead or (is_last and not self.kill_after):
            raise KilledError
        yield
        if is_last:
            raise KilledError

    def read(self, key: str, *, unless: str | None = None) -> Stored | None:
        with self._operation(f"read {key}"):
            return super().read(key, unless=unless)

    def create(self, key: str, data: bytes) -> str:
        with self._operation(f"create {key}"):
            return super().create(key, data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        with self._operation(f"replace {key}"):
            return super().replace(key, data, etag)

    def bytes_of(self, key: str) -> Listed | None:
        with self._operation(f"head {key}"):
            return super().bytes_of(key)

    def upload(self, key: str, file: Path) -> None:
        with self._operation(f"upload {key}"):
            super().upload(key, file)

    def download(self, key: str, file: Path, *, sha256: str, size: int) -> None:
        with self._operation(f"download {key}"):
            super().download(key, file, sha256=sha256, size=size)

    def delete(self, keys: Sequence[str]) -> None:
        with self._operation("delete"):
            super().delete(keys)

    def all_keys(self) -> set[str]:
        """All keys in the store."""
        return {entry["path"] for page in obstore.list(self.store) for entry in page}

    def contents(self) -> dict[str, bytes]:
        """All objects in the store."""
        return {key: self.content(key) for key in self.all_keys()}

    def content(self, key: str) -> bytes:
        """The content of an object, not counted as an operation."""
        return bytes(obstore.get(self.store, key).bytes())


@pytest.fixture
def any_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of any content count as tables that belong together: what they are is nothing to the store."""
    monkeypatch.setattr(table_store, "keep_complete_state", lambda home: True)
    monkeypatch.setattr(table_pull, "keep_complete_state", lambda home: True)
