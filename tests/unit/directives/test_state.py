"""What a worker obeys: revocations, pauses and values that hold now."""

import random
from dataclasses import replace

import pytest

from stem_amqp.clock import timestamp
from stem_amqp.directives import state
from stem_amqp.directives.model import Directive, Kind, Target, new_nonce
from stem_amqp.directives.revocation import of_all
from stem_amqp.directives.state import Directives
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.links import Links
from stem_amqp.messages.message import TaskMessage
from stem_amqp.tasks.unique import key_of

NOW = 1_700_000_000.0


class Clock:
    """A clock whose time the test sets."""

    now = NOW

    def time(self):
        """Return the time that the test has set."""
        return self.now


@pytest.fixture
def clock():
    """Return a clock of this test."""
    return Clock()


@pytest.fixture
def directives(clock):
    """Return the directives of a worker."""
    return Directives(clock, worker="host:1:abc", namespace="stem")


def directive(kind=Kind.REVOKE, at=NOW, **fields):
    """Return a directive; fields of the target have their names."""
    target = {name: fields.pop(name) for name in list(fields) if name in Target.__annotations__}
    return Directive(kind=kind, target=Target(**target), at=at, nonce=new_nonce(), **fields)


def message(**fields):
    """Return a message that was enqueued ten seconds ago."""
    given = {"id": "t1", "task": "orders.sync", "args": {}, "enqueued_at": timestamp(NOW - 10)}
    return TaskMessage(**given | fields)


def test_without_directives_nothing_is_revoked_or_paused(directives):
    """One check says so."""
    assert not directives
    assert not directives.revoking
    assert directives.revocation(message(), "orders") is None
    assert directives.paused_queue("orders") is None
    assert directives.paused_task("orders.sync") is None
    assert directives.rate_limit("orders.sync") is None
    assert directives.concurrency("orders") is None
    assert directives.log_level() is None
    assert directives.in_effect(Kind.REVOKE) == ()


@pytest.mark.parametrize(
    ("target", "revoked"),
    [
        ({"id": "t1"}, True),
        ({"id": "t2"}, False),
        ({"task": "orders.*"}, True),
        ({"task": "orders"}, False),
        ({"queue": "ord*"}, True),
        ({"queue": "emails"}, False),
        ({"meta": {"tenant": "acme"}}, True),
        ({"meta": {"tenant": "acme", "zone": "7"}}, True),
        ({"meta": {"tenant": "other"}}, False),
        ({"meta": {"missing": "x"}}, False),
        ({"unique_key": "cart-7"}, True),
        ({"unique_key": key_of("stem", "orders.sync", "cart-7")}, True),
        ({"unique_key": "cart-8"}, False),
        ({"task": "orders.*", "meta": {"tenant": "other"}}, False),
        ({"id": "t1", "queue": "emails"}, False),
    ],
    ids=str,
)
def test_a_revocation_is_for_what_all_its_conditions_match(directives, target, revoked):
    """Metadata is compared as text, since an operator types texts."""
    directives.learn([directive(**target, reason="no need")])
    found = message(
        meta={"tenant": "acme", "zone": 7},
        options={"unique_key": key_of("stem", "orders.sync", "cart-7")},
    )
    assert directives.revocation(found, "orders") == ("no need" if revoked else None)


def test_only_what_was_enqueued_before_is_revoked(directives):
    """New calls of the same task run; a message without a time is not touched."""
    directives.learn([directive(task="orders.*", before=NOW, reason="r")])
    assert directives.revocation(message(), "orders") == "r"
    assert directives.revocation(message(enqueued_at=timestamp(NOW + 1)), "orders") is None
    assert directives.revocation(message(enqueued_at=""), "orders") is None


@pytest.mark.parametrize("fraction", [0.0, 0.0004, 0.0009, 0.0009996, 0.001, 0.029, 0.5009999999])
def test_what_was_enqueued_in_the_same_millisecond_is_revoked(directives, clock, fraction):
    """The time on the wire has no microseconds."""
    clock.now = NOW + fraction
    enqueued = message(enqueued_at=timestamp(clock.now))
    revoked = of_all(clock, 60.0, task="orders.*")
    directives.learn([Directive.decode(replace(revoked, at=NOW, nonce="n").encode())])
    assert directives.revocation(enqueued, "orders") == "revoked"
    later = message(enqueued_at=timestamp(clock.now + 0.002))
    assert directives.revocation(later, "orders") is None


def test_the_last_directive_of_an_identity_holds_in_any_order(directives):
    """A withdrawal ends it; a replayed older one has no effect."""
    first = directive(Kind.PAUSE, queue="orders", reason="a")
    resumed = directive(Kind.PAUSE, at=NOW + 1, queue="orders", withdrawn=True)
    again = directive(Kind.PAUSE, at=NOW + 2, queue="orders", reason="b")
    assert directives.learn([resumed]) == ()
    assert directives.learn([first]) == ()
    assert directives.paused_queue("orders") is None
    assert directives.learn([again]) == (again,)
    assert directives.learn([again, first, resumed]) == ()
    assert directives.paused_queue("orders") is again
    assert directives.paused_task("orders.sync") is None


def test_a_revocation_by_id_can_be_withdrawn_and_expires(directives, clock):
    """Then the task runs again."""
    revoked = directive(id="t1", reason="r")
    directives.learn([revoked])
    assert directives.revoking
    directives.learn([directive(id="t1", at=NOW + 1, withdrawn=True)])
    assert not directives.revoking
    assert not directives
    directives.learn([directive(id="t2", at=NOW + 1, expires=NOW + 5, reason="r")])
    assert directives.revocation(message(id="t2"), "orders") == "r"
    assert directives.expire() == NOW + 5
    clock.now = NOW + 5
    assert directives.revocation(message(id="t2"), "orders") is None
    assert directives.expire() is None
    assert not directives


