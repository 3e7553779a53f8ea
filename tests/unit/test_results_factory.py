"""Creation of a result backend from a URL."""

import subprocess
import sys

import pytest

from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendUnavailableError, ConfigurationError
from stem_amqp.results import factory
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.results.redis.backend import RedisBackend
from stem_amqp.results.rpc.backend import RpcBackend
from stem_amqp.results.sqlite.backend import SqliteBackend
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport


def create(url):
    """Return a backend that is created as an application does."""
    transport = MemoryTransport(MemoryBroker())
    return factory.create(
        url, clock=SystemClock(), transport=transport, names=Names("stem"), ttl=60.0
    )


@pytest.fixture
def registered(monkeypatch):
    """Remove what the test registered."""
    monkeypatch.setattr(factory, "_registered", {})


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryBackend),
        ("memory://name", MemoryBackend),
        ("sqlite:///results.db", SqliteBackend),
        ("rpc://", RpcBackend),
        ("rpc:///", RpcBackend),
        ("redis://localhost", RedisBackend),
        ("rediss://:secret@localhost:6380/1", RedisBackend),
    ],
)
def test_the_scheme_decides_on_the_backend(url, kind):
    """Each scheme has its backend."""
    assert type(create(url)) is kind


def test_sqlite_urls_name_relative_and_absolute_files():
    """Three slashes are a file in the current directory, four an absolute path."""
    paths = [
        str(create(url)._thread.path)
        for url in ("sqlite:///results.db", "sqlite:///var/r.db", "sqlite:////var/lib/r.db")
    ]
    assert paths == ["results.db", "var/r.db", "/var/lib/r.db"]


def test_memory_backends_of_one_name_share_a_store_and_others_do_not():
    """The name after memory:// selects the store; without one it is the default store."""
    try:
        one, same, other = create("memory://one"), create("memory://one/"), create("memory://two")
        assert one._store is same._store
        assert one._store is not other._store
        assert create("memory://")._store is create("memory://default")._store
        MemoryStore.forget("one")
        assert create("memory://one")._store is not one._store
    finally:
        for name in ("one", "two", "default"):
            MemoryStore.forget(name)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "sqllite:///x.db",
            r"sqllite.*known are memory://, postgres://, postgresql://, redis://, rediss://, rpc://, sqlite://\. Did you mean sqlite://",
        ),
        ("Memory://", "Did you mean memory://"),
        ("reddis://:geheim@host/0", "Did you mean redis://"),
        ("results.db", "known are"),
        ("sqlite://results.db", "sqlite:///results.db"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///x.db?mode=ro", "no parameters"),
        ("rpc://host", "the application's broker"),
    ],
)
def test_a_url_that_cannot_be_used_says_what_to_write_instead(url, words):
    """Each error has its remedy, and never a password."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        create(url)
    assert "geheim" not in str(caught.value)


def test_third_parties_register_backends_of_their_own(registered):
    """A registered factory gets the URL and all options for a backend."""
    seen = []

    def make(parts):
        seen.append(parts)
        return MemoryBackend(MemoryStore(), parts.clock)

    factory.register("s3", make)
    factory.register("s3", make)
    assert type(create("s3://bucket/results")) is MemoryBackend
    assert (seen[0].url, seen[0].rest, seen[0].ttl) == ("s3://bucket/results", "bucket/results", 60)
    with pytest.raises(
        ConfigurationError, match=r"known are memory://, postgres.*, redis.*, s3://, sqlite://"
    ):
        create("s4://bucket")


@pytest.mark.parametrize("scheme", ["memory", "s3", "S3", "s 3", "", "://"])
def test_a_scheme_that_is_taken_or_none_is_refused(registered, scheme):
    """A backend is never replaced unnoticed."""
    factory.register("s3", create)
    with pytest.raises(ConfigurationError, match=r"already|not a URL scheme"):
        factory.register(scheme, lambda parts: create("memory://"))


async def test_a_backend_is_not_usable_before_it_is_opened(tmp_path):
    """The error says that the backend is not open."""
    urls = (f"sqlite:///{tmp_path}/r.db", "memory://unopened", "rpc://", "redis://localhost")
    for url in urls:
        with pytest.raises(BackendUnavailableError, match="not open"):
            await create(url).get("x")
    MemoryStore.forget("unopened")


def test_without_the_client_library_redis_says_what_to_install(monkeypatch):
    """The error names the missing extra, and shows no password."""
    for name in [name for name in sys.modules if name.split(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [
        name for name in sys.modules if name.startswith("stem_amqp.results.redis.backend")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'stem-amqp\[redis\]'") as caught:
        create("redis://:geheim@host/0")
    assert "geheim" not in str(caught.value)


def test_the_core_does_not_import_the_client_library_of_redis():
    """Applications with another backend do not need it."""
    code = "import sys, stem_amqp, stem_amqp.results.factory; print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
