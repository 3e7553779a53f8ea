"""URLs are printed without a password, a token, or a part of one."""

import logging
from string import Template

import pytest
from cli_support import command_line
from hypothesis import example, given
from hypothesis import strategies as st

from stem_amqp import Stem
from stem_amqp.clock import SystemClock
from stem_amqp.errors import StemError
from stem_amqp.results.factory import BackendParts, create
from stem_amqp.results.postgres.address import parse_address
from stem_amqp.results.redis.address import RedisAddress
from stem_amqp.settings import Settings
from stem_amqp.text.redaction import redacted, without_secrets
from stem_amqp.topology.names import Names
from stem_amqp.transport.amqp.transport import AmqpTransport
from stem_amqp.transport.amqp.urls import BrokerUrl
from stem_amqp.transport.memory.transport import MemoryTransport

SECRET = "hunter2"
SCHEMES = st.sampled_from(["amqp", "amqps", "redis", "rediss", "postgresql", "https", "s3", "a+b"])
AROUND = st.text(st.sampled_from("ab1:/@?#%&=;\\ é"), max_size=3)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:pass@host:5672/v", "amqp://user:***@host:5672/v"),
        ("amqp://host/", "amqp://host/"),
        ("amqps://u:p@h/?heartbeat=5", "amqps://u:***@h/?heartbeat=5"),
        ("amqp://user@corp:PASS@host/", "amqp://***@host/"),
        ("amqp://user:pa@ss@host:5672/v", "amqp://***@host:5672/v"),
        ("amqp://user:pa/ss@host/v", "amqp://***@host/v"),
        ("amqp://user:pa?ss@host/v", "amqp://***"),
        ("redis://:secret@host/0", "redis://:***@host/0"),
        ("https://token@host/", "https://***@host/"),
        ("postgresql://a,b/db?sslmode=require&sslpassword=x", "postgresql://a,b/db?sslmode=require&sslpassword=***"),
        ("s3://bucket?access_token=x&Signature=y", "s3://bucket?access_token=***&Signature=***"),
        ("postgresql://h/d?password=p@ss", "postgresql://***"),
        ("amqp://host/#secret", "amqp://host/#***"),
        ("redis:user:secret@host", "***@host"),
        ("host=db password=secret", "***"),
        ("nothing", "nothing"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_secrets(url, shown):
    """Logs name the server without the secret."""
    assert redacted(url) == shown


@given(SCHEMES, AROUND, AROUND, AROUND)
@example("amqp", "", "@", "")
@example("amqp", "", "", "/@")
def test_a_password_is_hidden_whatever_is_around_it(scheme, user, before, after):
    """Many passwords have characters that should have been percent-encoded."""
    url = f"{scheme}://{user}:{before}{SECRET}{after}@host:1/path"
    assert SECRET not in redacted(url)
    assert SECRET not in without_secrets(f"no way to {url.replace(' ', '')} today")


@given(SCHEMES, st.text(st.sampled_from("abkeypsword_-."), min_size=1, max_size=12), AROUND)
def test_a_parameter_is_hidden_unless_it_is_known_to_be_harmless(scheme, name, around):
    """A list of all names of secret parameters is impossible."""
    harmless = name in {"db", "port", "user", "ca"}
    assert harmless or SECRET not in redacted(f"{scheme}://host/?a=b&{name}={around}{SECRET}")


def test_only_urls_are_changed_in_a_text():
    """The rest of a library's error is not changed."""
    text = "cannot reach 'amqp://u:p@h/' at 12:30 (see https://docs.example/x), 10 // 3"
    assert without_secrets(text) == text.replace("u:p@", "u:***@")


# -- everything that holds a URL ----------------------------------------------------------------

PASSWORDS = ["hunter2", "hun@hunter2", "hunter2/x", "x:hunter2", "hunter2?x", "hunter2#x"]
BROKERS = ["amqp://me:$p@host/", "amqp://me@corp:$p@host:5672/v", "amqps://me:$p@h/?token=$p"]
BACKENDS = [
    "redis://:$p@host/0", "rediss://me:$p@host/0?password=$p", "postgresql://me:$p@host/db",
    "postgresql://me@host/db?sslpassword=$p", "postgresql://me@host/db?pool_size=1&access_token=$p",
    "sqlite:///x?key=$p", "rpc://me:$p@host", "nosuch://me:$p@host/x", "nosuch:me:$p@host",
]  # fmt: skip


def shown(make):
    """Return everything that can be printed of an object, or of the error in its place."""
    try:
        made = make()
    except StemError as error:
        return f"{error} {error!r} {error.__cause__!r}"
    return f"{made} {made!r} {vars(made) if type(made).__repr__ is object.__repr__ else ''}"


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("pattern", BROKERS)
def test_no_object_shows_the_url_of_a_broker(pattern, password):
    """This holds for settings, URLs, the objects made of them, and errors about them."""
    url = Template(pattern).substitute(p=password)
    for make in (
        lambda: Settings.load(broker_url=url, management_url=url),
        lambda: BrokerUrl.parse(url),
        lambda: BrokerUrl.parse(url).with_heartbeat(3),
        lambda: Stem(broker_url=url),
    ):
        assert SECRET not in shown(make)


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("pattern", BACKENDS)
def test_no_object_shows_the_url_of_a_backend(pattern, password):
    """This holds for the factory's parts, addresses, backends, and errors about them."""
    url = Template(pattern).substitute(p=password)
    transport, clock, names = MemoryTransport.from_url("memory://x"), SystemClock(), Names("n")
    parts = {"clock": clock, "transport": transport, "names": names, "ttl": 1.0}
    for make in (
        lambda: BackendParts(url=url, **parts),
        lambda: create(url, **parts),
        lambda: RedisAddress.parse(url),
        lambda: parse_address(url),
    ):
        assert SECRET not in shown(make)


@pytest.mark.rabbitmq
async def test_no_logger_writes_the_password(stem_broker_url, caplog):
    """aio-pika and aiormq write their own debug logs of a connection."""
    user, _, host = stem_broker_url.partition("://")[2].rpartition("@")
    name, _, password = user.partition(":")
    marked = f"amqp://{name}:{password}@{host}?token={SECRET}"
    for logger in ("", "aio_pika", "aiormq"):
        caplog.set_level(logging.DEBUG, logger=logger)
    transport = AmqpTransport([marked])
    await transport.connect()
    await transport.close()
    written = caplog.text.replace(f"amqp://{name}:***@", "")
    assert "aiormq" in {record.name.split(".")[0] for record in caplog.records}
    assert SECRET not in written
    assert f":{password}@" not in written
    assert f"\\x00{name}\\x00{password}" not in written


# -- every command ------------------------------------------------------------------------------

URLS = [
    "amqp://me@corp:hunter2@127.0.0.1:1/v",
    "amqp://me:hun%40hunter2@127.0.0.1:1/v?token=hunter2",
    "amqp://me:1/hunter2@127.0.0.1:1/",
    "amqp://me:hunter2/x@127.0.0.1:1/",
    "amqp://me:x#hunter2@127.0.0.1:1/",
    "nosuch://me:hunter2@127.0.0.1/",
]
STORES = [
    "redis://me@corp:hunter2@127.0.0.1:1/0",
    "postgresql://me@corp:hunter2@127.0.0.1:1/db?sslpassword=hunter2",
    "postgresql://me:1?hunter2@127.0.0.1:1/db",
    "redis://:x/hunter2@127.0.0.1:1/0",
    "nosuch://me:hunter2@127.0.0.1/?access_token=hunter2",
    "sqlite:///hunter2.d/x.db?token=hunter2",
]
COMMANDS = [
    ("health", "--timeout", "1s"),
    ("queues", "-Q", "q"),
    ("enqueue", "work"),
    ("dlq", "list", "q"),
    ("dlq", "replay", "q", "--yes"),
    ("result", "i"),
    ("results",),
    ("topology", "verify"),
    ("topology", "plan"),
    ("topology", "import", "--management", "-"),
]


@pytest.mark.parametrize("more", [(), ("--json",), ("--debug",)], ids=["text", "json", "debug"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_prints_a_secret_of_a_url(words, more, capsys, monkeypatch, tmp_path):
    """This holds if the URL is refused, if no server answers, and if it is only mentioned."""
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        for broker, store in zip(URLS, STORES, strict=True):
            monkeypatch.setenv("STEM_BROKER_URL", broker)
            monkeypatch.setenv("STEM_BACKEND_URL", store)
            monkeypatch.setenv("STEM_MANAGEMENT_URL", broker.replace("amqp", "http"))
            monkeypatch.setenv("STEM_CONNECT_TIMEOUT", "1s")
            ran = cli(*words, *more)
            assert ran.code != 70, ran.err
            printed = (ran.out + ran.err).replace("hunter2.d", "")
            assert SECRET not in printed, printed


def test_a_worker_greets_without_a_secret(capsys, monkeypatch, tmp_path):
    """This holds for its first lines, also if no server answers."""
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        cli.write(
            "shop.py", "from stem_amqp import Stem\nstem = Stem()\n@stem.task('t')\ndef t(): ...\n"
        )
        monkeypatch.setenv("STEM_CONNECT_TIMEOUT", "1s")
        monkeypatch.setenv("STEM_LOG_LEVEL", "DEBUG")
        for broker, store in zip(URLS, STORES, strict=True):
            monkeypatch.setenv("STEM_BROKER_URL", broker)
            monkeypatch.setenv("STEM_BACKEND_URL", store)
            with cli.process("worker", "shop:stem") as process:
                process.wait(timeout=60)
        assert cli.log()
        assert SECRET not in cli.log().replace("hunter2.d", "")
