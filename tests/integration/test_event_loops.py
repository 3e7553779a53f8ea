"""Test that a `Stem` lives in one event loop at a time: a closed loop is replaced."""

import asyncio
import gc
import multiprocessing
import threading
import uuid

import pytest
from support import eventually

from stem_amqp import Stem
from stem_amqp.control import revoke
from stem_amqp.dead_letter.letters import DeadLetters
from stem_amqp.errors import ResultUnavailableError, StemError
from stem_amqp.health.examination import check_health

# asyncio and the stores' clients complain about what these tests leave open on purpose
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

BACKENDS = ["memory", "rpc", "sqlite", "redis", "postgres"]


@pytest.fixture(autouse=True)
def _collected():
    """Collect the complaints of a test before it ends."""
    yield
    gc.collect()


@pytest.fixture(params=BACKENDS)
def backend_url(request, tmp_path):
    """Return the URL of each kind of result backend."""
    match request.param:
        case "memory":
            return f"memory://{uuid.uuid4().hex}"
        case "rpc":
            return "rpc://"
        case "sqlite":
            return f"sqlite:///{tmp_path / 'results.db'}"
    return request.getfixturevalue(f"stem_{request.param}_url")


@pytest.fixture
def make(broker_url):
    """Yield a function that makes applications outside of a loop, and delete their entities."""
    made = []

    def make(backend_url=None):
        stem = Stem(
            broker_url=broker_url,
            namespace=f"t-{uuid.uuid4().hex[:8]}",
            backend_url=backend_url or f"memory://{uuid.uuid4().hex}",
        )

        @stem.task("t.add", queue="q")
        async def add(a: int, b: int) -> int:
            return a + b

        stem.add = add
        made.append(stem)
        return stem

    yield make

    async def remove(stem):
        stem.reconfigure(provision="none", backend_url="memory://")
        async with stem:
            await stem.connected.transport.delete(stem.blueprint.entities)

    if not broker_url.startswith("memory:"):
        for stem in made:
            asyncio.run(remove(stem))


