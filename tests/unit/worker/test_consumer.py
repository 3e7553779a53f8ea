"""Tests of the consumer of one queue: deliveries, concurrency, stopping and pausing."""

import asyncio

import pytest
from worker_fakes import QUEUE, FakeDelivery, FakeTransport, body, make_blueprint, read_job

from stem_amqp.clock import SystemClock
from stem_amqp.errors import BrokerRefusedError
from stem_amqp.observability import Telemetry
from stem_amqp.outcome import Returned, Revoked, Succeeded
from stem_amqp.signals import Signals
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.intake.causes import Cause
from stem_amqp.worker.report.announce import Announcer

DONE = Succeeded(result=b"1", duration=0.1)
NAMES = {1: "stem.orders", 2: "stem.orders.v2"}


class FakeExecutor:
    """An executor whose jobs end when the test sets `go`."""

    def __init__(self):
        self.running = []
        self.most = 0
        self.ends = []
        self.go = asyncio.Event()
        self.error = None

    async def execute(self, job):
        """Run until the test sets `go`, or until cancelled."""
        job.message = read_job().message
        job.started = True
        self.running.append(job)
        self.most = max(self.most, len(self.running))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            return self.interrupted(job)
        finally:
            self.running.remove(job)
        if self.error is not None:
            raise self.error
        return DONE

    def interrupted(self, job):
        """Return the outcome of a cancelled job."""
        asyncio.current_task().uncancel()
        return job.interruption or Returned()

    async def ended(self, job, *, settled):
        """Record an end."""
        self.ends.append((job, settled))


class FakeSettler:
    """A settler that records outcomes."""

    def __init__(self):
        self.outcomes = []
        self.abandoned = []
        self.settled = True
        self.error = None

    async def settle(self, delivery, job, outcome):
        """Record an outcome."""
        if self.error is not None:
            raise self.error
        self.outcomes.append(outcome)
        return self.settled

    async def abandon(self, delivery, job, error):
        """Record a failure."""
        self.abandoned.append(error)
        return True


