"""The configuration file of the embedded server.

Belongs here: its text. Not here: the choice of ports and memory (`domain.neo4j_server.lifecycle`).
"""

import re

from imgret_assets.domain.neo4j_server.run_file import ServerFolder
from imgret_assets.domain.neo4j_server.time_limits import KEEP_ALIVE_PROBES, KEEP_ALIVE_S
from imgret_assets.domain.storage import atomic_files

# An unknown key stops the start, so every line has been tried with the listed version.
_TEMPLATE = """\
# Written by imgret at every start: changes made here are lost.
server.default_listen_address=127.0.0.1
server.default_advertised_address=127.0.0.1
server.bolt.listen_address=:{bolt_port}
server.bolt.advertised_address=:{bolt_port}
server.http.listen_address=:{http_port}
server.http.advertised_address=:{http_port}
# A driver hears of a silent server in half a minute, not in two.
server.bolt.connection_keep_alive={keep_alive_s}s
server.bolt.connection_keep_alive_probes={keep_alive_probes}
server.https.enabled=false
dbms.security.auth_enabled=true
dbms.security.procedures.unrestricted=gds.*
dbms.usage_report.enabled=false
client.allow_telemetry=false
server.memory.pagecache.size={pagecache_mb}m
# Otherwise a stop waits ten seconds for new clients.
internal.dbms.bolt.netty_server_shutdown_quiet_period=0
# Only the Browser is used over HTTP; the driver speaks Bolt.
server.http_enabled_modules=BROWSER
# There are many homes, some of them temporary: an empty database takes 2 MB so, and half a gigabyte by default.
db.tx_log.preallocate=false
db.tx_log.rotation.size=32m
db.tx_log.rotation.retention_policy=2 files
"""


def write_configuration(folder: ServerFolder, *, bolt_port: int, http_port: int, pagecache_mb: int) -> None:
    """Write the server's configuration file.

    Raises:
        DiskFullError, HomeError: it can't be written.
    """
    text = _TEMPLATE.format(
        bolt_port=bolt_port,
        http_port=http_port,
        pagecache_mb=pagecache_mb,
        keep_alive_s=KEEP_ALIVE_S,
        keep_alive_probes=KEEP_ALIVE_PROBES,
    )
    with atomic_files.named_errors(folder.configuration):
        folder.configuration.write_text(text, encoding="utf-8")


def read_ports(folder: ServerFolder) -> tuple[int, int]:
    """Return the Bolt and the HTTP port of the written configuration.

    Raises:
        OSError: there is no configuration.
        ValueError: it does not name both ports.
    """
    text = folder.configuration.read_text(encoding="utf-8")
    ports = {name: int(port) for name, port in re.findall(r"server\.(\w+)\.listen_address=:(\d+)", text)}
    if not {"bolt", "http"} <= set(ports):
        raise ValueError(f"{folder.configuration} does not name the ports")
    return ports["bolt"], ports["http"]