class OtherLoop:
    """An event loop in another thread, in which an application is connected during a block."""

    def __init__(self, stem):
        self._stem = stem
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="the other one")

    def __enter__(self):
        self._thread.start()
        self.run(self._stem.connect())
        return self

    def __exit__(self, *_):
        self.run(self._stem.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, coroutine):
        """Run a coroutine in the loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)


async def added(stem, a):
    """Enqueue a task, run it in a worker, and return its result."""
    async with stem, stem.worker(["q"]).running():
        return await (await stem.add.enqueue(a, 1)).result(60)


def test_one_run_after_another(make, backend_url):
    """Each `asyncio.run` opens new connections, with a worker and results."""
    stem = make(backend_url)
    assert [asyncio.run(added(stem, number)) for number in range(3)] == [1, 2, 3]


def test_one_run_after_another_without_closing(make, backend_url):
    """Connections of a closed loop are dropped, and the broker learns that they ended."""
    stem = make(backend_url)

    async def enqueue(a):
        await stem.connect()
        return await stem.add.enqueue(a, 1)

    handles = [asyncio.run(enqueue(number)) for number in range(3)]
    assert len({handle.id for handle in handles}) == 3

    async def all_done():
        async with stem, stem.worker(["q"]).running():
            assert await (await stem.add.enqueue(5, 1)).result(60) == 6
            if stem.connected.backend.needs_reply:
                # the reply went to a deleted queue, so no wait can succeed
                with pytest.raises(ResultUnavailableError, match="redis://"):
                    await handles[0].result()
                return
            # a handle uses the connections of the running loop
            assert [await handle.result(60) for handle in handles] == [1, 2, 3]

    asyncio.run(all_done())


def test_without_reconnecting_a_closed_loop_is_an_error(make):
    """Using connections of a closed loop is an error with the reason, and does not hang."""
    stem = make()
    handle = None

    async def first():
        nonlocal handle
        await stem.connect()
        handle = await stem.add.enqueue(1, 1)

    asyncio.run(first())
    for use in (stem.add.enqueue(1, 1), handle.result(1), handle.status(), stem.results.count()):
        with pytest.raises(StemError, match=r"event loop that is closed.*async with stem"):
            asyncio.run(use)
    with pytest.raises(StemError, match="not connected"):
        stem.run(asyncio.sleep(0))


USES = {
    "connect": lambda stem, _: stem.connect(),
    "async with": lambda stem, _: added(stem, 1),
    "close": lambda stem, _: stem.close(),
    "enqueue": lambda stem, _: stem.add.enqueue(1, 1),
    "enqueue by name": lambda stem, _: stem.enqueue("t.add", {"a": 1, "b": 1}),
    "enqueue many": lambda stem, _: stem.enqueue_many([stem.add.prepare(1, 1)]),
    "result": lambda _, handle: handle.result(60),
    "status": lambda _, handle: handle.status(),
    "progress": lambda _, handle: handle.progress(),
    "record": lambda stem, handle: stem.record(handle.id),
    "results": lambda stem, _: stem.results.count(),
    "revoke": lambda stem, handle: revoke(stem, handle.id),
    "dead letters": lambda stem, _: DeadLetters(stem, "q").count(),
}


@pytest.mark.parametrize("use", USES)
def test_a_running_loop_is_reported_to_every_other(make, use):
    """Every use in another loop is an error with the remedy, at once."""
    stem = make()
    with OtherLoop(stem) as other:
        handle = other.run(stem.add.enqueue(1, 1))

        async def here():
            async with asyncio.timeout(60):
                with pytest.raises(StemError, match="another event loop") as caught:
                    await USES[use](stem, handle)
            assert "'the other one'" in str(caught.value)
            assert "stem.blocking()" in str(caught.value)

        asyncio.run(here())
        # and the first loop is not affected
        assert other.run(added(stem, 2)) == 3


@pytest.mark.parametrize("use", ["publish", "status", "consume", "browse", "subscribe"])
def test_a_transport_is_notified_too(make, use):
    """This also holds for code that got the transport in the first loop."""
    from stem_amqp.transport.publication import Publication

    stem = make()
    with OtherLoop(stem):
        transport = stem.connected.transport

        async def browse():
            async with transport.browse(stem.names.work("q")):
                pass

        async def subscribe():
            async with transport.subscribe("name", print):
                pass

        message = Publication(exchange=stem.names.tasks, routing_key="q", body=b"{}")
        uses = {
            "publish": lambda: transport.publish(message),
            "status": lambda: transport.status(["q"]),
            "consume": lambda: transport.consume("q", print, prefetch=1, tag="t"),
            "browse": browse,
            "subscribe": subscribe,
        }

        async def here():
            async with asyncio.timeout(60):
                with pytest.raises(StemError, match="another event loop"):
                    await uses[use]()

        asyncio.run(here())


def test_a_worker_runs_in_the_loop_of_its_application(make):
    """A worker that is made in one loop does not start in another."""
    stem = make()
    with OtherLoop(stem):
        worker = stem.worker(["q"])

        async def here():
            async with asyncio.timeout(60):
                with pytest.raises(StemError, match="another event loop"):
                    await worker.run()

        asyncio.run(here())


def test_two_threads_with_a_loop_each(make):
    """One loop works; the other gets an error, or works afterwards; neither hangs."""
    stem = make()
    start, told, done = threading.Barrier(2), [], []

    def work(number):
        start.wait()
        try:
            done.append(asyncio.run(added(stem, number)))
        except StemError as error:
            told.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) + len(told) == 2
    assert len(done) >= 1
    assert all("another event loop" in one for one in told)


def test_a_failed_connect_leaves_the_way_to_another_loop(make):
    """An application that failed to connect belongs to no loop, even while that loop exists."""
    stem = make()
    good = stem.settings
    loop = asyncio.new_event_loop()
    try:
        stem.reconfigure(backend_url="sqlite:////nowhere/at/all.db")
        with pytest.raises(StemError):
            loop.run_until_complete(stem.connect())
        stem.reconfigure(backend_url=good.backend_url)
        if not good.in_memory:
            assert asyncio.run(added(stem, 1)) == 2
    finally:
        loop.close()


def test_closing_what_a_closed_loop_left_is_no_error(make):
    """A late `close` drops the connections."""
    stem = make()
    asyncio.run(connect_only(stem))
    asyncio.run(stem.close())
    assert asyncio.run(added(stem, 1)) == 2


async def test_a_handle_of_connections_that_are_closed(make_stem):
    """In the same loop too, a handle does not wait for a reply that cannot arrive."""
    stem = make_stem(backend_url="rpc://")

    @stem.task("t.add", queue="q")
    async def add() -> None: ...

    async with stem:
        handle = await add.enqueue()
    with pytest.raises(StemError, match="not connected"):
        await handle.result()
    async with stem:
        with pytest.raises(ResultUnavailableError, match="rpc://"):
            await handle.result()


async def connect_only(stem):
    await stem.connect()


def test_the_broker_learns_that_an_abandoned_connection_ended(make):
    """A reply queue or exclusive consumer of a closed loop needs no heartbeat timeout to end."""
    stem = make("rpc://")
    if stem.settings.in_memory:
        pytest.skip("there is no connection outside of this process")
    left = {}

    async def first():
        await stem.connect()
        await stem.add.enqueue(1, 1)
        left["reply"] = await stem.connected.backend.reply_address()

    async def second():
        async with stem:

            async def gone():
                status = await stem.connected.transport.status([left["reply"]])
                return status[left["reply"]] is None

            await eventually(gone, "the end of the old reply queue")

    asyncio.run(first())
    asyncio.run(second())


def test_health_can_be_asked_from_any_loop(make):
    """The health check has its own connection."""
    stem = make()
    with OtherLoop(stem) as other:
        if stem.settings.in_memory:
            assert other.run(check_health(stem)).healthy
        else:
            assert asyncio.run(check_health(stem)).healthy


def test_a_forked_child_reconnects(make):
    """The child does not use the parent's loop, of which it has a copy."""
    stem = make()
    if stem.settings.in_memory:
        pytest.skip("a broker in memory is another one in each process")
    context = multiprocessing.get_context("fork")

    def child(pipe):
        try:
            handle = asyncio.run(enqueue_only(stem))
            pipe.send(handle.id)
        except BaseException as error:
            pipe.send(repr(error))
            raise

    async def parent():
        async with stem:
            ours, theirs = context.Pipe()
            process = context.Process(target=child, args=(theirs,))
            process.start()
            answer = await asyncio.to_thread(ours.recv)
            await asyncio.to_thread(process.join, 20)
            work = stem.names.work("q")
            # the parent's connection still works
            await stem.add.enqueue(2, 1)
            return answer, (await stem.connected.transport.status([work]))[work].ready

    answer, ready = asyncio.run(parent())
    assert len(answer) == 36, answer
    assert ready == 2


