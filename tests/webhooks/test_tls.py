"""Webhooks over https: the certificate has to be the host's, though the connection goes to an address."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from impasto_core.clock import utc_now
from impasto_workers.webhooks.sender import Sender
from tests.webhooks.conftest import LOCAL
from tests.webhooks.receiver import receiving


def certify(name: str, folder: Path) -> Path:
    """A certificate of the host's own making, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc_now() - timedelta(hours=1))
        .not_valid_after(utc_now() + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.mark.parametrize(
    ("name", "trusted", "complaint"),
    [
        ("localhost", True, None),
        ("localhost", False, "CERTIFICATE_VERIFY_FAILED"),
        ("elsewhere.example", True, "Hostname mismatch"),
    ],
)
async def test_only_the_server_of_that_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, trusted: bool, complaint: str | None
) -> None:
    certificate = certify(name, tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with receiving(context) as receiver:
        url = receiver.url.replace("127.0.0.1", "localhost")
        answer = await Sender(LOCAL, attempt_seconds=20).send(url, {}, b"{}")
    if complaint is None:
        assert answer.succeeded, answer
        assert receiver.received[0].headers["host"] == url.removeprefix("https://")
    else:
        assert answer.status is None
        assert complaint in str(answer.error)
        assert receiver.received == []
