"""Test that deleted entities of the topology are declared again."""

import asyncio
import logging
import uuid
from collections import Counter

import pytest
from support import eventually

from stem_amqp import delay as decimal_delay
from stem_amqp.dead_letter.letters import DeadLetters
from stem_amqp.dead_letter.selection import ALL
from stem_amqp.errors import PublishTimeoutError, StemError, UnroutableError
from stem_amqp.provision import restore
from stem_amqp.task_control import Reject
from stem_amqp.topology.entities import Entities, Exchange, Queue
from stem_amqp.transport.publication import Publication
from stem_amqp.worker import settle


@pytest.fixture
def make(make_stem):
    """Return a function that makes applications whose task counts its runs and can fail."""

    def make(**settings):
        stem = make_stem(backend_url=f"memory://{uuid.uuid4().hex}")
        stem.reconfigure(**settings)
        stem.runs = []

        @stem.task("t.work", queue="q", max_retries=3, retry={"base": "300ms", "jitter": 0})
        async def work(failures: int = 0, snoozes: int = 0) -> None:
            stem.runs.append(failures)
            if failures >= len(stem.runs):
                raise RuntimeError("not yet")

        @stem.task("t.reject", queue="q")
        async def reject() -> None:
            raise Reject("no")

        stem.work, stem.reject = work, reject
        return stem

    return make


def named(stem, *names):
    """Return the entities of an application that have one of the names."""
    entities = stem.blueprint.entities
    return Entities(
        exchanges=tuple(one for one in entities.exchanges if one.name in names),
        queues=tuple(one for one in entities.queues if one.name in names),
    )


def first_delay(stem, seconds):
    """Return the exchange and the queue in which a delay begins."""
    units = decimal_delay.exact_units(seconds)
    route = decimal_delay.route(units, "q")
    exchange = stem.names.delay_exchange(route.level)
    queue = next(
        binding.destination
        for binding in stem.blueprint.entities.bindings
        if binding.source == exchange
        and not binding.to_exchange
        and binding.destination == stem.names.delay_queue(route.level, int(str(units)[0]))
    )
    return exchange, queue


async def missing(stem):
    """Return the names of the entities that are not on the broker."""
    found = await stem.connected.transport.missing(stem.blueprint.entities)
    return [one.name for one in found]


@pytest.mark.parametrize("gone", ["queue", "exchange", "binding"])
async def test_a_producer_brings_back_what_a_task_needs(make, gone):
    """An enqueue restores the work queue, the exchange of tasks and the binding between them."""
    stem = make()
    async with stem:
        transport, names = stem.connected.transport, stem.names
        if gone == "binding":
            bindings = [
                one
                for one in stem.blueprint.entities.bindings
                if (one.source, one.destination) == (names.tasks, names.work("q"))
            ]
            await transport.rebind((), bindings)
        else:
            name = names.work("q") if gone == "queue" else names.tasks
            await transport.delete(named(stem, name))
        await stem.work.enqueue()
        assert await missing(stem) == []
        assert (await transport.status([names.work("q")]))[names.work("q")].ready == 1


@pytest.mark.parametrize("part", [0, 1], ids=["exchange", "queue"])
async def test_a_producer_brings_back_a_delay(make, part):
    """An enqueue restores the exchange or the queue of the delay, and the message waits there."""
    stem = make()
    async with stem:
        gone = first_delay(stem, 30)[part]
        await stem.connected.transport.delete(named(stem, gone))
        await stem.work.options(delay="30s").enqueue()
        assert await missing(stem) == []
        queue = first_delay(stem, 30)[1]
        assert (await stem.connected.transport.status([queue]))[queue].ready == 1


