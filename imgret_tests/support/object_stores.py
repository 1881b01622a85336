"""Object stores of tests: in memory, with faults at chosen operations, and a server that speaks S3.

Belongs here: making them. Not here: what is stored in them (`imgret_assets.domain.storage.object_store`).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore

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


@dataclass(frozen=True)
class S3Server:
    """A server that speaks S3, in a thread of this process, with an empty bucket."""

    endpoint: str
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a server that speaks S3, for all tests of this process."""
    import logging

    from moto.server import ThreadedMotoServer

    # A line for each request would hide what a failed test says.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def s3(s3_endpoint: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A server with a bucket of this test, set in the environment."""
    import requests

    bucket = "b" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    requests.put(f"{s3_endpoint}/{bucket}", timeout=10).raise_for_status()
    server = S3Server(s3_endpoint, bucket)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server