class Suspects:
    """A quarantine whose answer the test sets."""

    def __init__(self):
        self.answer = False
        self.asked = 0
        self.error = None

    def suspects(self, delivery):
        """Return the answer."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.answer


class Consuming:
    """A consumer with fakes around it."""

    def __init__(self, *, concurrency=2, prefetch=2, queues=("stem.orders",), text=""):
        self.transport = FakeTransport(queues=queues)
        self.executor = FakeExecutor()
        self.settler = FakeSettler()
        self.quarantine = Suspects()
        self.signals = Signals()
        self.consumer = QueueConsumer(
            QUEUE,
            make_blueprint(text),
            self.transport,
            executor=self.executor,
            settler=self.settler,
            announcer=Announcer(self.signals, Telemetry(), SystemClock(), "w"),
            quarantine=self.quarantine,
            concurrency=concurrency,
            prefetch=prefetch,
            tag="w:orders",
        )

    async def deliver(self, number=1, **properties):
        """Deliver a number of messages, and let their jobs start."""
        for _ in range(number):
            self.transport.consumers[0].on_delivery(FakeDelivery(content=body(), **properties))
        await turns()

    async def finish(self):
        """End all jobs, and wait until they are settled."""
        self.executor.go.set()
        await self.consumer.drained()


async def turns():
    """Run the event loop for a few iterations."""
    for _ in range(10):
        await asyncio.sleep(0)


# Deliveries


async def test_a_delivery_is_executed_and_its_outcome_settled():
    """The delivery is counted as done after it is settled."""
    consuming = Consuming()
    await consuming.consumer.start()
    await consuming.deliver()
    assert (consuming.consumer.running, consuming.consumer.done) == (1, 0)
    await consuming.finish()
    assert consuming.settler.outcomes == [DONE]
    assert (consuming.consumer.running, consuming.consumer.done) == (0, 1)
    assert consuming.consumer.jobs == ()


async def test_a_job_has_what_the_delivery_says():
    """The job has the queue and the properties, and knows that its queue has native retries."""
    consuming = Consuming(text="queues: {orders: {native_retry: {min: 3s}}}")
    await consuming.consumer.start()
    await consuming.deliver(
        headers={"a": 1}, reply_to="r", type="work", correlation_id="c", message_id="m"
    )
    (job,) = consuming.consumer.jobs
    assert (job.queue, job.headers, job.reply_to, job.native) == (QUEUE, {"a": 1}, "r", True)
    assert (job.type, job.correlation_id, job.message_id) == ("work", "c", "m")
    await consuming.finish()


async def test_what_is_not_settled_is_not_counted():
    """A delivery that could not be settled is delivered again, and does not count as done."""
    consuming = Consuming()
    consuming.settler.settled = False
    await consuming.consumer.start()
    await consuming.deliver()
    await consuming.finish()
    assert consuming.consumer.done == 0


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize(("field", "told"), [("nonce", True), ("claim", True), (None, False)])
async def test_the_end_of_a_job_that_holds_a_claim_or_a_nonce_is_reported(field, told, settled):
    """`Executor.ended` is called after the job is settled, and not for other jobs."""
    consuming = Consuming()
    consuming.settler.settled = settled
    await consuming.consumer.start()
    await consuming.deliver()
    (job,) = consuming.consumer.jobs
    if field is not None:
        setattr(job, field, "x")
    await consuming.finish()
    assert consuming.executor.ends == ([(job, settled)] if told else [])


@pytest.mark.parametrize(("redelivered", "suspect"), [(False, False), (True, True)])
async def test_only_a_redelivery_may_be_a_suspect(redelivered, suspect):
    """The quarantine is not asked about a first delivery."""
    consuming = Consuming()
    consuming.quarantine.answer = True
    await consuming.consumer.start()
    await consuming.deliver(redelivered=redelivered)
    (job,) = consuming.consumer.jobs
    assert job.suspect is suspect
    assert consuming.quarantine.asked == int(redelivered)
    await consuming.finish()


# Prefetch and concurrency


async def test_the_broker_delivers_up_to_the_prefetch():
    """The consumer has the prefetch, and a tag with the names of worker and queue."""
    consuming = Consuming(concurrency=2, prefetch=7)
    await consuming.consumer.start()
    (consumer,) = consuming.transport.consumers
    assert (consumer.queue, consumer.prefetch) == ("stem.orders", 7)
    assert consuming.transport.tags == ["w:orders"]


async def test_what_exceeds_the_concurrency_waits_for_a_slot():
    """At most `concurrency` jobs run at once, and all of them run in the end."""
    consuming = Consuming(concurrency=2, prefetch=5)
    await consuming.consumer.start()
    await consuming.deliver(5)
    assert len(consuming.executor.running) == 2
    await consuming.finish()
    assert consuming.executor.most == 2
    assert len(consuming.settler.outcomes) == 5


async def test_a_slot_is_free_while_an_outcome_is_being_settled():
    """A second job runs while the first one is being settled."""
    consuming = Consuming(concurrency=1, prefetch=2)
    let, settle = asyncio.Event(), consuming.settler.settle

    async def slow(delivery, job, outcome):
        await let.wait()
        return await settle(delivery, job, outcome)

    consuming.settler.settle = slow
    await consuming.consumer.start()
    consuming.executor.go.set()
    await consuming.deliver(2)
    assert [job.outcome for job in consuming.consumer.jobs] == [DONE, DONE]
    let.set()
    await consuming.consumer.drained()


async def test_two_versions_of_a_queue_share_the_concurrency():
    """Each version has the full prefetch, but only `concurrency` jobs run at once."""
    consuming = Consuming(concurrency=2, prefetch=2, queues=NAMES.values())
    await consuming.consumer.start()
    assert [one.queue for one in consuming.transport.consumers] == list(NAMES.values())
    assert len(set(consuming.transport.tags)) == 2
    for consumer in consuming.transport.consumers:
        for _ in range(2):
            consumer.on_delivery(FakeDelivery(content=body()))
    await turns()
    assert len(consuming.executor.running) == 2
    await consuming.finish()
    assert len(consuming.settler.outcomes) == 4


async def test_the_version_of_the_topology_is_consumed_if_none_exists():
    """If no version exists, the version of the topology is consumed."""
    consuming = Consuming(queues=())
    await consuming.consumer.start()
    assert [one.queue for one in consuming.transport.consumers] == ["stem.orders"]


async def test_when_a_version_is_deleted_the_other_is_consumed():
    """The deliveries of the deleted version are still settled."""
    consuming = Consuming()
    await consuming.consumer.start()
    await consuming.deliver()
    consuming.transport.queues = {"stem.orders.v2"}
    assert await consuming.transport.consumers[0].on_missing()
    assert [one.queue for one in consuming.transport.consumers] == list(NAMES.values())
    await consuming.finish()
    assert consuming.settler.outcomes == [DONE]
    await consuming.consumer.close()
    assert all(one.closed for one in consuming.transport.consumers)


@pytest.mark.parametrize("stopping", [True, False])
async def test_a_consumer_waits_for_its_queue_if_there_is_no_other_version(stopping):
    """`on_missing` returns False without another version, and while the consumer stops."""
    consuming = Consuming()
    await consuming.consumer.start()
    consuming.transport.queues = {"stem.orders.v2"} if stopping else set()
    if stopping:
        await consuming.consumer.stop()
    assert not await consuming.transport.consumers[0].on_missing()
    assert len(consuming.transport.consumers) == 1


# Stopping, pausing and revoking


async def test_stopping_requeues_unstarted_tasks_and_lets_the_rest_run():
    """A stopped consumer requeues jobs that have not started and later deliveries at once."""
    consuming = Consuming(concurrency=1, prefetch=2)
    await consuming.consumer.start()
    await consuming.deliver(2)
    await consuming.consumer.stop()
    await turns()
    assert not consuming.consumer.intake.consuming
    assert consuming.settler.outcomes == [Returned()]
    await consuming.deliver()
    assert consuming.settler.outcomes == [Returned(), Returned()]
    await consuming.finish()
    assert consuming.settler.outcomes == [Returned(), Returned(), DONE]


async def test_giving_back_cancels_what_runs():
    """The messages of cancelled jobs are requeued."""
    consuming = Consuming()
    await consuming.consumer.start()
    await consuming.deliver(2)
    consuming.consumer.requeue_all()
    await consuming.consumer.drained()
    assert consuming.settler.outcomes == [Returned(), Returned()]


async def test_a_job_that_is_being_settled_is_not_interrupted():
    """The job's outcome stays the same, since its task has ended."""
    consuming = Consuming()
    let = asyncio.Event()

    async def slow(delivery, job, outcome):
        await let.wait()
        consuming.settler.outcomes.append(outcome)
        return True

    consuming.settler.settle = slow
    consuming.executor.go.set()
    await consuming.consumer.start()
    await consuming.deliver()
    assert consuming.consumer.running == 0
    consuming.consumer.requeue_all()
    consuming.consumer.revoke("t1", "late")
    let.set()
    await consuming.consumer.drained()
    assert consuming.settler.outcomes == [DONE]


