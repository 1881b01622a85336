"""What a web site of somebody else can make a visitor's browser send to the two servers of `imgret dev`.

Belongs here: the requests, with the headers that a browser adds, and whether they had an effect. Not here: starting the
servers (`server/test_webserver.py`), single rules of the guard (`unit/test_request_guard.py`).
"""

import http.client
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from websockets.exceptions import InvalidHandshake
from websockets.sync.client import connect

FOREIGN = "attacker.example"
CROSS_SITE = {"Origin": f"http://{FOREIGN}", "Sec-Fetch-Site": "cross-site"}
# Executed at once, and without consequences.
MUTATION = "mutation { setNuxSeen }"
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Reply:
    """The answer to an HTTP request; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def executed(self) -> bool:
        """True if the mutation was executed."""
        try:
            return bool(json.loads(self.body)["data"]["setNuxSeen"])
        except (ValueError, KeyError, TypeError):
            return False

    @property
    def may_be_framed(self) -> bool:
        policy = self.headers.get("content-security-policy", "")
        return "frame-ancestors 'none'" not in policy or self.headers.get("x-frame-options") != "DENY"


def send(
    address: str, method: str, path: str, headers: Mapping[str, str], body: str | None = None, host: str | None = None
) -> Reply:
    """Send an HTTP request with exactly these headers, and `host` as its host."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, {"Host": host or place.netloc, **headers})
        response = connection.getresponse()
        # A header that is sent twice has both values.
        received: dict[str, str] = {}
        for name, value in response.getheaders():
            received[name.lower()] = ", ".join(filter(None, [received.get(name.lower()), value]))
        return Reply(response.status, received, response.read())
    finally:
        connection.close()


def websocket_opens(address: str, path: str, protocol: str, *, origin: str, host: str | None = None) -> bool:
    """Return whether the server accepts a websocket of a page of this origin."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=TIMEOUT_S) as plain:
        try:
            with connect(
                f"ws://{host or place.netloc}{path}",
                sock=plain,
                origin=origin,  # type: ignore[arg-type] - a text with a type of its own
                subprotocols=[protocol],  # type: ignore[list-item]
                open_timeout=TIMEOUT_S,
            ):
                return True
        except InvalidHandshake:
            return False


def form_post(dagster: str, _page: str) -> bool:
    headers = CROSS_SITE | {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Mode": "navigate"}
    return send(dagster, "POST", f"/graphql?query={quote(MUTATION)}", headers, "x=y").executed


def image_element(dagster: str, _page: str) -> bool:
    # An image has no Origin.
    headers = {"Accept": "image/*", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    old_browser = {"Accept": "image/*"}
    path = f"/graphql?query={quote(MUTATION)}"
    return any(send(dagster, "GET", path, sent).executed for sent in (headers, old_browser))


def json_as_text(dagster: str, _page: str) -> bool:
    # The type of a simple request, which no browser asks about first, with a parameter that Dagster looks for.
    headers = CROSS_SITE | {"Content-Type": "text/plain; application/json", "Sec-Fetch-Mode": "no-cors"}
    return send(dagster, "POST", "/graphql", headers, json.dumps({"query": MUTATION})).executed


def websocket_on_dagster(dagster: str, _page: str) -> bool:
    return websocket_opens(dagster, "/graphql", "graphql-ws", origin=f"http://{FOREIGN}")


def rebinding_on_dagster(dagster: str, _page: str) -> bool:
    # The attacker's name leads to 127.0.0.1 by now, so that for the browser all is of one origin.
    host = f"{FOREIGN}:{urlsplit(dagster).port}"
    headers = {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
    return send(dagster, "POST", "/graphql", headers, json.dumps({"query": MUTATION}), host).executed


def rebinding_on_the_page(_dagster: str, page: str) -> bool:
    host = f"{FOREIGN}:{urlsplit(page).port}"
    return websocket_opens(page, "/_stcore/stream", "streamlit", origin=f"http://{host}", host=host)


def framing(dagster: str, page: str) -> bool:
    in_a_frame = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    replies = [send(address, "GET", "/", headers) for address in (dagster, page) for headers in ({}, in_a_frame)]
    return any(reply.may_be_framed for reply in replies)


def sniffing(dagster: str, page: str) -> bool:
    paths = [(dagster, "/"), (dagster, "/server_info"), (dagster, "/logs/x/y.out"), (page, "/"), (page, "/media/x")]
    replies = [send(address, "GET", path, {}) for address, path in paths]
    return any(reply.headers.get("x-content-type-options") != "nosniff" for reply in replies)


# Each gets the addresses of Dagster's webserver and of the page, and returns whether it got through.
ATTACKS: Mapping[str, Callable[[str, str], bool]] = {
    "a form of another site posts a mutation": form_post,
    "an image element gets a mutation": image_element,
    "a script of another site posts JSON as text": json_as_text,
    "a script of another site opens Dagster's websocket": websocket_on_dagster,
    "a foreign name that leads to this machine, on Dagster": rebinding_on_dagster,
    "a foreign name that leads to this machine, on the page": rebinding_on_the_page,
    "another site shows one of them in a frame": framing,
    "a browser guesses the type of an answer": sniffing,
}