@pytest.mark.parametrize("provision", ["none", "verify"])
async def test_nothing_is_declared_where_it_must_not_be(make, provision):
    """The error names the missing entity, and the command that declares it."""
    stem = make()
    async with stem:
        pass
    stem.reconfigure(provision=provision)
    async with stem:
        exchange, queue = first_delay(stem, 3)
        await stem.connected.transport.delete(named(stem, queue))
        with pytest.raises(UnroutableError) as caught:
            await stem.work.options(delay="3s").enqueue()
        assert caught.value.missing == (queue,)
        assert f"queue {queue!r} is not on the broker" in str(caught.value)
        assert "topology apply" in str(caught.value)
        assert await missing(stem) == [queue]
        await stem.connected.transport.delete(named(stem, exchange))
        with pytest.raises(UnroutableError, match=f"exchange {exchange!r}"):
            await stem.work.options(delay="3s").enqueue()
        await stem.connected.transport.rebind(
            (), [one for one in stem.blueprint.entities.bindings if one.source == stem.names.tasks]
        )
        with pytest.raises(UnroutableError, match="is not bound to queue"):
            await stem.work.enqueue()


async def test_a_queue_that_the_topology_does_not_have_is_not_declared(make):
    """Nothing is declared, since the topology does not contain the queue."""
    stem = make()
    async with stem:
        declared = counted(stem)
        for _ in range(20):
            with pytest.raises(UnroutableError, match="there is no queue 'nowhere'"):
                await stem.enqueue("other.task", queue="nowhere")
        assert declared == []


async def test_one_declaration_serves_all_callers_that_miss_the_same_queue(make):
    """Many concurrent publishes cause one declaration."""
    stem = make()
    async with stem:
        declared = counted(stem)
        await stem.connected.transport.delete(named(stem, stem.names.work("q")))
        await asyncio.gather(*(stem.work.enqueue() for _ in range(200)))
        assert len(declared) == 1
        work = stem.names.work("q")
        assert (await stem.connected.transport.status([work]))[work].ready == 200


async def test_what_stays_unroutable_is_declared_once_in_a_while(make, monkeypatch):
    """A declaration that does not help is not repeated for every message."""
    monkeypatch.setattr(restore, "PAUSE", 3600.0)
    stem = make()
    async with stem:
        transport = stem.connected.transport
        attempts = []

        async def fails_again():
            attempts.append(1)

        transport.restorer._redeclare = fails_again
        await transport.delete(named(stem, stem.names.work("q")))
        for _ in range(30):
            with pytest.raises(UnroutableError, match=r"task t\.work was not enqueued"):
                await stem.work.enqueue()
        assert len(attempts) == 1


async def test_a_frozen_declaration_does_not_outlast_the_publish_timeout(make):
    """The publish timeout includes the declaration."""
    stem = make(publish_timeout=0.5)
    async with stem:
        transport = stem.connected.transport
        await transport.delete(named(stem, stem.names.work("q")))
        transport.restorer._redeclare = asyncio.Event().wait
        async with asyncio.timeout(60):
            with pytest.raises((UnroutableError, PublishTimeoutError)):
                await stem.work.enqueue()


async def test_a_refused_declaration_is_reported(make):
    """The error has the reason of the refusal and the name of the missing entity."""
    stem = make()
    async with stem:
        transport = stem.connected.transport

        async def refuse():
            raise StemError("you may not")

        transport.restorer._redeclare = refuse
        await transport.delete(named(stem, stem.names.work("q")))
        for _ in range(2):  # the second enqueue finds that it was tried a moment ago
            with pytest.raises(UnroutableError, match=r"(?s)is not on the broker.*you may not"):
                await stem.work.enqueue()


def counted(stem):
    """Return a list that gets an entry with each declaration of the topology."""
    restorer = stem.connected.transport.restorer
    declare, declared = restorer._redeclare, []

    async def redeclare():
        declared.append(1)
        await declare()

    restorer._redeclare = redeclare
    return declared


async def test_a_retry_brings_back_its_delay_queue(make):
    """A worker's retry finds its delay queue deleted, declares it, and the task runs again."""
    stem = make()
    async with stem, stem.worker(["q"]).running():
        await stem.connected.transport.delete(named(stem, *stem.names.delay_queues()))
        handle = await stem.work.enqueue(failures=1)
        await handle.result(60)
        assert len(stem.runs) == 2


