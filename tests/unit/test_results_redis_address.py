"""The URL of a Redis server, and the errors about unusable URLs."""

import traceback

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.redis.address import RedisAddress


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
        ("rediss://cache", {"host": "cache", "port": 6379, "db": 0}, "rediss://cache:6379/0"),
    ],
)
def test_a_url_names_server_database_and_credentials(url, options, shown):
    """Each part is decoded, and messages name the server without user and password."""
    address = RedisAddress.parse(url)
    assert address.options == options
    assert str(address) == shown
    assert address.tls is url.startswith("rediss")
    assert "secret" not in repr(address)


def test_tls_files_are_parameters(tmp_path):
    """A private CA and a client certificate are paths of PEM files."""
    options = {"ca": "ssl_ca_certs", "cert": "ssl_certfile", "private": "ssl_keyfile"}
    for name in options:
        (tmp_path / name).touch()
    query = "&".join(f"{name}={tmp_path}/{name}" for name in options)
    address = RedisAddress.parse(f"rediss://cache?{query}")
    expected = {option: f"{tmp_path}/{name}" for name, option in options.items()}
    assert expected.items() <= address.options.items()


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
        ("redis://:gehe/im@dahin@cache", "host or the port"),
        ("redis://:gehe#im@cache", "host or the port"),
        ("redis://:gehe?im@cache", "host or the port"),
        ("redis://:geheim@cache#im", "%23"),
        ("redis://cache?ssl_ca_certs=geheim", "'ssl_ca_certs'; known: none"),
        ("redis://:geheim@cache?ca=/ca.pem", "rediss:// for TLS"),
        ("rediss://cache?ca=/no/such/ca.pem", "no file '/no/such/ca.pem'"),
        ("rediss://cache?password=geheim", "'password'; known: ca, cert, private"),
    ],
)
def test_a_url_that_cannot_be_used_shows_the_form_and_no_password(url, words):
    """Each error has the mistake and the form of a URL, and no part of a secret."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        RedisAddress.parse(url)
    assert "STEM_BACKEND_URL=redis://[[user]:password@]host" in str(caught.value)
    # what a log shows without the lines of this file: the error and those it was raised from
    told = "".join(traceback.format_exception(caught.value, limit=0))
    for secret in ("geheim", "gehe", "im@", "dahin"):
        assert secret not in told
