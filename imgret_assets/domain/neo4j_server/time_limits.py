"""The time limits of every connection to Neo4j.

Belongs here: how long a client waits for a server that doesn't answer. Not here: opening connections
(`domain.graph.connection`), how long the embedded server may take to start (`domain.neo4j_server.lifecycle`).
"""

from collections.abc import Mapping

# For a new connection, from the first packet to the end of the handshake, and for repeating a failed transaction.
CONNECT_WITHIN_S = 15.0
# The options of a driver. Without the second, a server that accepts connections and says nothing holds a client for a
# minute.
DRIVER_LIMITS: Mapping[str, float] = {
    "connection_timeout": CONNECT_WITHIN_S,
    "connection_acquisition_timeout": CONNECT_WITHIN_S,
    "max_transaction_retry_time": CONNECT_WITHIN_S,
}
# While a statement runs, the server sends a sign of life at this interval, and tells the driver to give up after this
# number of missing ones: 30 s for the embedded server. Other servers do so after two minutes by default.
KEEP_ALIVE_S, KEEP_ALIVE_PROBES = 15, 2
