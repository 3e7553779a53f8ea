"""Test mutual TLS with a real RabbitMQ, which requires a client certificate that it trusts."""

import logging
import socket
import uuid

import pytest
from certificates import Authority

from stem_amqp import Stem
from stem_amqp.assembly import create_transport
from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.health.examination import check_health
from stem_amqp.servers.rabbitmq.private import find_programs, private_rabbitmq


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Return the authority that the broker and its clients trust."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Return another authority, which the broker and its clients do not trust."""
    return Authority(tmp_path_factory.mktemp("other"), "stranger")


@pytest.fixture(scope="module")
def broker_url(authority):
    """Yield the URL of a private node whose TLS listener requires client certificates."""
    try:
        find_programs()
    except BrokerUnavailableError as error:
        pytest.skip(str(error))
    cert, key = authority.pair("broker")
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    settings = (
        f"listeners.ssl.default = 127.0.0.1:{port}",
        f"ssl_options.cacertfile = {authority.path}",
        f"ssl_options.certfile = {cert}",
        f"ssl_options.keyfile = {key}",
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
    )
    with private_rabbitmq(settings=settings):
        yield f"amqps://guest:guest@127.0.0.1:{port}/"


@pytest.fixture
def application(broker_url):
    """Return a function that makes applications with the TLS files of a test."""

    def make(**files):
        stem = Stem(
            broker_url=broker_url, namespace=f"t-{uuid.uuid4().hex[:8]}", backend_url="rpc://"
        )
        named = {f"tls_{part}": path for part, path in files.items()}
        stem.reconfigure(connect_timeout=5, **named)

        @stem.task("work", queue="q")
        async def work(number: int) -> int:
            return number

        return stem

    return make


async def test_tasks_run_through_mutual_tls(application, authority):
    """Producer, worker and replies work with a client certificate of the authority."""
    cert, key = authority.pair("client")
    stem = application(ca=authority.path, cert=cert, key=key)
    async with stem, stem.worker(["q"]).running():
        assert await (await stem.enqueue("work", {"number": 7}, queue="q")).result(timeout=60) == 7


@pytest.mark.parametrize("what", ["not trusted", "missing", "ended", "foreign"])
async def test_what_is_wrong_is_one_error_with_its_remedy(application, authority, stranger, what):
    """Each is an error: an untrusted broker; a missing, expired or untrusted client certificate."""
    cert, key = authority.pair("client")
    ended, ended_key = authority.pair("client", days=-1, file="ended")
    foreign, foreign_key = stranger.pair("client")
    setting, files = {
        "not trusted": ("STEM_TLS_CA", {"ca": stranger.path, "cert": cert, "key": key}),
        "missing": ("STEM_TLS_CERT", {"ca": authority.path}),
        "ended": ("STEM_TLS_CERT", {"ca": authority.path, "cert": ended, "key": ended_key}),
        "foreign": ("STEM_TLS_CERT", {"ca": authority.path, "cert": foreign, "key": foreign_key}),
    }[what]
    with pytest.raises(BrokerUnavailableError, match=setting) as caught:
        async with application(**files):
            pass
    text = str(caught.value)
    assert len(text.splitlines()) <= 3
    assert "guest:guest" not in text


async def test_a_replaced_certificate_is_used_by_the_next_connection(
    application, authority, stranger, caplog
):
    """An expired certificate is refused, and its replacement accepted without a restart."""
    caplog.set_level(logging.INFO, "stem_amqp.tls")
    cert, key = stranger.pair("client", file="replaced")
    good = authority.pair("client", file="new")
    stem = application(ca=authority.path, cert=cert, key=key)
    transport = create_transport(stem.settings)
    with pytest.raises(BrokerUnavailableError, match="STEM_TLS_CERT"):
        await transport.connect()
    for source, target in zip(good, (cert, key), strict=True):
        target.write_bytes(source.read_bytes())
    info = await transport.connect()
    await transport.close()
    assert info.product == "RabbitMQ"
    assert "the TLS files have changed" in caplog.text


async def test_health_reports_both_certificates(application, authority):
    """Health reports the client's certificate, which expires soon, and the broker's."""
    cert, key = authority.pair("client", days=5, file="soon")
    stem = application(ca=authority.path, cert=cert, key=key)
    async with stem:
        pass  # declares the topology
    report = await check_health(stem, timeout=30)
    assert report.healthy, report
    check = next(check for check in report.checks if check.name == "certificates")
    assert check.warning
    assert f"the client's certificate {cert} is valid until" in check.detail
    assert "amqps://" in check.detail