def test_pauses_values_and_workers(directives):
    """Globs match tasks, queues and workers; the last one that matches holds."""
    directives.learn(
        [
            directive(Kind.PAUSE, task="orders.*", queue="slow"),
            directive(Kind.PAUSE, task="mail"),
            directive(Kind.PAUSE, queue="other", workers=("elsewhere:*",)),
            directive(Kind.RATE_LIMIT, name="api", value="10/s"),
            directive(Kind.RATE_LIMIT, task="mail*", value="1/s"),
            directive(Kind.CONCURRENCY, value=5),
            directive(Kind.CONCURRENCY, at=NOW + 1, queue="slow", value=2),
            directive(Kind.LOG_LEVEL, value="DEBUG", workers=("host:1:*",)),
        ]
    )
    assert directives.paused_task("orders.sync", "slow") is not None
    assert directives.paused_task("orders.sync", "fast") is None
    assert directives.paused_task("mail", "any") is not None
    assert directives.paused_queue("slow") is None
    assert directives.paused_queue("other") is None
    assert directives.rate_limit("api") == "10/s"
    assert directives.rate_limit("mailing") == "1/s"
    assert directives.rate_limit("x") is None
    assert (directives.concurrency("slow"), directives.concurrency("fast")) == (2, 5)
    assert directives.log_level() == "DEBUG"
    assert not directives.revoking
    assert len(directives.in_effect(Kind.PAUSE)) == 2


def test_listeners_are_told_of_changes_once(directives, clock, caplog):
    """One that fails does not keep others from the news."""
    told = []

    def fail(news):
        raise ValueError("no")

    directives.listen(fail)
    directives.listen(told.append)
    pause = directive(Kind.PAUSE, queue="q", expires=NOW + 60)
    directives.learn([pause])
    directives.learn([pause])
    assert told == [(pause,)]
    assert "could not be carried out" in caplog.text
    assert directives.expire() == NOW + 60
    clock.now = NOW + 61
    assert directives.paused_queue("q") is None
    assert directives.expire() is None
    assert told == [(pause,), (pause,)]


def test_a_kind_of_a_later_release_is_not_obeyed(directives):
    """It can be listed all the same."""
    other = directive("reroute", task="*")
    assert directives.learn([other]) == (other,)
    assert directives.revocation(message(), "q") is None
    assert directives.in_effect("reroute") == (other,)


def test_many_directives_are_bounded(directives, monkeypatch, caplog):
    """A flood of broadcasts does not fill the memory."""
    monkeypatch.setattr(state, "MOST", 3)
    directives.learn([directive(id=str(number)) for number in range(5)])
    assert len(directives.in_effect(Kind.REVOKE)) == 3
    assert caplog.text.count("more than 3 directives") == 1
    directives.learn([directive(id="0", at=NOW + 1, withdrawn=True)])
    assert len(directives.in_effect(Kind.REVOKE)) == 2


@pytest.mark.parametrize("seed", range(10))
def test_any_order_of_news_gives_the_same_state(clock, seed):
    """Broadcasts and documents arrive in any order, and more than once."""
    rng = random.Random(seed)
    issued = [
        directive(
            rng.choice([Kind.REVOKE, Kind.PAUSE]),
            at=NOW + number,
            withdrawn=rng.random() < 0.4,
            **{rng.choice(["id", "task"]): rng.choice("ab")},
        )
        for number in range(10)
    ]
    results = set()
    for _ in range(6):
        directives = Directives(clock)
        arriving = issued * 2
        rng.shuffle(arriving)
        for one in arriving:
            directives.learn([one])
        results.add(
            (directives.in_effect(Kind.REVOKE), directives.in_effect(Kind.PAUSE), bool(directives))
        )
    assert len(results) == 1


def test_a_composition_is_revoked_with_the_tasks_that_come_later(directives, clock):
    """Until its revocation expires or is withdrawn; other tasks run."""
    revoked = of_all(clock, 60.0, composition="c1.4.2", reason="cancelled")
    assert (revoked.target.composition, revoked.before) == ("c1", None)
    later = message(id="c1.1", links=Links(composition="c1"), enqueued_at=timestamp(NOW + 5))
    other = message(id="c2.1", links=Links(composition="c2"))
    directives.learn([Directive.decode(replace(revoked, at=NOW, nonce="n").encode())])
    assert directives.revocation(later, "orders") == "cancelled"
    assert directives.revocation(other, "orders") is None
    assert directives.revocation(message(id="c1"), "orders") is None
    assert [one.target.composition for one in directives.in_effect(Kind.REVOKE)] == ["c1"]
    clock.now = NOW + 61
    directives.expire()
    assert directives.revocation(later, "orders") is None
    assert not directives.revoking


def test_a_composition_with_another_condition_is_revoked_in_part(directives, clock):
    """Only the tasks that match both."""
    revoked = of_all(clock, 60.0, composition="c1", task="orders.*")
    directives.learn([replace(revoked, at=NOW, nonce="n")])
    links = Links(composition="c1")
    assert directives.revocation(message(links=links), "orders") == "revoked"
    assert directives.revocation(message(task="mails.send", links=links), "orders") is None
    with pytest.raises(ConfigurationError, match="composition must be a text that is not empty"):
        of_all(clock, 60.0, composition="")