async def test_a_retry_that_no_queue_takes_becomes_a_dead_letter(make, monkeypatch):
    """If nothing may be declared, the publish is retried for a while; then the slot is free."""
    monkeypatch.setattr(settle, "UNROUTABLE_FOR", 0.5)
    stem = make()
    async with stem:
        pass
    stem.reconfigure(provision="none")
    async with stem, stem.worker(["q"], concurrency=1).running():
        await stem.connected.transport.delete(named(stem, *stem.names.delay_queues()))
        first = await stem.work.enqueue(failures=99)
        second = await stem.work.enqueue()
        await second.result(60)
        letters = DeadLetters(stem, "q")
        await eventually(letters.count, "the dead letter")
        (letter,) = await letters.list()
        assert letter.id == first.id
        assert "not yet" in letter.error
        assert "is not on the broker" in letter.error

        async def failed():
            return (await first.status()).state == "failed"

        await eventually(failed)


async def test_a_replay_brings_back_the_queue_of_its_tasks(make):
    """The replay declares the work queue again."""
    stem = make()
    async with stem:
        async with stem.worker(["q"]).running():
            await stem.reject.enqueue()
            letters = DeadLetters(stem, "q")
            await eventually(letters.count, "the dead letter")
        work = stem.names.work("q")
        await stem.connected.transport.delete(named(stem, work))
        report = await letters.replay(ALL)
        assert (report.replayed, report.failed) == (1, 0)
        assert (await stem.connected.transport.status([work]))[work].ready == 1


async def test_a_worker_brings_back_everything_that_is_deleted(make, caplog):
    """Exchanges and queues are restored, one at a time and all at once."""
    stem = make(provision_interval=0.1)
    async with stem, stem.worker(["q"]).running():
        transport, entities = stem.connected.transport, stem.blueprint.entities
        levels = {stem.names.delay_exchange(level) for level in range(1, decimal_delay.LEVELS)}
        exchanges = [one.name for one in entities.exchanges if one.name not in levels]
        queues = [stem.names.dlq("q"), stem.names.work("q"), first_delay(stem, 0.5)[1]]
        for name in (*exchanges, *queues):
            await transport.delete(named(stem, name))
            await eventually(lambda: _complete(stem), f"{name} back")
        with caplog.at_level(logging.WARNING, "stem_amqp.provision"):
            await transport.delete(entities)
            await eventually(lambda: _complete(stem), "everything back")
            checks = counted_checks(stem)
            # the bindings follow the queues, and the check in progress may be one of before
            await eventually(lambda: len(checks) >= 2, "the bindings back")
        assert "declaring the topology again" in caplog.text
        # the bindings too: a delay of two hops, and a dead letter
        await (await stem.work.options(delay="1.1s").enqueue()).result(60)
        await stem.reject.enqueue()
        await eventually(DeadLetters(stem, "q").count, "the dead letter")


def counted_checks(stem):
    """Return a list that gets an entry with each completed check of a worker."""
    restorer = stem.connected.transport.restorer
    check, checks = restorer.check, []

    async def counting():
        await check()
        checks.append(1)

    restorer.check = counting
    return checks


async def _complete(stem):
    return not await missing(stem)


