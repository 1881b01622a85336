"""Ports that are free to listen on.

Belongs here: finding one. Not here: who listens (`cli.app`, `cli.dev`), whether one is free
(`domain.neo4j_server.host`).
"""

from imgret_assets.domain.neo4j_server.host import is_free
from imgret_assets.errors import SettingError

_TRIED = 100


def free_port(address: str, first: int, *, asked: int | None = None) -> int:
    """The port asked for; where none is, the first free one of an address from `first` on.

    Raises:
        SettingError: the port asked for, or every port tried, is taken.
    """
    for port in [asked] if asked else range(first, first + _TRIED):
        if is_free(port, address):
            return port
    raise SettingError(
        f"Port {asked} is taken on {address}" if asked else f"No port from {first} on is free on {address}",
        remedy="name a free one with --port",
    )
