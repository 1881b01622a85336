"""Choice of a free port.

Belongs here: the choice. Not here: listening (`cli.app`, `cli.dev`), testing one port
(`domain.neo4j_server.host`).
"""

from imgret_assets.domain.neo4j_server.host import is_port_free
from imgret_assets.errors import SettingError

MAX_TRIED_PORTS = 100


def free_port(address: str, first: int, *, requested: int | None = None) -> int:
    """Return the requested port; without a request, the first free port of the address from `first` on.

    Raises:
        SettingError: the requested port, or all ports tried, are in use.
    """
    for port in [requested] if requested else range(first, first + MAX_TRIED_PORTS):
        if is_port_free(port, address):
            return port
    raise SettingError(
        f"Port {requested} is in use on {address}" if requested else f"No port from {first} on is free on {address}",
        remedy="choose a free port with --port",
    )