async def test_revoking_cancels_the_run_of_that_task_alone():
    """The outcome has the reason of the revocation; other tasks continue."""
    consuming = Consuming()
    await consuming.consumer.start()
    await consuming.deliver()
    consuming.consumer.revoke("another", "x")
    await turns()
    assert consuming.settler.outcomes == []
    consuming.consumer.revoke("t1", "ordered twice")
    await consuming.consumer.drained()
    assert consuming.settler.outcomes == [Revoked(reason="ordered twice")]


async def test_a_pause_takes_nothing_until_it_is_resumed():
    """During a pause, running jobs continue, and jobs that have not started are requeued."""
    consuming = Consuming(concurrency=1, prefetch=2)
    await consuming.consumer.start()
    await consuming.deliver(2)
    await consuming.consumer.pause(Cause.THREADS)
    await turns()
    assert not consuming.consumer.intake.consuming
    assert consuming.settler.outcomes == [Returned()]
    await consuming.finish()
    await consuming.consumer.resume(Cause.THREADS)
    assert consuming.consumer.intake.consuming
    assert [one.closed for one in consuming.transport.consumers] == [True, False]


async def test_a_stopped_consumer_does_not_resume():
    """`resume` after `stop` starts no consumer."""
    consuming = Consuming()
    await consuming.consumer.start()
    await consuming.consumer.pause(Cause.THREADS)
    await consuming.consumer.stop()
    await consuming.consumer.resume(Cause.THREADS)
    assert len(consuming.transport.consumers) == 1


async def test_closing_cancels_what_does_not_end(caplog):
    """Closing logs and cancels the jobs that still run, and closes the consumer."""
    consuming = Consuming()
    await consuming.consumer.start()
    await consuming.deliver()
    await consuming.consumer.close()
    await consuming.consumer.drained()
    assert consuming.transport.consumers[0].closed
    assert "did not end in time" in caplog.text


# Failures of the worker itself


