"""A certificate authority of the tests' own: real certificates, written to files."""

import datetime
import ssl
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
LOOPBACK = ip_address("127.0.0.1")


class Authority:
    """Issues certificates for ``localhost`` and 127.0.0.1 that clients with ``client_context`` trust."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._signed("the tests' authority", self._key.public_key(), NOW - DAY, NOW + 30 * DAY, is_authority=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(_pem(self._certificate))

    def client_context(self) -> ssl.SSLContext:
        """Trusts this authority and nobody else."""
        return ssl.create_default_context(cafile=str(self.file))

    def server_context(self, folder: Path) -> ssl.SSLContext:
        """For a server of the tests, whose new pair lies in the folder."""
        self.issue(folder / "server.pem", folder / "server.key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        return context

    def issue(
        self,
        certificate: Path,
        key: Path,
        *,
        name: str = "dashboard",
        valid_from: datetime.datetime = NOW - DAY,
        valid_until: datetime.datetime = NOW + DAY,
        passphrase: str = "",
    ) -> int:
        """Write a new pair into two files, as a renewal does (moved into place, the key for its owner only); gives the serial number."""
        made = ec.generate_private_key(ec.SECP256R1())
        signed = self._signed(name, made.public_key(), valid_from, valid_until, is_authority=False)
        encryption = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
        private = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        for path, data in ((key, private), (certificate, _pem(signed) + _pem(self._certificate))):
            new = path.with_name(f"{path.name}.new")
            new.write_bytes(data)
            new.chmod(0o600)
            new.replace(path)
        return signed.serial_number

    def _signed(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        valid_from: datetime.datetime,
        valid_until: datetime.datetime,
        *,
        is_authority: bool,
    ) -> x509.Certificate:
        issuer = _name("the tests' authority")
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=is_authority, crl_sign=is_authority, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        names = [x509.DNSName("localhost"), x509.IPAddress(LOOPBACK)]
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(valid_from)
            .not_valid_after(valid_until)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
