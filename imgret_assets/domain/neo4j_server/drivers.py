"""Drivers of a Neo4j server: its login, the time limits, which certificates are trusted.

Belongs here: opening a driver, its TLS. Not here: the connections of the graph and named errors for what the driver
raises (`domain.graph.connection`), the embedded server's first login (`domain.neo4j_server.login`). The driver is
imported when it is used.
"""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret_assets.domain.neo4j_server.run_file import Connection
from imgret_assets.domain.neo4j_server.time_limits import DRIVER_LIMITS
from imgret_assets.errors import SettingError

if TYPE_CHECKING:
    from neo4j import Driver

# The ending of a scheme under which the server's certificate is checked.
CHECKED = "+s"


def open_driver(server: Connection, **options: Any) -> "Driver":
    """Return a driver of a server; nothing is sent yet.

    Args:
        server: its address, login and, where not the system's certificates are trusted, `ca`.
        options: of the driver.

    Raises:
        SettingError: the file of certificates can't be used, or the address is one under which none is checked.
    """
    from neo4j import GraphDatabase

    uri, trust = server.uri, {}
    if server.ca is not None:
        uri, trust = _trusting(server.uri, server.ca)
    return GraphDatabase.driver(uri, auth=(server.username, server.password), **trust, **DRIVER_LIMITS, **options)


def _trusting(uri: str, ca: Path) -> tuple[str, dict[str, Any]]:
    """Return the address and the driver's options that trust a file of certificates in place of the system's."""
    from neo4j import TrustCustomCAs

    scheme, _, rest = uri.partition("://")
    if not scheme.endswith(CHECKED):
        raise SettingError(
            f"IMGRET_NEO4J_CA is set, but under NEO4J_URI {uri!r} no certificate is checked",
            expected="a scheme ending in +s, such as bolt+s or neo4j+s",
            remedy="correct NEO4J_URI, or remove IMGRET_NEO4J_CA",
        )
    try:
        ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        cause = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingError(
            f"IMGRET_NEO4J_CA names {ca}, which can't be read as certificates ({cause})",
            expected="a file of one or more certificates in PEM form (-----BEGIN CERTIFICATE-----)",
            remedy="take the certificate of the authority that signed the server's own",
        ) from error
    # The driver takes certificates under the plain schemes only.
    options = {"encrypted": True, "trusted_certificates": TrustCustomCAs(str(ca))}
    return f"{scheme.removesuffix(CHECKED)}://{rest}", options
