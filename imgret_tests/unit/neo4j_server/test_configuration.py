"""The server's configuration file."""

import pytest

from imgret_assets.domain.neo4j_server.configuration import read_ports, write_configuration
from imgret_assets.domain.neo4j_server.run_file import ServerFolder


def test_ports_are_read_back_and_memory_is_set(folder: ServerFolder) -> None:
    write_configuration(folder, bolt_port=7001, http_port=7002, pagecache_mb=300)
    assert read_ports(folder) == (7001, 7002)
    lines = folder.configuration.read_text().splitlines()
    assert "server.memory.pagecache.size=300m" in lines
    assert "server.default_listen_address=127.0.0.1" in lines


def test_a_configuration_without_ports_is_an_error(folder: ServerFolder) -> None:
    folder.configuration.write_text("server.bolt.listen_address=:7001\n")
    with pytest.raises(ValueError, match="does not name the ports"):
        read_ports(folder)
    folder.configuration.unlink()
    with pytest.raises(FileNotFoundError):
        read_ports(folder)
