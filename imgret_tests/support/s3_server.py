"""An object store as Amazon's in a thread of the tests, and what can go wrong with it.

Belongs here: the server (moto), buckets, faults between it and imgret. Not here: what imgret makes of them.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from imgret_assets.domain.objects import stores

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
# What moto takes as a login: the beginning of the header names the service, and nothing is checked.
_LOGIN = {"Authorization": "AWS4-HMAC-SHA256 Credential=tests/20260101/us-east-1/s3/aws4_request"}
SECRET = "a-secret-that-nothing-may-tell"


def store_environment(endpoint: str) -> dict[str, str]:
    """What a process needs to reach a store at an address."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


@dataclass
class Fault:
    """What the store answers in place of what it has.

    Attributes:
        status: of the answer; 200 ends a whole answer after half of its bytes.
        code: of the error, such as `AccessDenied`.
        part: only requests with this text in their path and query fail.
        method: only these requests fail.
        times: so many times; afterwards the store is well again.
        after: so many of these requests are answered before.
    """

    status: int
    code: str = "InternalError"
    part: str = ""
    method: str = "GET"
    times: int = 1_000_000
    after: int = 0


@dataclass
class ObjectStore:
    """A running store.

    Attributes:
        endpoint: its address.
        faults: that requests meet, the first that fits.
        asked: method, path and query of each request so far, without those of the tests.
    """

    endpoint: str
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    _buckets: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return store_environment(self.endpoint)

    def make_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        self._buckets += 1
        name = f"bucket-{self._buckets}"
        requests.put(f"{self.endpoint}/{name}", headers=_LOGIN, timeout=10).raise_for_status()
        return name

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Store an object."""
        requests.put(self._url(bucket, key), data=data, headers=_LOGIN, timeout=10).raise_for_status()

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object."""
        requests.delete(self._url(bucket, key), headers=_LOGIN, timeout=10).raise_for_status()

    def upload(self, folder: Path, bucket: str, prefix: str) -> None:
        """Store the files of a folder below a prefix."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(bucket, f"{prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())

    def _url(self, bucket: str, key: str) -> str:
        return f"{self.endpoint}/{bucket}/{quote(key)}"

    def fault_of(self, method: str, asked: str) -> Fault | None:
        """Return the fault that a request meets."""
        for fault in self.faults:
            if fault.method != method or fault.part not in asked:
                continue
            fault.after -= 1
            if fault.after < 0 < fault.times:
                fault.times -= 1
                return fault
        return None


@contextmanager
def running_store() -> Iterator[ObjectStore]:
    """Run a store in a thread until the block ends."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = ObjectStore("")
    server = make_server("127.0.0.1", 0, _faulty(DomainDispatcherApplication(create_backend_app), store), threaded=True)
    store.endpoint = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def _faulty(application: Application, store: ObjectStore) -> Application:
    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_AUTHORIZATION", "").startswith(_LOGIN["Authorization"]):
            return application(environ, start_response)
        asked = f"{environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}"
        store.asked.append(f"{environ['REQUEST_METHOD']} {asked}")
        fault = store.fault_of(environ["REQUEST_METHOD"], asked)
        if fault is None:
            return application(environ, start_response)
        if fault.status == 200:
            whole = b"".join(application(environ, start_response))
            return [whole[: len(whole) // 2]]
        body = f"<Error><Code>{fault.code}</Code><Message>{SECRET}</Message></Error>".encode()
        start_response(f"{fault.status} Fault", [("Content-Type", "application/xml")])
        return [body]

    return answer


@pytest.fixture(scope="session")
def one_store() -> Iterator[ObjectStore]:
    """The store of all tests of a worker."""
    with running_store() as store:
        yield store


@pytest.fixture
def object_store(one_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A store without faults, which the environment names, and whose failed calls are repeated at once."""
    _set_environment(one_store, monkeypatch)
    monkeypatch.setitem(stores.RETRIES, "backoff", {"init_backoff": timedelta(milliseconds=1), "base": 2})
    one_store.asked.clear()
    yield one_store
    one_store.faults.clear()


@dataclass(frozen=True)
class OwnBucket:
    """An empty bucket of one test, and the store that it is in."""

    store: ObjectStore
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return self.store.environment


@pytest.fixture
def s3(one_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> OwnBucket:
    """A bucket of this test, whose store the environment names."""
    _set_environment(one_store, monkeypatch)
    return OwnBucket(one_store, one_store.make_bucket())


def _set_environment(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
