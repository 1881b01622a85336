"""An embedded server that takes connections over TLS alone, and the authority that signed its certificate.

Belongs here: making keys and certificates, the server's settings of TLS. Not here: the session's server
(`support/neo4j_server.py`).
"""

import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from imgret_assets.domain.neo4j_server import host, server_process
from imgret_assets.domain.neo4j_server.configuration import write_configuration
from imgret_assets.domain.neo4j_server.jars import assemble
from imgret_assets.domain.neo4j_server.login import prepare_login, read_secret
from imgret_assets.domain.neo4j_server.run_file import RunFile, ServerFolder
from imgret_assets.settings import load_settings
from imgret_tests.support.neo4j_server import MEMORY, STARTED_WITHIN_S, clean_environment

# The name in the server's certificate. The address of the same machine, 127.0.0.1, is not in it.
HOST = "localhost"
_TLS = """
server.bolt.tls_level=REQUIRED
dbms.ssl.policy.bolt.enabled=true
dbms.ssl.policy.bolt.base_directory={folder}
dbms.ssl.policy.bolt.private_key=server.key
dbms.ssl.policy.bolt.public_certificate=server.crt
dbms.ssl.policy.bolt.client_auth=NONE
"""


@dataclass(frozen=True)
class TlsServer:
    """A running server.

    Attributes:
        port: of Bolt over TLS.
        password: of the user neo4j.
        ca: file of the authority that signed its certificate.
        other_ca: file of another authority.
    """

    port: int
    password: str
    ca: Path
    other_ca: Path


class Authority:
    """Signs certificates."""

    def __init__(self, name: str) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None))

    def write(self, file: Path) -> Path:
        """Write the authority's own certificate."""
        file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return file

    def write_server(self, folder: Path, name: str) -> None:
        """Write a key and a certificate for one host name: server.key and server.crt."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, x509.SubjectAlternativeName([x509.DNSName(name)]))
        folder.mkdir(parents=True)
        (folder / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / "server.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )


@contextmanager
def running_tls_server(folder: Path) -> Iterator[TlsServer]:
    """Start a server as imgret does, but with TLS required and the first password, which imgret changes without TLS."""
    settings = load_settings(env=clean_environment() | {"IMGRET_HOME": str(folder / "home"), **MEMORY})
    authority = Authority("the test's authority")
    server_folder = ServerFolder(settings)
    server_folder.make()
    jars = assemble(settings)
    for name in ("lib", "plugins"):
        (server_folder.path / name).symlink_to(jars.path / name, target_is_directory=True)
    prepare_login(server_folder)
    certificates = folder / "certificates"
    authority.write_server(certificates, HOST)
    bolt_port, http_port = host.unused_port(), host.unused_port()
    write_configuration(server_folder, bolt_port=bolt_port, http_port=http_port, pagecache_mb=128)
    text = server_folder.configuration.read_text(encoding="utf-8")
    # A neo4j:// driver connects to the name that the server gives.
    text = text.replace("advertised_address=127.0.0.1", f"advertised_address={HOST}")
    server_folder.configuration.write_text(text + _TLS.format(folder=certificates), encoding="utf-8")
    pid = server_process.spawn(server_folder, 512)
    server = RunFile(pid, host.process_start(pid) or "", bolt_port, http_port, "", "", server_folder.identity)
    try:
        listening = server_process.wait_until_listening(server_folder, server, time.monotonic() + STARTED_WITHIN_S)
        assert listening, host.log_tail(server_folder.log)
        yield TlsServer(
            bolt_port,
            read_secret(server_folder)["initial"],
            authority.write(folder / "ca.pem"),
            Authority("another authority").write(folder / "other-ca.pem"),
        )
    finally:
        server_process.end_process(pid, 20)
