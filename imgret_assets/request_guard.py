"""A guard before a web server without a login: it answers only requests of its own pages and of programs.

A browser sends requests to servers on its own machine for every web site that it shows. Belongs here: which of them are
refused, and the security headers of every answer. Not here: the servers (`app.page_server`, `defs.webserver`), the
setting of further host names (`settings`).
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.status import WS_1008_POLICY_VIOLATION
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
WILDCARD_ADDRESSES = ("0.0.0.0", "::", "[::]")  # noqa: S104 - only compared
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
MAX_LOGGED_REASONS = 20
FRAME_POLICY = "frame-ancestors 'none'"
# Types that a page of another site can only send after the server has allowed it, which neither server does.
GRAPHQL_TYPES = ("application/json", "application/graphql")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_READING = ("GET", "HEAD")


class RequestGuard:
    """ASGI middleware that refuses requests for other hosts and requests of other sites.

    A request is refused with 403 and the reason
    - unless its `Host` is an allowed one: with a foreign name that leads to this machine, the owner's pages would be of
      the same origin as this server (DNS rebinding);
    - if the browser says, by `Origin` or `Sec-Fetch-Site`, that a page of another origin sent it. Links from other
      sites work: the browser shows the answer at the top level;
    - if it would execute GraphQL, but is a GET or has a type that any site can send.

    A program that is no browser, such as curl, sends neither `Origin` nor `Sec-Fetch-Site`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str],
        graphql_path: str | None = None,
        refusal: Callable[[str], Response] | None = None,
    ) -> None:
        """Guard `app`.

        Args:
            app: the server.
            hosts: allowed names of `Host`, without a port, IPv6 addresses in brackets.
            graphql_path: path of a GraphQL endpoint.
            refusal: makes the answer to a refused request from the reason; a line of text if None.
        """
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._graphql_path = graphql_path
        self._refusal = refusal or _plain_refusal
        self._logged: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or a websocket, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        reason = self._reason_to_refuse(scope)
        if reason is None:
            await self._app(scope, receive, _with_headers(send))
            return
        self._log(reason)
        if scope["type"] == "websocket":
            # The server answers a handshake that is closed with 403.
            await send({"type": "websocket.close", "code": WS_1008_POLICY_VIOLATION})
        else:
            await self._refusal(reason)(scope, receive, _with_headers(send))

    def _log(self, reason: str) -> None:
        """Log a reason once, and not many: other sites choose the names in it."""
        if reason not in self._logged and len(self._logged) < MAX_LOGGED_REASONS:
            self._logged.add(reason)
            logging.getLogger("imgret").warning("imgret: %s", reason)

    def _reason_to_refuse(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if host is None or host["name"].lower() not in self._hosts:
            return (
                f"a request for the host {', '.join(hosts)!r} is refused; allowed: {', '.join(sorted(self._hosts))}. "
                "If this machine has another name for you, add it to IMGRET_ALLOWED_HOSTS"
            )
        if _is_of_another_origin(scope, headers):
            return (
                f"a request of another site ({headers.get('origin', 'unnamed')!r}) to {hosts[0]!r} is refused. "
                "A proxy must pass on the header Host"
            )
        if scope["type"] == "http" and scope["path"] == self._graphql_path and not _is_safe_graphql(scope, headers):
            return "a request for GraphQL is refused. GraphQL is executed for POST with the type application/json only"
        return None


def allowed_hosts(further: Iterable[str], address: str | None = None) -> frozenset[str]:
    """Return the hosts of a server: those of this machine's loopback, the further ones, its own address.

    Args:
        further: names, or addresses; IPv6 with or without brackets.
        address: where the server listens; a wildcard adds no host.
    """
    own = "" if address in WILDCARD_ADDRESSES else address
    return frozenset(bracketed(host).lower() for host in (*LOOPBACK_HOSTS, *further, own) if host)


def bracketed(host: str) -> str:
    """Return a host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _plain_refusal(reason: str) -> Response:
    return PlainTextResponse(f"imgret: {reason}\n", status_code=403)


def _is_of_another_origin(scope: Scope, headers: Headers) -> bool:
    origins = headers.getlist("origin")
    if any(not _is_own(origin, headers["host"]) for origin in origins):
        return True
    sites = headers.getlist("sec-fetch-site")
    # "none" is the user: an address that was typed, a bookmark.
    return not all(site in ("same-origin", "none") for site in sites) and not _is_link(scope, headers)


def _is_own(origin: str, host: str) -> bool:
    """Return True if an `Origin` is that of the host; its scheme may be that of a proxy."""
    try:
        place = urlsplit(origin)
    except ValueError:
        return False
    port = _DEFAULT_PORTS.get(place.scheme)
    return port is not None and place.netloc.lower().removesuffix(port) == host.lower().removesuffix(port)


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Return True if the browser shows the answer at the top level and the request changes nothing."""
    fetch = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"))
    return scope["type"] == "http" and scope["method"] in _READING and fetch == ("navigate", "document")


def _is_safe_graphql(scope: Scope, headers: Headers) -> bool:
    """Return True if no page of another site can have made the request; a GET of the editor executes nothing."""
    if scope["method"] in _READING:
        return "text/html" in headers.get("accept", "")
    types: Collection[str] = headers.getlist("content-type")
    return len(types) == 1 and next(iter(types)).partition(";")[0].strip().lower() in GRAPHQL_TYPES


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            # A second policy: a browser follows each of them.
            headers.append("Content-Security-Policy", FRAME_POLICY)
        await send(message)

    return send_with_headers