async def enqueue_only(stem):
    async with stem:
        return await stem.add.enqueue(1, 1)


def test_synchronous_code_beside_a_connected_loop_works_in_that_one(make):
    """`with stem:` in another thread shares the connections, and leaves them open."""
    stem = make()
    with OtherLoop(stem) as other:
        with stem:
            handle = stem.run(stem.add.enqueue(1, 1))
            assert stem.run(handle.status()).state == "queued"
        assert other.run(added(stem, 2)) == 3


def test_blocking_producers_need_no_loop(make):
    """The remedy that the error names works beside a connected loop."""
    stem = make()
    with OtherLoop(stem), stem.blocking() as producer:
        assert producer.enqueue("t.add", {"a": 1, "b": 2}).id


async def test_each_test_has_a_loop_of_its_own(shared):
    """A Stem of a module connects in each test's own event loop."""
    assert await added(shared, 1) == 2


async def test_and_the_next_one_another(shared):
    """The previous test has left it connected."""
    await shared.connect()
    assert await added(shared, 2) == 3


async def test_and_one_more(shared):
    """A Stem that was left connected connects again."""
    assert await added(shared, 3) == 4


@pytest.fixture(scope="module")
def shared():
    """Return an application that a module's tests share."""
    stem = Stem(broker_url=f"memory://{uuid.uuid4().hex}", backend_url="memory://shared")

    @stem.task("t.add", queue="q")
    async def add(a: int, b: int) -> int:
        return a + b

    stem.add = add
    return stem
