"""Visitors of the page without a browser: sessions over Streamlit's websocket, many at once.

Belongs here: opening a session, asking for views, what a view said. Not here: starting the page
(`support/browser.py`), how long views took (`support/load.py`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.Markdown_pb2 import Markdown

_VIEW_WITHIN_S = 120.0
# A view's largest messages carry all thumbnails of a chart.
_MAX_MESSAGE_BYTES = 1 << 28


@dataclass(frozen=True)
class Address:
    """A page by its name in the address, `search` for the first, and its query parameters."""

    page: str
    query: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class View:
    """What one run of the script sent.

    Attributes:
        texts: plain texts in their order: names and paths of images.
        headlines: Markdown that starts with `#` in its order: ranks and scores.
        captions: small texts in their order; some have durations.
        kinds: kind of every element, in order.
        failures: exceptions, error boxes, and how the script ended if not well.
    """

    texts: tuple[str, ...]
    headlines: tuple[str, ...]
    captions: tuple[str, ...]
    kinds: tuple[str, ...]
    failures: tuple[str, ...]

    @property
    def answer(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What must not depend on who else asks: images and scores."""
        return self.texts, self.headlines


class Visitor:
    """One session of the page; used as an async context manager."""

    def __init__(self, address: str, first_page: str) -> None:
        self._address = address
        self._first_page = first_page
        self._socket: Any = None

    async def __aenter__(self) -> "Visitor":
        from websockets.asyncio.client import connect

        self._socket = await connect(
            self._address.replace("http://", "ws://") + "/_stcore/stream",
            origin=self._address,  # type: ignore[arg-type]
            subprotocols=["streamlit"],  # type: ignore[list-item]
            max_size=_MAX_MESSAGE_BYTES,
            open_timeout=_VIEW_WITHIN_S,
            ping_interval=None,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._socket.close()

    async def view(self, address: Address) -> View:
        """Open an address and return the view when the script has ended.

        Raises:
            TimeoutError: it took longer than two minutes.
        """
        message = BackMsg()
        message.rerun_script.query_string = urlencode(address.query)
        # Streamlit shows the first page at the root, and nowhere else.
        message.rerun_script.page_name = "" if address.page == self._first_page else address.page
        async with asyncio.timeout(_VIEW_WITHIN_S):
            await self._socket.send(message.SerializeToString())
            return await self._read_view()

    async def _read_view(self) -> View:
        elements: list[Any] = []
        failures: list[str] = []
        while True:
            message = ForwardMsg.FromString(await self._socket.recv())
            kind = message.WhichOneof("type")
            if kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                elements.append(message.delta.new_element)
            elif kind in ("page_not_found", "auth_redirect"):
                failures.append(kind)
            elif kind == "script_finished":
                # A widget in the address that differs from its default makes the script start again.
                if message.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                    elements.clear()
                    continue
                if message.script_finished != ForwardMsg.FINISHED_SUCCESSFULLY:
                    failures.append(ForwardMsg.ScriptFinishedStatus.Name(message.script_finished))
                return _as_view(elements, failures)


def _as_view(elements: Sequence[Any], failures: Sequence[str]) -> View:
    kinds = tuple(element.WhichOneof("type") or "" for element in elements)

    def of_kind(kind: str) -> list[Any]:
        return [getattr(element, kind) for element, own in zip(elements, kinds, strict=True) if own == kind]

    return View(
        tuple(text.body for text in of_kind("text")),
        tuple(markdown.body for markdown in of_kind("markdown") if markdown.body.startswith("#")),
        tuple(markdown.body for markdown in of_kind("markdown") if markdown.element_type == Markdown.CAPTION),
        kinds,
        (
            *failures,
            *(f"{error.type}: {error.message}" for error in of_kind("exception")),
            *(alert.body for alert in of_kind("alert") if alert.format == Alert.ERROR),
        ),
    )
