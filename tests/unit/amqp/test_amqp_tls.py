"""TLS: errors about files, and about the broker's certificate."""

import shutil
import ssl
import subprocess

import pytest

from stem_amqp.errors import BrokerUnavailableError, ConfigurationError
from stem_amqp.tls.files import client_context
from stem_amqp.transport.amqp.transport import AmqpTransport

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl makes the certificates")


@pytest.fixture(scope="module")
def make_certificate(tmp_path_factory):
    """Return self-signed certificates with their keys."""
    folder = tmp_path_factory.mktemp("tls")

    def make(name, *, passphrase=None):
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
        locked = ["-passout", f"pass:{passphrase}"] if passphrase else ["-nodes"]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"]
        command = [OPENSSL, "req", "-x509", *kind, *locked, *subject]
        command += ["-out", str(cert), "-keyout", str(key)]
        subprocess.run(command, check=True, capture_output=True)
        return cert, key

    return make


@pytest.fixture(scope="module")
def certificate(make_certificate):
    """Return a broker's certificate and key, for the name broker.test."""
    return make_certificate("broker.test")


@pytest.fixture
async def encrypted(new_scripted, certificate):
    """Yield a broker with TLS."""
    broker = new_scripted()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    await broker.start(ssl=context)
    yield broker
    await broker.stop()


async def reach(url, **options):
    transport = AmqpTransport([url], connect_timeout=5, **options)
    try:
        return await transport.connect()
    finally:
        await transport.close()


async def test_a_certificate_of_a_known_authority_and_name_is_trusted(encrypted, certificate):
    """The name may differ from the host, for example behind a load balancer."""
    context = client_context(certificate[0])
    info = await reach(encrypted.url, ssl_context=context, server_name="broker.test")
    assert info.product == "RabbitMQ"


async def test_another_name_is_not_trusted(encrypted, certificate):
    """The remedy is the setting for the name."""
    with pytest.raises(BrokerUnavailableError, match="STEM_TLS_SERVER_NAME"):
        await reach(encrypted.url, ssl_context=client_context(certificate[0]))


async def test_an_unknown_authority_is_not_trusted(encrypted):
    """Without a configured CA those of the system are used; the remedy is the setting for it."""
    with pytest.raises(BrokerUnavailableError, match="STEM_TLS_CA"):
        await reach(encrypted.url, server_name="broker.test")


async def test_a_plain_port_is_distinguished_from_a_tls_port(scripted):
    """The error names the port and the other scheme."""
    url = scripted.url.replace("amqp:", "amqps:")
    with pytest.raises(BrokerUnavailableError, match=r"usually 5671, else use amqp://"):
        await reach(url)


async def test_a_tls_port_is_distinguished_from_a_plain_port(encrypted):
    """The error names the required scheme."""
    url = encrypted.url.replace("amqps:", "amqp:")
    with pytest.raises(BrokerUnavailableError, match="amqps://"):
        await reach(url)


def test_a_client_certificate_is_loaded(certificate):
    """Its key is in a separate file."""
    context = client_context(cert=certificate[0], key=certificate[1])
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("option", ["ca", "cert", "key"])
def test_a_missing_file_is_named_with_its_variable(tmp_path, certificate, option):
    """The error names the setting whose file is missing."""
    files = {"cert": certificate[0], option: tmp_path / "absent.pem"}
    with pytest.raises(ConfigurationError, match=f"STEM_TLS_{option.upper()}.*absent.pem: No such"):
        client_context(**files)


def test_a_file_that_is_no_certificate_is_named(tmp_path, certificate):
    """This includes a key in place of the certificate."""
    text = tmp_path / "text.pem"
    text.write_text("hello")
    with pytest.raises(ConfigurationError, match=r"STEM_TLS_CA: .*text\.pem holds no certificate"):
        client_context(ca=text)
    with pytest.raises(ConfigurationError, match=r"STEM_TLS_CERT and STEM_TLS_KEY: .*text\.pem"):
        client_context(cert=text, key=certificate[1])


def test_a_key_without_its_certificate_is_an_error(certificate):
    """Each of them needs the other."""
    with pytest.raises(ConfigurationError, match="set STEM_TLS_CERT"):
        client_context(key=certificate[1])


def test_a_key_of_another_certificate_is_an_error(certificate, make_certificate):
    """It would otherwise fail at the first handshake, long after the start."""
    _, other = make_certificate("other.test")
    with pytest.raises(ConfigurationError, match="KEY_VALUES_MISMATCH"):
        client_context(cert=certificate[0], key=other)


def test_an_encrypted_key_does_not_ask_for_its_passphrase(make_certificate):
    """A service has no terminal for a prompt."""
    cert, key = make_certificate("locked.test", passphrase="secret")
    with pytest.raises(ConfigurationError, match="is encrypted"):
        client_context(cert=cert, key=key)
