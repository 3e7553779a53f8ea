"""The age of the oldest ready message, estimated from counters of a simulated queue."""

import random
from collections import deque

import pytest

from stem_amqp.observability.queues.age import SAMPLES, Counts, ReadyAge


class Queue:
    """A first-in-first-out queue with the counters that RabbitMQ reports."""

    def __init__(self):
        self.ready = deque()
        self.unacked = []
        self.delivered = 0
        self.returned = 0

    def enter(self, at, number=1):
        self.ready.extend([(at, False)] * number)

    def deliver(self, number=1):
        for _ in range(min(number, len(self.ready))):
            at, before = self.ready.popleft()
            self.delivered += not before
            self.unacked.append(at)

    def settle(self):
        self.unacked.clear()

    def give_back(self):
        self.ready.extendleft((at, True) for at in reversed(self.unacked))
        self.unacked.clear()

    def oldest(self, at):
        return at - self.ready[0][0] if self.ready else 0

    def counts(self, *, tells_returned=False):
        returned = sum(before for _, before in self.ready) if tells_returned else 0
        return Counts(len(self.ready), self.delivered, returned)


def note(age, queue, at):
    """Note the counters now, and return the age."""
    age.note(at, queue.counts())
    return age.seconds(at)


def test_nothing_is_known_before_the_first_look():
    """An alert must not see a zero that is a guess."""
    assert ReadyAge().seconds(10) is None


def test_an_empty_queue_has_no_age():
    """Its oldest message is 0 seconds old at every look."""
    age, queue = ReadyAge(), Queue()
    assert [note(age, queue, at) for at in (0, 5, 100)] == [0, 0, 0]


def test_messages_that_nobody_takes_become_older():
    """A queue without a consumer is as old as the first look at it."""
    age, queue = ReadyAge(), Queue()
    queue.enter(-1000, 7)
    assert [note(age, queue, at) for at in (0, 5, 100)] == [0, 5, 100]


def test_the_age_follows_the_head():
    """Once the messages of an early time are delivered, the age is that of the next ones."""
    age, queue = ReadyAge(), Queue()
    note(age, queue, 0)
    for at in range(10, 110, 10):
        queue.enter(at - 1)
        note(age, queue, at)
    assert age.seconds(100) == 90
    queue.deliver(4)
    assert note(age, queue, 110) == 110 - 50
    queue.deliver(5)
    assert note(age, queue, 120) == 120 - 100
    queue.deliver(1)
    assert note(age, queue, 130) == 0


def test_a_redelivery_does_not_count_twice():
    """Messages that a crashed worker returns are behind no other message."""
    age, queue = ReadyAge(), Queue()
    note(age, queue, 0)
    queue.enter(1, 5)
    note(age, queue, 5)
    queue.deliver(3)
    queue.settle()
    queue.enter(9)
    queue.deliver(2)
    queue.give_back()
    assert note(age, queue, 10) <= 9
    queue.deliver(2)
    queue.settle()
    assert note(age, queue, 15) <= 6
    assert note(age, queue, 20) == 10


def test_only_returned_messages_keep_their_age():
    """All ready messages were delivered before; RabbitMQ 4.3 reports how many."""
    age, queue = ReadyAge(), Queue()
    note(age, queue, 0)
    queue.enter(3, 2)
    note(age, queue, 5)
    queue.deliver(2)
    queue.give_back()
    age.note(50, queue.counts(tells_returned=True))
    assert age.seconds(50) == 45


def test_messages_that_expire_do_not_make_the_rest_old():
    """They left without a delivery; after some looks the difference is no delay of the statistics."""
    age, queue = ReadyAge(), Queue()
    note(age, queue, 0)
    queue.enter(1, 100)
    for at in (5, 10, 15, 20):
        note(age, queue, at)
    for _ in range(90):
        queue.ready.popleft()
    queue.enter(24, 10)
    for at in (25, 30, 35, 40, 45):
        note(age, queue, at)
    queue.deliver(10)
    queue.settle()
    assert note(age, queue, 50) <= 50 - 24


def test_counters_that_begin_again_give_a_lower_bound():
    """The broker has restarted: the age begins again too, instead of being wrong."""
    age, queue = ReadyAge(), Queue()
    note(age, queue, 0)
    queue.enter(1, 5)
    queue.deliver(2)
    note(age, queue, 5)
    queue.delivered = 0
    assert note(age, queue, 100) == 0
    assert note(age, queue, 110) == 10


def test_without_counters_nothing_is_known():
    """The broker's statistics can be disabled."""
    age = ReadyAge()
    age.note(0, Counts(5, None))
    assert age.seconds(0) is None


@pytest.mark.parametrize("seed", range(20))
def test_the_age_is_never_more_than_the_truth(seed):
    """Random traffic: the estimate is a lower bound, and it is close while workers run."""
    chance = random.Random(seed)
    age, queue, worst = ReadyAge(), Queue(), 0
    note(age, queue, 0)
    for step in range(1, 600):
        at = step * 5
        for _ in range(chance.choice((0, 0, 1, 3, 30))):
            queue.enter(at - chance.random() * 5)
        queue.ready = deque(sorted(queue.ready))
        queue.deliver(chance.choice((0, 1, 5, 20)))
        queue.settle()
        found = note(age, queue, at)
        assert found <= queue.oldest(at) + 1e-6
        worst = max(worst, queue.oldest(at) - found)
    assert worst <= 5 + 1e-6


def test_a_long_backlog_needs_little_memory():
    """Old sums are thinned out; the age stays a lower bound."""
    age, queue = ReadyAge(), Queue()
    note(age, queue, 0)
    for step in range(1, 5000):
        queue.enter(step * 5 - 1)
        note(age, queue, step * 5)
        assert len(age._samples) <= SAMPLES + 1
    at = 5000 * 5
    assert age.seconds(at) <= queue.oldest(at)
    assert age.seconds(at) > queue.oldest(at) * 0.9
    queue.deliver(2500)
    found = note(age, queue, at)
    assert found <= queue.oldest(at)
    assert found > queue.oldest(at) * 0.9
