"""Test the result backend in Redis: stored data, namespaces, and errors for an unsuitable Redis."""

import asyncio
import contextlib
import itertools
import logging
import re
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
from redis.asyncio import Redis
from support import eventually, free_port, remove_keys, report_ends

from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendUnavailableError, ConfigurationError
from stem_amqp.results.base import Progress, ProgressUpdate, Transition
from stem_amqp.results.filters import query_of
from stem_amqp.results.redis import client as redis_client
from stem_amqp.results.redis import listing as redis_listing
from stem_amqp.results.redis import schema as redis_schema
from stem_amqp.results.redis.address import RedisAddress
from stem_amqp.results.redis.backend import RedisBackend
from stem_amqp.servers.redis.private import private_redis as start_redis
from stem_amqp.states import TaskState
from stem_amqp.testing.backend_contract.lists import pages

RESULTS_PAGE = Path(__file__).parents[2] / "docs" / "results.md"
QUEUED, SUCCEEDED = TaskState.QUEUED, TaskState.SUCCEEDED


@pytest.fixture
async def namespace(stem_redis_url):
    """Yield a namespace, and remove its keys afterwards."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    yield name
    await remove_keys(stem_redis_url, name)


@pytest.fixture
async def redis(stem_redis_url):
    """Yield a client of Redis, like an operator's."""
    async with Redis.from_url(stem_redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def open_backend(stem_redis_url, namespace):
    """Yield a function that opens backends, and close them afterwards."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(url=stem_redis_url, name=namespace):
            backend = RedisBackend(RedisAddress.parse(url), name, SystemClock())
            stack.push_async_callback(backend.close)
            await backend.open()
            return backend

        yield open_one


def change(task_id, state=SUCCEEDED, **values):
    """Return a transition of a task."""
    defaults = {"task": "shop.sync", "queue": "orders", "at": time.time()}
    if state is SUCCEEDED:
        defaults["result"] = b"1"
    return Transition(task_id=task_id, state=state, **(defaults | values))


async def test_people_can_read_what_lies_in_redis(open_backend, redis, namespace):
    """A record is one JSON document with a TTL, which contains the result unchanged."""
    backend = await open_backend()
    await backend.transition([change("t1", QUEUED, ttl=100)])
    progress = Progress(fraction=0.5, message='a "quoted"\nline', at=1.5)
    await backend.report_progress([ProgressUpdate(task_id="t1", progress=progress, ttl=100)])
    done = change("t1", result=b'{"total":  3}', meta={"line": "a\nb"}, worker="w1", ttl=50)
    await backend.transition([done])
    text = await redis.get(f"{namespace}:task:t1")
    assert text.endswith('"result":\n{"total":  3}}')
    document = orjson.loads(text)
    assert (document["state"], document["task"], document["worker"]) == (
        "succeeded",
        "shop.sync",
        "w1",
    )
    assert document["progress"]["message"] == 'a "quoted"\nline'
    assert 0 < await redis.pttl(f"{namespace}:task:t1") <= 50_000
    record = await backend.get("t1")
    assert (record.result, record.progress) == (b'{"total":  3}', progress)
    assert (record.meta, record.worker) == ({"line": "a\nb"}, "w1")


async def test_groups_have_a_ttl_in_redis(open_backend, redis, namespace):
    """Redis removes a group at its TTL, whatever it was used for meanwhile."""
    backend = await open_backend()
    await backend.create_group("g1", 1, ttl=50)
    await report_ends(backend, "g1", 0)
    await backend.claim_group("g1", "t1")
    assert 0 < await redis.pttl(f"{namespace}:group:g1") <= 50_000
    fields = await redis.hgetall(f"{namespace}:group:g1")
    assert fields.pop("expires_at")
    counts = {"size": "1", "sealed": "1", "done": "1", "failed": "0", "plan": ""}
    assert fields == counts | {"claimed_by": "t1"}
    assert 0 < await redis.pttl(f"{namespace}:members:g1") <= 50_000
    assert await redis.hgetall(f"{namespace}:members:g1") == {
        "0": '{"i":0,"state":"succeeded","task":"t0"}'
    }


async def test_redis_forgets_by_itself(open_backend, redis, namespace):
    """Expired records need no purge."""
    backend = await open_backend()
    await backend.transition([change("t1", ttl=0.05), change("t2", ttl=0)])

    async def is_empty():
        return not await redis.exists(f"{namespace}:task:t1", f"{namespace}:task:t2")

    await eventually(is_empty, "the expiry")
    assert await backend.purge_expired() == 0


async def test_a_ttl_without_end_is_no_error(open_backend):
    """Redis refuses times beyond its clock, so the TTL is limited."""
    backend = await open_backend()
    await backend.transition([change("t1", ttl=float("inf")), change("t2", ttl=1e12)])
    await backend.create_group("g1", 1, ttl=float("inf"))
    assert (await backend.get("t1")).state is SUCCEEDED
    assert (await backend.get_group("g1")).size == 1


async def test_namespaces_do_not_see_each_other(open_backend, stem_redis_url, namespace):
    """The same ids in two namespaces are different tasks and groups, also to waiters and purges."""
    one, other = await open_backend(), await open_backend(name=f"{namespace}.other")
    try:
        await one.transition([change("t1", result=b"1", ttl=100)])
        await one.create_group("g1", 1, ttl=100)
        assert await other.get("t1") is None
        assert await other.get_group("g1") is None
        await other.create_group("g1", 2, ttl=100)
        waiting = asyncio.create_task(other.wait("t1", 20))
        await eventually(lambda: other._watch._listener is not None, "the subscription")
        await other.transition([change("t1", QUEUED)])
        await one.transition([change("t1", replay=1)])
        await other.transition([change("t1", result=b"2")])
        assert (await waiting).result == b"2"
    finally:
        await remove_keys(stem_redis_url, f"{namespace}.other")


async def test_a_cancelled_call_ends_at_once_and_costs_the_others_nothing(open_backend):
    """A call ends whenever it is cancelled, and no other call gets its reply."""
    backend = await open_backend()
    await backend.transition([change(f"t{n}", result=str(n).encode()) for n in range(40)])

    async def get_and_stay(number):
        await backend.get(f"t{number}")
        await asyncio.Event().wait()

    for turns in range(30):
        calls = [asyncio.create_task(get_and_stay(n)) for n in range(40)]
        for _ in range(turns % 20):
            await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        _, pending = await asyncio.wait(calls[::2], timeout=60)
        assert not pending
        for call in calls[1::2]:
            call.cancel()
        await asyncio.wait(calls)
        records = await asyncio.gather(*(backend.get(f"t{n}") for n in range(40)))
        assert [record.result for record in records] == [str(n).encode() for n in range(40)]


async def test_closing_ends_every_call_that_is_under_way(open_backend, redis, namespace):
    """Calls with a connection get their reply, the others an error; no connection stays open."""
    backend = await open_backend()
    calls = [asyncio.create_task(backend.get(f"t{n}")) for n in range(100)]
    await asyncio.sleep(0)
    await backend.close()
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert result is None or isinstance(result, BackendUnavailableError)

    async def connections():
        names = [client["name"] for client in await redis.client_list()]
        return names.count(f"stem-amqp:{namespace}")

    await eventually(lambda: _is(connections, 0), "the end of every connection")


async def test_a_thousand_changes_are_one_round_trip(open_backend, monkeypatch):
    """A batch is one command and one reply."""
    backend = await open_backend()
    await backend.transition([change("first")])  # Redis knows the script afterwards
    commands = []
    call = backend._client.call

    async def counted(*command):
        commands.append(command[0])
        return await call(*command)

    monkeypatch.setattr(backend._client, "call", counted)
    assert all(await backend.transition([change(f"t{n}") for n in range(1000)]))
    assert commands == ["EVALSHA"]


async def test_only_ends_are_published(open_backend, redis, namespace):
    """Nothing is published for other states, since no client waits for them."""
    backend = await open_backend()
    async with redis.pubsub() as heard:
        await heard.psubscribe(f"{namespace}:*")
        states = [s for s in TaskState if not s.final]
        await backend.transition([change(f"t-{state}", state) for state in states])
        await backend.transition([change("t1"), change("t1"), change("t2", TaskState.FAILED)])
        messages = []

        async def arrived():
            message = await heard.get_message(ignore_subscribe_messages=True, timeout=0.1)
            messages.extend([message] if message else [])
            return len(messages) == 2

        await eventually(arrived, "two messages")
        assert [(m["channel"], m["data"]) for m in messages] == [
            (f"{namespace}:ended:t1", "succeeded"),
            (f"{namespace}:ended:t2", "failed"),
        ]


async def test_without_a_waiter_there_is_no_listener(
    open_backend, redis, namespace, stem_redis_url
):
    """Channels are unsubscribed after the last waiter, and subscribed again for new ones."""
    backend = await open_backend()
    tasks = [f"t{n}" for n in range(50)]

    async def channels():
        return len(await redis.pubsub_channels(f"{namespace}:ended:*"))

    async def count_is(number):
        await eventually(lambda: _is(channels, number), f"{number} channels")

    for _ in range(3):
        waiting = [asyncio.create_task(backend.wait(task_id)) for task_id in tasks]
        await count_is(50)
        for one in waiting[10:]:
            one.cancel()
        await asyncio.wait(waiting[10:])
        await count_is(10)
        again = asyncio.create_task(backend.wait("t49"))
        await count_is(11)
        await backend.transition([change(task_id) for task_id in tasks])
        await asyncio.gather(*waiting[:10], again)
        await count_is(0)
        await remove_keys(stem_redis_url, namespace)


async def _is(count, number):
    return await count() == number


async def test_what_is_no_record_counts_as_none(open_backend, redis, namespace, caplog):
    """A value of another program is named in the log, and overwritten."""
    backend = await open_backend()
    for value in ("what is this", '{"state":"queued"}', "{\n\n\n}"):
        await redis.set(f"{namespace}:task:t1", value)
        with caplog.at_level(logging.WARNING, logger="stem_amqp.results"):
            assert await backend.get("t1") is None
        assert "the stored record of task 't1' cannot be read" in caplog.text
        progress = Progress(fraction=0.5)
        await backend.report_progress([ProgressUpdate(task_id="t1", progress=progress)])
        assert await backend.transition([change("t1")]) == [True]
        assert (await backend.get("t1")).state is SUCCEEDED


async def test_what_redis_has_forgotten_is_swept_out_of_the_lists(open_backend, redis, namespace):
    """Ids and slots are removed with their records, and the remaining records stay listed."""
    backend = await open_backend()
    now = time.time()
    old = [change(f"old-{n}", at=now - 100 + n % 30) for n in range(350)]
    await backend.transition([*old, change("kept", at=now - 90), change("new", at=now)])
    await redis.delete(*(f"{namespace}:task:{one.task_id}" for one in old))
    assert await redis.exists(f"{namespace}:tasks:{int(now - 100) // 10}")
    await backend._listing.sweep_if_due()
    await backend._listing.sweep_if_due()  # the sweep was just done
    slots = await redis.zrange(f"{namespace}:tasks", 0, -1)
    left = [one for slot in slots for one in await redis.lrange(f"{namespace}:tasks:{slot}", 0, -1)]
    assert "new" in left
    assert len(slots) == 2
    assert [record.task_id for record in await backend.list_tasks()] == ["new", "kept"]


async def test_records_of_releases_without_lists_are_taken_in_at_the_first_list(
    open_backend, redis, namespace
):
    """Records from before an upgrade are listed, and a later backend does not search again."""
    backend = await open_backend()
    await backend.transition([change(f"t-{n}", at=float(n)) for n in range(25)])
    await redis.delete(*[key async for key in redis.scan_iter(f"{namespace}:tasks*")])
    ids = [record.task_id for record in await backend.list_tasks()]
    assert ids == [f"t-{n}" for n in reversed(range(25))]
    assert [r.task_id for r in await (await open_backend()).list_tasks()] == ids
    assert await redis.llen(f"{namespace}:tasks:0") == 10


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_slots_longer_than_a_step_are_read_whole(open_backend, monkeypatch, oldest_first):
    """The order is that of creation, wherever a run of the script ends within the slots."""
    monkeypatch.setattr(redis_listing, "STEP", 7)
    backend = await open_backend()
    await backend.transition([change(f"t-{n:02}", at=100.0 + n * 7 % 37) for n in range(37)])
    every = await pages(backend, query_of(oldest_first=oldest_first), 5)
    found = [record.created_at for record in itertools.chain(*every)]
    assert found == sorted((100.0 + n for n in range(37)), reverse=not oldest_first)


async def test_the_schema_has_a_version_and_a_newer_one_is_refused(
    open_backend, redis, namespace, stem_redis_url
):
    """An older stem-amqp does not change newer data, and its error has the remedy."""
    await open_backend()
    assert await redis.get(f"{namespace}:schema") == str(len(redis_schema.MIGRATIONS))
    await redis.set(f"{namespace}:schema", 99)
    with pytest.raises(ConfigurationError, match=r"(?s)version 99.*Upgrade stem-amqp"):
        await open_backend()
    await redis.set(f"{namespace}:schema", "somebody's")
    with pytest.raises(ConfigurationError, match="another program"):
        await open_backend()


async def test_migrations_run_in_order_and_once(open_backend, redis, namespace):
    """A namespace of an older version is migrated step by step; a newer one never goes back."""
    backend = await open_backend()
    ran = []

    def step(number):
        async def run(client, name):
            assert (client, name) == (backend._client, namespace)
            ran.append(number)

        return run

    steps = [*redis_schema.MIGRATIONS, step(2), step(3)]
    await redis_schema.migrate(backend._client, namespace, steps)
    await redis_schema.migrate(backend._client, namespace, steps)
    assert ran == [2, 3]
    assert await redis.get(f"{namespace}:schema") == "3"


async def test_an_unknown_host_and_a_closed_port_are_distinguished(open_backend, unused_port):
    """Each error says what to correct, and contains no password."""
    with pytest.raises(BackendUnavailableError, match=r"(?s)host name.*unknown.*Correct the host"):
        await open_backend("redis://:geheim@no-such-host.invalid:6379/0")
    with pytest.raises(
        BackendUnavailableError, match=r"(?s)nothing listens.*Start Redis"
    ) as caught:
        await open_backend(f"redis://:geheim@127.0.0.1:{unused_port}/0")
    assert "geheim" not in str(caught.value)


@pytest.fixture
def unused_port():
    """Return a port of 127.0.0.1 on which nothing listens."""
    return free_port()


@contextlib.asynccontextmanager
async def stranger(answer):
    """Listen on a port like another program, and yield its URL."""

    async def serve(reader, writer):
        await reader.read(100)
        if answer is not None:
            writer.write(answer)
        else:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://:geheim@127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x00\x09\x01", b"\x15\x03\x01\x00\r\n"],
)
async def test_a_port_that_speaks_no_redis_is_a_mistake_in_the_url(open_backend, answer):
    """This holds for a web server, RabbitMQ and a TLS port, for which waiting would not help."""
    with pytest.raises(
        ConfigurationError, match=r"(?s)does not speak the Redis protocol.*6379"
    ) as caught:
        async with stranger(answer) as url:
            await open_backend(url)
    assert "geheim" not in str(caught.value)


async def test_a_port_that_says_nothing_fails_in_bounded_time(open_backend, monkeypatch):
    """A server that does not answer is an error after the time limit."""
    monkeypatch.setattr(redis_client, "CALL_TIMEOUT", 0.2)
    begun = time.monotonic()
    async with stranger(None) as url:
        with pytest.raises(BackendUnavailableError, match="does not answer in time"):
            await open_backend(url)
    assert time.monotonic() - begun < 9


async def test_a_port_without_tls_is_said_to_be_that(open_backend, stem_redis_url, monkeypatch):
    """Redis reads the TLS handshake as an unfinished line, so rediss:// gets no answer."""
    monkeypatch.setattr(redis_client, "CONNECT_TIMEOUT", 1.0)
    there = urlsplit(stem_redis_url)
    with pytest.raises(BackendUnavailableError, match="without TLS"):
        await open_backend(f"rediss://{there.hostname}:{there.port or 6379}")


@pytest.fixture
def encrypted(private_redis_installed, tmp_path, unused_port):
    """Start a Redis with TLS, and yield its URL and its certificate."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = [openssl, "req", "-x509", *kind, *names, "-out", cert, "-keyout", key]
    subprocess.run(command, check=True, capture_output=True)
    files = ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file"]
    tls = ["--tls-port", str(unused_port), *files, str(cert), "--tls-auth-clients", "no"]
    with start_redis(*tls):
        yield f"rediss://localhost:{unused_port}/0", cert


async def test_rediss_is_tls_with_a_verified_certificate(open_backend, encrypted):
    """A server is trusted with its CA; an untrusted one is another error than one that is down."""
    url, cert = encrypted
    backend = await open_backend(f"{url}?ca={cert}")
    waiting = asyncio.create_task(backend.wait("t1", 20))
    await backend.transition([change("t1")])
    assert (await waiting).state is SUCCEEDED
    with pytest.raises(BackendUnavailableError, match=r"(?s)not trusted.*STEM_BACKEND_TLS_CA"):
        await open_backend(url)


async def test_a_database_that_does_not_exist_is_a_mistake_in_the_url(open_backend, stem_redis_url):
    """Redis has 16 databases by default."""
    url = urlsplit(stem_redis_url)._replace(path="/987654").geturl()
    with pytest.raises(ConfigurationError, match="no database of that number"):
        await open_backend(url)


@pytest.fixture
def guarded(private_redis_installed):
    """Yield a Redis with a password and little memory."""
    with start_redis("--requirepass", "geheim", "--maxmemory", "3mb") as server:
        yield server


async def test_passwords_work_and_wrong_ones_are_named_and_not_shown(open_backend, guarded):
    """Refused credentials are a mistake in the URL; the correct ones are accepted."""
    there = f"127.0.0.1:{guarded.port}/0"
    for login in ("", ":falsch@", "nobody:falsch@"):
        with pytest.raises(ConfigurationError, match=r"password") as caught:
            await open_backend(f"redis://{login}{there}")
        assert "falsch" not in str(caught.value)
        assert "STEM_BACKEND_URL=redis://" in str(caught.value)
    backend = await open_backend(f"redis://:geheim@{there}")
    await backend.ping()
    # changed while it runs: the worker has to continue trying
    await backend._client.call("CONFIG", "SET", "requirepass", "anders")
    await backend._client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    async with Redis(port=guarded.port, password="anders") as operator:
        await operator.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(BackendUnavailableError, match="password") as caught:
        await backend.ping()
    assert "geheim" not in str(caught.value)


async def test_a_full_redis_is_an_outage_with_its_remedy(open_backend, guarded):
    """With noeviction a full Redis refuses writes; no loss stays unnoticed."""
    backend = await open_backend(f"redis://:geheim@127.0.0.1:{guarded.port}/0")
    large = b'"' + b"x" * 200_000 + b'"'
    filling = (backend.transition([change(f"t{n}", result=large)]) for n in range(100))
    with pytest.raises(BackendUnavailableError, match=r"(?s)memory is full.*maxmemory"):
        [await one for one in filling]
    await backend._client.call("CONFIG", "SET", "maxmemory", "100mb")
    assert await backend.transition([change("t1", QUEUED, replay=1)]) == [False]
    assert await backend.transition([change("later")]) == [True]


async def test_a_replica_is_named_as_such(open_backend, private_redis, unused_port):
    """The error says that the URL names a replica."""
    backend = await open_backend(private_redis.url)
    await backend._client.call("REPLICAOF", "127.0.0.1", unused_port)
    with pytest.raises(BackendUnavailableError, match=r"(?s)replica.*primary"):
        await backend.transition([change("t1")])


async def test_a_user_without_permissions_reads_which_to_grant(open_backend, private_redis):
    """Redis' own error names neither the backend nor the remedy."""
    async with Redis(port=private_redis.port) as operator:
        await operator.execute_command(
            "ACL", "SETUSER", "stem", "on", ">geheim", "~*", "resetchannels", "+@all"
        )
        backend = await open_backend(f"redis://stem:geheim@127.0.0.1:{private_redis.port}/0")
        with pytest.raises(BackendUnavailableError, match="ACL SETUSER"):
            await backend.wait("t1", 5)
        await operator.execute_command("ACL", "SETUSER", "stem", "-@all", "+ping")
        with pytest.raises(BackendUnavailableError, match="ACL SETUSER"):
            await backend.get("t1")
        with pytest.raises(ConfigurationError, match="ACL SETUSER"):
            await open_backend(f"redis://stem:geheim@127.0.0.1:{private_redis.port}/0")


async def test_the_documented_permissions_suffice(open_backend, private_redis):
    """A user for one namespace without dangerous commands can do all that a backend does."""
    rules = re.search(r"ACL SETUSER stem ([^`]+)`", RESULTS_PAGE.read_text())[1].split()
    async with Redis(port=private_redis.port) as operator:
        await operator.execute_command("ACL", "SETUSER", "stem", *rules)
    url = f"redis://stem:password@127.0.0.1:{private_redis.port}/1"
    backend = await open_backend(url, name="stem")
    waiting = asyncio.create_task(backend.wait("t1", 20))
    await eventually(lambda: backend._watch._listener is not None, "the subscription")
    await backend.transition([change("t1", QUEUED)])
    await backend.report_progress([ProgressUpdate(task_id="t1", progress=Progress(fraction=0.5))])
    await backend.transition([change("t1")])
    assert (await waiting).progress.fraction == 0.5
    await backend.create_group("g1", 1, ttl=10)
    await report_ends(backend, "g1", 0)
    assert await backend.claim_group("g1", "t1")
    assert await backend.purge_expired() == 0
    await backend.ping()
    with pytest.raises(BackendUnavailableError, match="ACL SETUSER"):
        await open_backend(url, name="other")
