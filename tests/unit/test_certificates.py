"""Expiry of certificates, and the use of new ones without a restart."""

import asyncio
import socket
import ssl
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from stem_amqp import ConfigurationError, Stem
from stem_amqp.health.examination import check_health
from stem_amqp.tls.certificates import end_of, end_of_file
from stem_amqp.tls.files import TlsFiles

NOW = datetime.now(UTC).replace(microsecond=0)
SECRET = ec.generate_private_key(ec.SECP256R1())
PUBLIC = SECRET.public_key()
USAGE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def certificate(end, *, name="broker.test", begin=None):
    """Return a self-signed certificate."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(PUBLIC)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin or end - timedelta(days=400))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(PUBLIC), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(PUBLIC), critical=False)
        .sign(SECRET, hashes.SHA256())
    )


@pytest.fixture
def pair(tmp_path):
    """Write a certificate and its key into one file."""

    def write(file, end, **more):
        path = tmp_path / f"{file}.pem"
        pem = certificate(end, **more).public_bytes(serialization.Encoding.PEM)
        path.write_bytes(pem + KEY_PEM)
        return path

    return write


KEY_PEM = SECRET.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)


@settings(max_examples=30, deadline=None)
@given(st.datetimes(datetime(1960, 1, 1), datetime(2200, 1, 1)))
def test_the_end_is_that_of_the_certificate(end):
    """Both time formats of X.509 are read."""
    end = end.replace(microsecond=0, tzinfo=UTC)
    begin = datetime(1955, 1, 1, tzinfo=UTC)
    der = certificate(end, begin=begin).public_bytes(serialization.Encoding.DER)
    assert end_of(der) == end


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_what_is_no_certificate_is_a_value_error(data):
    """This holds for any bytes."""
    with pytest.raises(ValueError, match="this is not a certificate"):
        end_of(data)


def test_a_certificate_that_is_cut_off_is_a_value_error():
    """This holds for a cut at any place before the validity."""
    der = certificate(NOW).public_bytes(serialization.Encoding.DER)
    for length in range(60):
        with pytest.raises(ValueError, match="this is not a certificate"):
            end_of(der[:length])


def test_a_file_without_a_certificate_is_named(tmp_path, pair):
    """A key next to the certificate is accepted."""
    end = NOW + timedelta(days=3)
    assert end_of_file(pair("good", end)) == end
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(ConfigurationError, match=r"empty\.pem holds no certificate"):
        end_of_file(empty)
    with pytest.raises(ConfigurationError, match=r"cannot read .*missing\.pem"):
        end_of_file(tmp_path / "missing.pem")


@pytest.fixture
async def serve(pair):
    """Start TLS servers that only perform the handshake, and record who connected."""
    servers, seen = [], []

    async def start(end, *, trusts=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair("server", end))
        if trusts is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            for path in trusts:
                context.load_verify_locations(path)

        async def greet(reader, writer):
            seen.append(writer.get_extra_info("peercert"))
            writer.write(b"x")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
        servers.append(server)
        return server.sockets[0].getsockname()[1]

    start.seen = seen
    yield start
    for server in servers:
        server.close()


async def check_of(port, **more):
    """Return the result of the certificate check for a broker that only performs TLS handshakes."""
    stem = Stem(broker_url=f"amqps://u:p@127.0.0.1:{port}/", backend_url="memory://")
    stem.reconfigure(connect_timeout=2, **more)
    report = await check_health(stem, timeout=20)
    return next(check for check in report.checks if check.name == "certificates")


@pytest.mark.parametrize(
    ("days", "ok", "warning", "word"),
    [(30, True, False, "30 d left"), (13, True, True, "13 d left"), (-1, False, False, "EXPIRED")],
)
async def test_health_reports_the_expiry_of_the_brokers_certificate(serve, days, ok, warning, word):
    """It warns below 14 days, and fails after the expiry."""
    port = await serve(NOW + timedelta(days=days, minutes=10))
    check = await check_of(port)
    assert (check.ok, check.warning) == (ok, warning)
    assert word in check.detail
    assert f"127.0.0.1:{port}" in check.detail


async def test_health_reports_the_expiry_of_the_clients_certificate(serve, pair):
    """This is the client's certificate of mutual TLS."""
    port = await serve(NOW + timedelta(days=100))
    own = pair("client", NOW - timedelta(days=1))
    check = await check_of(port, tls_cert=own)
    assert not check.ok
    assert f"the client's certificate {own} EXPIRED" in check.detail


async def test_health_says_what_to_install_where_certificates_cannot_be_read(serve, monkeypatch):
    """The check is shown with a warning instead of being left out."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    port = await serve(NOW - timedelta(days=1))
    check = await check_of(port)
    assert (check.ok, check.warning) == (True, True)
    assert "not checked" in check.detail
    assert "pip install 'stem-amqp[tls]'" in check.detail


async def test_a_broker_that_is_down_has_no_expired_certificate(unused_port):
    """Only the check of the broker reports the failure."""
    check = await check_of(unused_port)
    assert check.ok
    assert "sends no certificate" in check.detail


@pytest.fixture
def unused_port():
    """Return a port on which no server listens."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


async def test_replaced_files_are_used_by_the_next_connection(serve, pair, tmp_path, caplog):
    """Files that do not match are not used, because they may be half written."""
    end = NOW + timedelta(days=100)
    old, new = pair("old", end, name="old.client"), pair("new", end, name="new.client")
    port = await serve(end, trusts=[old, new])
    own = pair("own", end)
    own.write_bytes(old.read_bytes())
    files = TlsFiles(ca=tmp_path / "server.pem", cert=own)

    async def connect():
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=files(), server_hostname="broker.test"
        )
        assert await reader.read(1) == b"x"
        writer.close()
        return dict(serve.seen[-1]["subject"][0])["commonName"]

    assert await connect() == "old.client"
    kept = files()
    own.write_text("half a certif")
    assert files() is kept
    assert "the old ones stay in use" in caplog.text
    assert await connect() == "old.client"
    own.write_bytes(new.read_bytes())
    assert await connect() == "new.client"
    assert files() is files()