@pytest.mark.parametrize("where", ["job", "executor", "settler"])
async def test_a_failure_of_the_worker_rejects_the_message(where, caplog):
    """The message is rejected, so that it does not hold its slot."""
    consuming = Consuming(concurrency=1, prefetch=2)
    error = LookupError("bug")
    faulty = {
        "job": consuming.quarantine,
        "executor": consuming.executor,
        "settler": consuming.settler,
    }
    faulty[where].error = error
    await consuming.consumer.start()
    await consuming.deliver(2, redelivered=True)
    await consuming.finish()
    assert consuming.settler.abandoned == [error, error]
    assert consuming.consumer.failures == 2
    assert consuming.consumer.done == 0
    assert "please report it" in caplog.text


async def test_a_rejection_that_fails_too_is_counted(caplog):
    """The failed rejection is logged, and counted as another failure."""
    consuming = Consuming()
    consuming.executor.error = LookupError("bug")

    async def abandon(delivery, job, error):
        raise OSError("no socket")

    consuming.settler.abandon = abandon
    await consuming.consumer.start()
    await consuming.deliver()
    await consuming.finish()
    await turns()
    assert consuming.consumer.failures == 2
    assert "no socket" in caplog.text


# Several causes of a pause


async def test_a_queue_is_paused_until_every_cause_is_resumed():
    """A second cause neither stops again nor is undone by the end of the first."""
    consuming = Consuming()
    await consuming.consumer.start()
    await consuming.consumer.pause(Cause.THREADS)
    await consuming.consumer.pause(Cause.DIRECTIVE)
    await consuming.consumer.resume(Cause.THREADS)
    assert not consuming.consumer.intake.consuming
    await consuming.consumer.resume(Cause.DIRECTIVE)
    assert consuming.consumer.intake.consuming
    assert [one.stopped for one in consuming.transport.consumers] == [True, False]


async def test_only_an_intended_pause_is_reported_as_paused():
    """A worker without threads does not consume either, but that is a fault."""
    consuming = Consuming()
    consumer = consuming.consumer
    await consumer.start()
    assert not consumer.intake.paused
    await consumer.pause(Cause.DIRECTIVE)
    assert consumer.intake.paused
    await consumer.pause(Cause.THREADS)
    assert not consumer.intake.paused
    await consumer.resume(Cause.THREADS)
    assert consumer.intake.paused


async def test_a_queue_that_is_paused_before_the_start_is_not_consumed():
    """`start` leaves it to `resume`."""
    consuming = Consuming()
    await consuming.consumer.pause(Cause.DIRECTIVE)
    await consuming.consumer.start()
    assert consuming.transport.consumers == []
    await consuming.consumer.resume(Cause.DIRECTIVE)
    assert consuming.consumer.intake.consuming


async def test_a_job_that_waited_for_its_slot_does_not_start_after_a_pause():
    """Its message is requeued once the broker has ended the consumer, which would receive it again before."""
    consuming = Consuming(concurrency=1, prefetch=2)
    await consuming.consumer.start()
    await consuming.deliver(2)
    stopped, (source,) = asyncio.Event(), consuming.transport.consumers

    async def slow():
        await stopped.wait()

    source.stop = slow
    pausing = asyncio.create_task(consuming.consumer.pause(Cause.DIRECTIVE))
    await turns()
    consuming.executor.go.set()
    await turns()
    assert consuming.settler.outcomes == [DONE]
    stopped.set()
    await pausing
    await consuming.consumer.drained()
    assert consuming.settler.outcomes == [DONE, Returned()]


async def test_a_queue_that_cannot_be_consumed_stays_paused():
    """The versions that could be consumed are left again, so that nothing is delivered in vain."""
    consuming = Consuming(queues=NAMES.values())
    await consuming.consumer.start()
    await consuming.consumer.pause(Cause.DIRECTIVE)
    consume, calls = consuming.transport.consume, []

    async def refuse(queue, *args, **options):
        calls.append(queue)
        if len(calls) == 2:
            raise BrokerRefusedError("no permission")
        return await consume(queue, *args, **options)

    consuming.transport.consume = refuse
    with pytest.raises(BrokerRefusedError):
        await consuming.consumer.resume(Cause.DIRECTIVE)
    assert consuming.consumer.intake.paused
    assert all(one.stopped for one in consuming.transport.consumers)
    await consuming.consumer.resume(Cause.DIRECTIVE)
    assert consuming.consumer.intake.consuming
