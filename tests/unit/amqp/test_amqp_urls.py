"""Broker URLs, and the description of a broker."""

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.transport.amqp.transport import AmqpTransport
from stem_amqp.transport.amqp.urls import BrokerUrl
from stem_amqp.transport.base import BrokerInfo
from stem_amqp.transport.features import broker_info, supported


@pytest.mark.parametrize(
    ("text", "user", "host", "port", "virtual_host"),
    [
        ("amqp://localhost", "guest", "localhost", 5672, "/"),
        ("amqp://u:p@host:1234/", "u", "host", 1234, "/"),
        ("amqp://u:p%40%2F%23@host/orders", "u", "host", 5672, "orders"),
        ("amqps://u:p@host/%2Fslash", "u", "host", 5671, "/slash"),
        ("amqp://[::1]:5673//", "guest", "::1", 5673, "/"),
    ],
)
def test_a_url_is_read(text, user, host, port, virtual_host):
    """Omitted parts have the defaults of AMQP."""
    url = BrokerUrl.parse(text)
    assert (url.user, url.host, url.port, url.virtual_host) == (user, host, port, virtual_host)


@pytest.mark.parametrize(
    "text",
    [
        "amqp://u:s3cret@host:99999/",
        "amqp://u:s3cret@host:abc/",
        "amqp://u:s3/cret@host:5672/",
        "amqp://u:s3#cret@host:5672/",
        "amqp://u:12#s3cret@host:5672/",
        "amqp://u:s3?cret@host:5672/",
        "amqp://u:s3@cret@host:bad/?key=s3cret",
        "redis://u:s3cret@host/",
        "amqp:///s3cret",
        "host:5672",
    ],
)
def test_an_unusable_url_is_named_without_its_password(text):
    """The message shows the form, and no part of the password."""
    with pytest.raises(ConfigurationError, match="STEM_BROKER_URL") as caught:
        AmqpTransport([text])
    if "@" in text:
        assert "s3" not in str(caught.value)
        assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_password_is_in_no_representation():
    """This holds for `str` and `repr`."""
    url = BrokerUrl.parse("amqp://u:s3cret@host/")
    assert "s3cret" not in f"{url} {url!r}"


def test_no_url_at_all_is_an_error():
    """An empty setting is a mistake, and does not mean localhost."""
    with pytest.raises(ConfigurationError, match="no broker URL"):
        AmqpTransport([])


@pytest.mark.parametrize(
    ("text", "seconds", "expected"),
    [("amqp://h/", 30, "30"), ("amqp://h/", 0.2, "1"), ("amqp://h/?heartbeat=7", 30, "7")],
)
def test_a_heartbeat_is_in_whole_seconds_and_the_urls_own_comes_first(text, seconds, expected):
    """aiormq would take a fractional number for no heartbeat."""
    assert BrokerUrl.parse(text).with_heartbeat(seconds).url.query["heartbeat"] == expected


def test_the_broker_is_described_by_its_properties():
    """This includes a broker with few properties."""
    properties = {"product": "RabbitMQ", "version": "4.3.6+beta.1", "cluster_name": "c"}
    assert broker_info(properties) == BrokerInfo(product="RabbitMQ", version=(4, 3, 6), cluster="c")
    assert broker_info({}).version == ()


@pytest.mark.parametrize(
    ("version", "expected"),
    [((3, 9, 29), False), ((3, 10, 8), True), ((4, 0), True), ((4, 3, 6), True)],
)
def test_a_release_is_supported_from_3_10_on(version, expected):
    """Delay queues need features of that release."""
    assert supported(BrokerInfo(product="RabbitMQ", version=version)) is expected
