"""The URL of a Redis, and what is said of one that cannot be used."""

import traceback

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.redis_address import RedisAddress


@pytest.mark.parametrize(
    ("url", "options", "shown"),
    [
        ("redis://cache", {"host": "cache", "port": 6379, "db": 0}, "redis://cache:6379/0"),
        ("redis://cache/", {"host": "cache", "port": 6379, "db": 0}, "redis://cache:6379/0"),
        (
            "redis://:pa%2Fss%40w@cache:7000/3",
            {"host": "cache", "port": 7000, "db": 3, "password": "pa/ss@w"},
            "redis://cache:7000/3",
        ),
        (
            "redis://me:secret@[::1]:7000",
            {"host": "::1", "port": 7000, "db": 0, "username": "me", "password": "secret"},
            "redis://[::1]:7000/0",
        ),
        (
            "rediss://cache?ca=/etc/ca.pem&cert=/c.pem&private=/k.pem",
            {
                "host": "cache",
                "port": 6379,
                "db": 0,
                "ssl_ca_certs": "/etc/ca.pem",
                "ssl_certfile": "/c.pem",
                "ssl_keyfile": "/k.pem",
            },
            "rediss://cache:6379/0",
        ),
    ],
)
def test_a_url_names_server_database_and_credentials(url, options, shown):
    """Each part arrives decoded, and messages name the server without user and password."""
    address = RedisAddress.parse(url)
    assert address.options == options
    assert str(address) == shown
    assert address.tls is url.startswith("rediss")
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://:geheim@/0", "names no host"),
        ("redis://:geheim@cache/results", "number of a database"),
        ("redis://:geheim@cache/-1", "number of a database"),
        ("redis://:geheim@cache:port", "host or the port"),
        ("redis://:geheim@cache:70000", "host or the port"),
        ("redis://:geheim@[::1", "host or the port"),
        ("redis://:gehe/im@cache", "host or the port"),
        ("redis://:gehe/im@here@cache", "host or the port"),
        ("redis://:gehe#im@cache", "host or the port"),
        ("redis://:gehe?im@cache", "host or the port"),
        ("redis://:geheim@cache#im", "%23"),
        ("redis://cache?ssl_ca_certs=geheim", "'ssl_ca_certs'; known: none"),
        ("redis://:geheim@cache?ca=/ca.pem", "rediss:// for TLS"),
        ("rediss://cache?password=geheim", "'password'; known: ca, cert, private"),
    ],
)
def test_a_url_that_cannot_be_used_shows_the_form_and_no_password(url, words):
    """Each mistake says what is wrong and how a URL is written, and repeats no part of a secret."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        RedisAddress.parse(url)
    assert "STEM_BACKEND_URL=redis://[[user]:password@]host" in str(caught.value)
    # what a log shows, but for the lines of this file: the error and those it was raised from
    told = "".join(traceback.format_exception(caught.value, limit=0))
    for secret in ("geheim", "gehe", "im@", "here"):
        assert secret not in told
