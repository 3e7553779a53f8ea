"""Test mutual TLS to real result backends: what they require and refuse, and what errors say."""

import asyncio
import os
import shutil
import uuid

import asyncpg
import pytest
from certificates import Authority
from support import until

from stem_amqp import Stem
from stem_amqp.errors import BackendUnavailableError, ConfigurationError, StemError
from stem_amqp.health.examination import check_health
from stem_amqp.servers.redis.private import private_redis as start_redis


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Return the authority that servers and clients trust."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Return another authority, which servers and clients do not trust."""
    return Authority(tmp_path_factory.mktemp("other"), "stranger")


@pytest.fixture(scope="module")
def redis_url(private_redis_installed, authority):
    """Yield the URL of a Redis whose second port needs TLS and a client certificate."""
    cert, key = authority.pair("redis")
    # The plain port serves only to check that it runs; the tests use the TLS port
    tls = ("--tls-cert-file", str(cert), "--tls-key-file", str(key))
    tls += ("--tls-ca-cert-file", str(authority.path), "--tls-auth-clients", "yes")
    with start_redis(*tls, tls=True) as server:
        yield server.tls_url


@pytest.fixture(scope="module")
def postgres_url(own_postgres, authority):
    """Yield the URL of a PostgreSQL role that needs TLS and a client certificate."""
    cert, key = authority.pair("postgres")
    data = own_postgres.folder / "data"
    for source, name in ((cert, "server.crt"), (key, "server.key"), (authority.path, "root.crt")):
        shutil.copy(source, data / name)
        (data / name).chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(data / name, own_postgres.folder.owner())
    rules, before = data / "pg_hba.conf", (data / "pg_hba.conf").read_text()
    rules.write_text(
        "hostssl all client 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n"
        f"host all client 127.0.0.1/32 reject\n{before}"
    )

    async def carry_out(*statements):
        connection = await asyncpg.connect(own_postgres.url)
        for statement in (*statements, "SELECT pg_reload_conf()"):
            await connection.execute(statement)
        await connection.close()

    asyncio.run(
        carry_out(
            "CREATE ROLE client LOGIN PASSWORD 'geheim'",
            "CREATE DATABASE client OWNER client",
            "ALTER SYSTEM SET ssl_ca_file = 'root.crt'",
            "ALTER SYSTEM SET ssl = on",
        )
    )
    # it reads its files again a moment after it was asked to
    until(lambda: asyncio.run(uses_tls(own_postgres.url)), "TLS")
    yield f"postgresql://client:geheim@127.0.0.1:{own_postgres.port}/client"
    rules.write_text(before)
    asyncio.run(
        carry_out(
            "DROP DATABASE client WITH (FORCE)",
            "DROP ROLE client",
            "ALTER SYSTEM RESET ssl",
            "ALTER SYSTEM RESET ssl_ca_file",
        )
    )


async def uses_tls(url):
    """Return whether new connections to a PostgreSQL may use TLS."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SHOW ssl") == "on"
    finally:
        await connection.close()


@pytest.fixture(params=["redis", "postgres"])
def backend_url(request):
    """Return the URL of each backend."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def application(backend_url):
    """Return a function that makes applications with the TLS files of a test."""

    def make(**files):
        name = f"t-{uuid.uuid4().hex[:8]}"
        stem = Stem(broker_url=f"memory://{name}", namespace=name, backend_url=backend_url)
        named = {f"backend_tls_{part}": path for part, path in files.items()}
        stem.reconfigure(**named)

        @stem.task("work", queue="q")
        async def work(number: int) -> int:
            return number

        return stem

    return make


async def result_of(stem):
    """Run a task, and return its result."""
    async with stem, stem.worker(["q"]).running():
        return await (await stem.enqueue("work", {"number": 7}, queue="q")).result(timeout=60)


async def test_results_are_stored_through_mutual_tls(application, authority):
    """It works with the three files of the settings, and with certificate and key in one file."""
    cert, key = authority.pair("client")
    assert await result_of(application(ca=authority.path, cert=cert, key=key)) == 7
    both = authority.folder / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    assert await result_of(application(ca=authority.path, cert=both)) == 7


