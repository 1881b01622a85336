"""Who may use the API: clients that send the token, if there is one.

Belongs here: the check of the token. Not here: which hosts and origins are answered (`request_guard`), limits
(`api.limits`), when a token is required (`settings.ApiSettings.require_safe`).
"""

import hmac
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from imgret_assets.api.problems import Problem

# What probes ask for; it says nothing about the library.
OPEN_PATHS = ("/healthz", "/readyz")
_SCHEME = "bearer"


class TokenCheck:
    """ASGI middleware that answers only requests with the token; nothing of the others is read."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        """Guard `app`; without a token all requests are answered."""
        self._app = app
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and self._token is not None and scope["path"] not in OPEN_PATHS:
            given = _token_of(Headers(scope=scope))
            # In constant time: the time of the comparison says nothing about the token.
            if given is None or not hmac.compare_digest(given, self._token):
                await _refusal(given is not None).response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _token_of(headers: Headers) -> bytes | None:
    values = headers.getlist("authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip().encode("latin-1") if scheme.lower() == _SCHEME else None


def _refusal(is_wrong: bool) -> Problem:
    return Problem(
        "unauthorized",
        HTTPStatus.UNAUTHORIZED,
        "A token is needed",
        "The token is not the server's" if is_wrong else "The request has no token",
        "a header `Authorization: Bearer …`",
        "send the value of IMGRET_API_TOKEN with which the server was started",
        closes=True,
    )
