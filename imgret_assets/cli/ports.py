"""Ports that are free to listen on.

Belongs here: finding one. Not here: who listens (`cli.app`, `cli.dev`), the database's own (`domain.server_machine`).
"""

import socket

from imgret_assets.errors import SettingError

_TRIED = 100


def free_port(address: str, first: int, *, asked: int | None = None) -> int:
    """The port asked for; where none is, the first free one of an address from `first` on.

    Raises:
        SettingError: the port asked for, or every port tried, is taken.
    """
    for port in [asked] if asked else range(first, first + _TRIED):
        if _is_free(address, port):
            return port
    raise SettingError(
        f"Port {asked} is taken on {address}" if asked else f"No port from {first} on is free on {address}",
        remedy="name a free one with --port",
    )


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
    return True
