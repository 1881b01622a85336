"""A TCP proxy in front of a server that stands for a slow network: it delays what passes, and counts round trips.

Belongs here: the proxy. Not here: the server behind it (`support.neo4j_server`).
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

CHUNK = 1 << 16


class SlowProxy:
    """Counts and delays the traffic of all connections through it.

    Attributes:
        address: `host:port` where it listens.
        connections: how many were opened.
        turns: round trips: each new connection, and each answer to something that a client has sent.
    """

    def __init__(self, target: tuple[str, int], delay_s: float) -> None:
        self.connections = 0
        self.turns = 0
        self._target = target
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._start(self._accept)

    def reset(self) -> None:
        """Count from zero again."""
        with self._lock:
            self.connections = self.turns = 0

    def cut(self) -> None:
        """End all connections; new ones are accepted."""
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Accept no more, end all connections and wait for the threads."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            # The handshake of TCP is a round trip too, which happens before a proxy hears of it.
            time.sleep(2 * self._delay_s)
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets += [client, server]
                self.connections += 1
                self.turns += 1
            asked = threading.Event()
            self._forward(client, server, asked, is_answer=False)
            self._forward(server, client, asked, is_answer=True)

    def _forward(self, source: socket.socket, sink: socket.socket, asked: threading.Event, *, is_answer: bool) -> None:
        """Pass on one direction: one thread reads and notes when, the other sends each part when its time has come."""
        parts: deque[tuple[float, bytes]] = deque()
        arrived = threading.Semaphore(0)

        def read() -> None:
            part = b"-"
            while part:
                try:
                    part = source.recv(CHUNK)
                except OSError:
                    part = b""
                if part and not is_answer:
                    asked.set()
                elif part and asked.is_set():
                    asked.clear()
                    with self._lock:
                        self.turns += 1
                parts.append((time.monotonic() + self._delay_s, part))
                arrived.release()

        def send() -> None:
            while True:
                arrived.acquire()
                due, part = parts.popleft()
                time.sleep(max(0.0, due - time.monotonic()))
                with suppress(OSError):
                    if part:
                        sink.sendall(part)
                    else:
                        sink.shutdown(socket.SHUT_WR)
                if not part:
                    return

        self._start(read)
        self._start(send)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()


@contextmanager
def slow_proxy(target: tuple[str, int], *, delay_s: float = 0.0) -> Iterator[SlowProxy]:
    """Provide a proxy to a server.

    Args:
        target: host and port of the server.
        delay_s: how long each direction is delayed, in seconds: half of the round trip.
    """
    proxy = SlowProxy(target, delay_s)
    try:
        yield proxy
    finally:
        proxy.close()
