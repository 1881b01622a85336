"""Calls of a store: conditions over a server that speaks S3; servers that refuse, fail or send half of something."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imgret_assets.domain.storage.object_store.bucket import PART_BYTES, Bucket, open_bucket
from imgret_assets.errors import ChangedObjectError, StoreError, UnreachableStoreError, VanishedObjectError
from imgret_tests.support.s3_server import SECRET, OwnBucket, store_environment

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def bucket(s3: OwnBucket) -> Bucket:
    return open_bucket(f"s3://{s3.bucket}/some/prefix")


def test_an_object_is_replaced_only_as_the_version_that_was_read(bucket: Bucket) -> None:
    assert bucket.read("CURRENT") is None
    created = bucket.create("CURRENT", b"one")
    with pytest.raises(ChangedObjectError):
        bucket.create("CURRENT", b"other")
    replaced = bucket.replace("CURRENT", b"two", created)
    with pytest.raises(ChangedObjectError):
        bucket.replace("CURRENT", b"three", created)
    with pytest.raises(ChangedObjectError):
        bucket.replace("MISSING", b"three", created)
    stored = bucket.read("CURRENT")
    assert stored is not None
    assert (stored.data, stored.etag) == (b"two", replaced)
    assert bucket.read("CURRENT", unless=replaced) is None


def test_a_repeated_request_whose_first_answer_was_lost_has_succeeded(bucket: Bucket) -> None:
    created = bucket.create("CURRENT", b"one")
    assert bucket.create("CURRENT", b"one") == created
    replaced = bucket.replace("CURRENT", b"two", created)
    assert bucket.replace("CURRENT", b"two", created) == replaced


def test_files_of_several_parts_come_back_as_they_were(bucket: Bucket, tmp_path: Path) -> None:
    file, back = tmp_path / "file", tmp_path / "back"
    content = CONTENT * (2 * PART_BYTES // len(CONTENT) + 1)
    file.write_bytes(content)
    bucket.upload("objects/a", file)
    found = bucket.bytes_of("objects/a")
    assert found is not None
    assert found.bytes == len(content)
    bucket.download("objects/a", back, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    assert back.read_bytes() == content
    assert [listed.key for listed in bucket.list("objects")] == ["objects/a"]
    bucket.delete(["objects/a", "objects/none"])
    assert bucket.bytes_of("objects/a") is None
    with pytest.raises(VanishedObjectError):
        bucket.download("objects/a", back, sha256=SHA256, size=5)


def test_a_missing_bucket_is_named(s3: OwnBucket) -> None:
    with pytest.raises(StoreError, match="no bucket for s3://nobody/x"):
        open_bucket("s3://nobody/x").read("CURRENT")


class Scripted(BaseHTTPRequestHandler):
    """Answers each request with the next of the script, the last one for ever: status, error code, body bytes sent."""

    script: list[tuple[int, str, int | None]]
    requests: list[str]

    def do_GET(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    def _answer(self) -> None:
        self.requests.append(self.command)
        status, code, sent = self.script[min(len(self.requests), len(self.script)) - 1]
        error = f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode()
        body = error if status >= 300 else CONTENT if self.command == "GET" else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{len(self.requests)}"')
        self.send_header("Last-Modified", "Fri, 27 Nov 2026 18:00:00 GMT")
        if self.headers.get("Range") and status < 300:
            self.send_header("Content-Range", f"bytes 0-{len(body) - 1}/{len(body)}")
        self.end_headers()
        self.wfile.write(body if sent is None else body[:sent])
        self.close_connection = sent is not None

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Scripted]]:
    """A server whose answers a test chooses, set in the environment."""
    handler = type("Handler", (Scripted,), {"script": [], "requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            environment = store_environment(f"http://127.0.0.1:{server.server_port}")
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            yield handler
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "code", "error", "message"),
    [
        (403, "AccessDenied", StoreError, "refuses access .*status 403 AccessDenied.*AWS_ACCESS_KEY_ID"),
        (400, "ExpiredToken", StoreError, "credentials for .* have expired"),
        (301, "PermanentRedirect", StoreError, "correct IMGRET_STORE, the region or the endpoint"),
        (500, "InternalError", UnreachableStoreError, "can't be reached or does not answer: .*status 500"),
        (503, "SlowDown", UnreachableStoreError, "can't be reached or does not answer: .*status 503"),
    ],
)
def test_refusals_and_failures_have_a_name_and_show_no_secret(
    scripted: type[Scripted], status: int, code: str, error: type[StoreError], message: str
) -> None:
    scripted.script[:] = [(status, code, None)]
    with pytest.raises(error, match=message) as caught:
        open_bucket("s3://bucket/x", brief=True).read("CURRENT")
    assert type(caught.value) is error
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__, "a log of the error must not repeat what the server has sent"
    assert len(scripted.requests) <= 2


def test_a_conflict_is_tried_again(scripted: type[Scripted]) -> None:
    scripted.script[:] = [(409, "ConditionalRequestConflict", None), (200, "", None)]
    assert open_bucket("s3://bucket/x").create("CURRENT", b"one") == '"2"'
    scripted.requests.clear()
    assert open_bucket("s3://bucket/x").replace("CURRENT", b"one", '"1"') == '"2"'


def test_a_server_that_fails_for_a_moment_is_asked_again(scripted: type[Scripted], tmp_path: Path) -> None:
    scripted.script[:] = [(500, "InternalError", None), (503, "SlowDown", None), (200, "", 100), (200, "", None)]
    stored = open_bucket("s3://bucket/x").read("CURRENT")
    assert stored is not None
    assert stored.data == CONTENT


def test_half_a_content_is_downloaded_again(scripted: type[Scripted], tmp_path: Path) -> None:
    scripted.script[:] = [(206, "", 100), (206, "", None)]
    open_bucket("s3://bucket/x").download("objects/a", tmp_path / "a", sha256=SHA256, size=len(CONTENT))
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_another_content_is_refused(scripted: type[Scripted], tmp_path: Path) -> None:
    scripted.script[:] = [(206, "", None)]
    with pytest.raises(StoreError, match="damaged"):
        open_bucket("s3://bucket/x").download("objects/a", tmp_path / "a", sha256="0" * 64, size=len(CONTENT))


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store_environment("http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UnreachableStoreError, match="check IMGRET_STORE, the network and the endpoint"):
        open_bucket("s3://bucket/x").read("CURRENT")


def test_a_store_that_obeys_conditions_is_accepted_and_keeps_nothing(bucket: Bucket, s3: OwnBucket) -> None:
    bucket.check_conditions()
    assert list(open_bucket(f"s3://{s3.bucket}/some").list("prefix")) == []


@pytest.mark.parametrize("answer", [(200, "", None), (501, "NotImplemented", None)])
def test_a_store_that_ignores_conditions_is_refused(
    scripted: type[Scripted], answer: tuple[int, str, int | None]
) -> None:
    scripted.script[:] = [(200, "", None), answer]
    with pytest.raises(StoreError, match="ignores conditions"):
        open_bucket("s3://bucket/x", brief=True).check_conditions()