async def test_what_is_wrong_is_one_error_with_its_remedy(application, authority, stranger):
    """Each is an error: an untrusted server; a missing, expired or untrusted client certificate."""
    cert, key = authority.pair("client")
    ended, ended_key = authority.pair("client", days=-1, file="ended")
    foreign, foreign_key = stranger.pair("client")
    wrong = {
        "not trusted": ("STEM_BACKEND_TLS_CA", {"ca": stranger.path, "cert": cert, "key": key}),
        "missing": ("STEM_BACKEND_TLS_CERT", {"ca": authority.path}),
        "ended": (
            "STEM_BACKEND_TLS_CERT",
            {"ca": authority.path, "cert": ended, "key": ended_key},
        ),
        "foreign": (
            "STEM_BACKEND_TLS_CERT",
            {"ca": authority.path, "cert": foreign, "key": foreign_key},
        ),
    }
    for setting, files in wrong.values():
        with pytest.raises(StemError, match=setting) as caught:
            await result_of(application(**files))
        text = str(caught.value)
        assert "geheim" not in text
        assert len(text.splitlines()) <= 4
    # an invalid certificate file is detected before anything connects
    nothing = authority.folder / "nothing.pem"
    nothing.write_text("nothing")
    with pytest.raises(ConfigurationError, match=r"STEM_BACKEND_TLS_CA: .*nothing\.pem"):
        await result_of(application(ca=nothing))
    with pytest.raises(ConfigurationError, match=r"set STEM_BACKEND_TLS_CERT"):
        await result_of(application(ca=authority.path, key=key))


async def test_a_replaced_certificate_is_used_by_the_next_connection(
    application, authority, stranger
):
    """The certificate files are read again for each connection, without a restart."""
    cert, key = stranger.pair("client", file="replaced")
    stem = application(ca=authority.path, cert=cert, key=key)
    good_cert, good_key = authority.pair("client", file="good")
    stem.reconfigure(backend_tls_cert=good_cert, backend_tls_key=good_key)
    async with stem:
        backend = stem.connected.backend
        await backend.ping()
        good_cert.write_bytes(cert.read_bytes())
        good_key.write_bytes(key.read_bytes())
        await drop_connections(backend)
        with pytest.raises(BackendUnavailableError, match="STEM_BACKEND_TLS_CERT"):
            await backend.ping()
        authority.pair("client", file="good")
        await backend.ping()


async def drop_connections(backend):
    """Close the open connections, as in an outage."""
    pool = getattr(backend, "_pool", None)
    if pool is not None:
        pool._drop_idle()
    else:
        await backend._client._pool._disconnect_idle()


@pytest.mark.parametrize(
    ("days", "ok", "warning", "word"),
    [(30, True, False, "left"), (10, True, True, "left"), (-1, False, False, "EXPIRED")],
)
async def test_health_reports_when_certificates_of_backends_expire(
    application, authority, days, ok, warning, word
):
    """Health reports the server's certificate and that of the client."""
    cert, key = authority.pair("client", days=days, file=f"client{days}")
    stem = application(ca=authority.path, cert=cert, key=key)
    report = await check_health(stem, timeout=30)
    check = next(check for check in report.checks if check.name == "certificates")
    assert (check.ok, check.warning) == (ok, warning), check.detail
    server, own = sorted(check.detail.splitlines()[:2], key=lambda line: "client's" in line)
    assert "127.0.0.1:" in server
    assert "is valid until" in server
    assert str(cert) in own
    assert word in own
    assert "geheim" not in check.detail


async def test_tls_is_set_in_one_place(authority, postgres_url, redis_url):
    """A URL that contradicts the settings is an error before anything connects."""
    tls = {"backend_tls_ca": authority.path}
    for url, words in (
        (f"{postgres_url}?sslmode=disable", "Set it in one place"),
        (redis_url.replace("rediss", "redis"), "redis:// does not use TLS"),
    ):
        stem = Stem(broker_url=f"memory://{uuid.uuid4().hex}", backend_url=url)
        stem.reconfigure(**tls)
        with pytest.raises(ConfigurationError, match=words):
            async with stem:
                pass