async def test_tasks_flow_while_exchanges_are_deleted(make):
    """Tasks that are enqueued, delayed and retried meanwhile run, and none raises an error."""
    stem = make(provision_interval=0.2)
    runs = Counter()

    @stem.task("t.flow", queue="q", max_retries=5, retry={"base": "100ms", "jitter": 0})
    async def flow(number: int) -> int:
        runs[number] += 1
        if runs[number] <= number % 3:
            raise RuntimeError("not yet")
        return number

    async with stem, stem.worker(["q"]).running():
        transport, names = stem.connected.transport, stem.names
        # not those after a started delay: RabbitMQ repeats unconfirmed dead letters after 180 s
        gone = [names.tasks, names.dead, names.control, names.events, names.unroutable]
        handles = []
        for number in range(120):
            if number % 10 == 0:
                await transport.delete(named(stem, gone[number // 10 % len(gone)]))
            if number % 40 == 20:
                await transport.rebind(
                    (),
                    [one for one in stem.blueprint.entities.bindings if one.source == names.tasks],
                )
            delay = {"delay": "300ms"} if number % 4 == 0 else {}
            handles.append(await flow.options(**delay).enqueue(number))
        assert [await handle.result(60) for handle in handles] == list(range(120))


async def test_a_worker_hears_commands_again_after_their_exchange_was_deleted(make):
    """The worker's queue for commands is bound to the new exchange."""
    stem = make(provision_interval=0.1)
    async with stem, stem.worker(["q"]).running():
        await stem.connected.transport.delete(named(stem, stem.names.control))

        async def heard():
            return (await stem.revoke("some-task")).heard

        await eventually(heard, "a worker that hears")


async def test_a_command_without_a_listener_says_why(make, caplog):
    """A revocation is stored all the same; the log names a deleted exchange."""
    stem = make()
    async with stem:
        assert not (await stem.revoke("some-task")).heard
    assert "learn of it" not in caplog.text
    stem.reconfigure(provision="none", provision_interval=60)
    async with stem, stem.worker(["q"]).running():
        assert (await stem.revoke("some-task")).heard
        await stem.connected.transport.delete(named(stem, stem.names.control))
        assert not (await stem.revoke("some-task")).heard
    assert "learn of it within a minute" in caplog.text


async def test_a_worker_brings_back_a_binding_that_no_message_misses(make):
    """Without their bindings, a dead letter is parked, and a delay does not end in its queue."""
    stem = make(provision_interval=0.1)
    async with stem, stem.worker(["q"]).running():
        transport, names = stem.connected.transport, stem.names
        unbound = [
            one
            for one in stem.blueprint.entities.bindings
            if one.source in {names.dead, names.deliver} and not one.to_exchange
        ]
        await transport.rebind((), unbound)
        checks = counted_checks(stem)
        # the first check may have begun before
        await eventually(lambda: len(checks) >= 2, "two checks")
        await stem.reject.enqueue()
        await eventually(DeadLetters(stem, "q").count, "a dead letter")
        await (await stem.work.options(delay="200ms").enqueue()).result(60)


async def test_a_worker_that_may_not_declare_says_once_what_is_missing(make, caplog):
    """It logs it again only when other entities are missing."""
    stem = make(provision_interval=0.05)
    async with stem:
        pass
    stem.reconfigure(provision="verify")
    async with stem:
        checks = counted_checks(stem)
        async with stem.worker(["q"]).running():
            await stem.connected.transport.delete(named(stem, stem.names.dlq("q")))
            done = len(checks)
            await eventually(lambda: len(checks) > done + 3, "a few checks")
    told = [one for one in caplog.messages if stem.names.dlq("q") in one]
    assert len(told) == 1
    assert "topology apply" in told[0]


async def test_a_reply_without_a_waiter_declares_nothing(make):
    """The default exchange is not part of the topology."""
    stem = make()
    async with stem:
        declared = counted(stem)
        with pytest.raises(UnroutableError):
            await stem.connected.transport.publish(
                Publication(exchange="", routing_key="gone", body=b"x")
            )
        assert declared == []
        await stem.connected.transport.declare(
            Entities(exchanges=(Exchange(name=f"{stem.names.tasks}.x", type="topic"),))
        )
        with pytest.raises(UnroutableError):
            await stem.connected.transport.publish(
                Publication(exchange=f"{stem.names.tasks}.x", routing_key="gone", body=b"x")
            )
        assert declared == []
        await stem.connected.transport.delete(
            Entities(
                exchanges=(Exchange(name=f"{stem.names.tasks}.x", type="topic"),),
                queues=(Queue(name="none"),),
            )
        )
