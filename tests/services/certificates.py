"""A certificate authority for one test run: certificates of 127.0.0.1 and localhost, valid or long expired."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """PEM files: the certificate, and its private key in PKCS8."""

    certificate: Path
    key: Path


class Authority:
    """Signs what is issued below its folder; clients trust `ca`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "my-feast test authority")])
        self.ca = folder / "ca.pem"
        self._certificate = self._signed(self._name, self._key.public_key(), ends=datetime.now(UTC) + DAY, ca=True)
        self.ca.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, expired: bool = False) -> Certificate:
        """A server's certificate, valid for a day from now, or until the day before yesterday."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        ends = datetime.now(UTC) + (-2 * DAY if expired else DAY)
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        certificate = self._signed(subject, key.public_key(), ends=ends, ca=False)
        made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        made.key.chmod(0o600)
        return made

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, ends: datetime, ca: bool
    ) -> x509.Certificate:
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(ends - 10 * DAY)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if not ca:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(self._key, hashes.SHA256())
