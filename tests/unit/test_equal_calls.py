"""Debounced and throttled calls: the rules, the marks, and what contradicts itself."""

import asyncio

import pytest
from kit_shop import Shop

from stem_amqp import Debounce, DuplicateTaskError, Stem, TaskFailedError, Throttle, Unique
from stem_amqp.errors import (
    BackendUnavailableError,
    ConfigurationError,
    PublishRefusedError,
    TaskDefinitionError,
)
from stem_amqp.results.debounce import Mark
from stem_amqp.tasks.equal_calls.debounce import Place
from stem_amqp.tasks.options import check_carried


@pytest.fixture
def stem_app():
    return Shop().stem


def search(stem, runs, **options):
    """Add a task with a rule."""

    @stem.task("shop.search", **options)
    async def index(user: int, text: str = "") -> str:
        runs.append((user, text))
        return text

    return index


# Debounce


async def test_the_last_of_the_calls_runs_with_its_arguments(stem_memory):
    """The others are revoked, with the id of the call that superseded them; no attempt is spent."""
    runs = []
    index = search(stem_memory.app, runs, debounce=Debounce("5s", by=("user",)))
    handles = []
    for number in range(4):
        handles.append(await index.enqueue(1, f"text {number}"))
        await stem_memory.advance("3s")
    await index.enqueue(2, "another user")
    assert runs == []
    await stem_memory.advance("5s")
    assert runs == [(1, "text 3"), (2, "another user")]
    assert await handles[3].result() == "text 3"
    for number, handle in enumerate(handles[:3]):
        with pytest.raises(TaskFailedError, match=f"superseded by {handles[number + 1].id}"):
            await handle.result()
        assert not handle.existing
    states = [one.state for one in stem_memory.outcomes(index)]
    assert sorted(states) == ["revoked"] * 3 + ["succeeded"] * 2
    assert {one.attempt for one in stem_memory.outcomes(index)} == {0}


async def test_the_kit_sees_each_call_with_its_wait(stem_memory):
    """A debounced call is enqueued with a delay."""
    index = search(stem_memory.app, [], debounce="5s")
    await index.enqueue(1)
    stem_memory.assert_enqueued(index, 1, delay="5s")
    stem_memory.clock.advance(2)
    await index.enqueue(1)
    stem_memory.assert_enqueued(index, 1, delay="5s", times=2)


async def test_calls_that_never_pause_run_after_max_wait(stem_memory):
    """Each window ends with one run, at most `max_wait` after its first call."""
    runs = []
    index = search(stem_memory.app, runs, debounce=Debounce("5s", max_wait="12s", by=("user",)))
    begun, at = stem_memory.clock.time(), []
    stem_memory.app.signals.task_succeeded.connect()(
        lambda event: at.append(round(stem_memory.clock.time() - begun, 1))
    )
    for number in range(30):
        await index.enqueue(1, str(number))
        await stem_memory.advance("2s")
    await stem_memory.advance("30s")
    assert [text for _, text in runs] == ["5", "11", "17", "23", "29"]
    assert at == [12.0, 24.0, 36.0, 48.0, 60.0]


async def test_a_window_ends_when_its_last_call_is_due_and_the_next_call_runs_too(stem_memory):
    """Also if the message of the first one waits in its queue until then: no effect is lost."""
    runs = []
    index = search(stem_memory.app, runs, debounce=Debounce("5s", by=("user",)))
    for text in ("a", "b"):
        await index.enqueue(1, text)
    await stem_memory.advance("6s", working=False)
    for text in ("c", "d"):
        await index.enqueue(1, text)
    await stem_memory.advance("6s")
    assert [text for _, text in runs] == ["b", "d"]


async def test_calls_at_the_same_moment_have_the_order_in_which_they_were_made(stem_memory):
    """Those of one process: gathered, in bulk, and by name."""
    runs = []
    index = search(stem_memory.app, runs, debounce=Debounce("5s", by=("user",)))
    await asyncio.gather(*(index.enqueue(1, str(number)) for number in range(20)))
    await stem_memory.app.enqueue_many(index.prepare(2, str(number)) for number in range(50))
    rule = Debounce("5s", by=("user",))
    for number in range(3):
        await stem_memory.app.enqueue(
            "shop.search", args={"user": 3, "text": str(number)}, debounce=rule
        )
    await stem_memory.advance("5s")
    assert sorted(runs) == [(1, "19"), (2, "49"), (3, "2")]


def test_blocking_calls_are_debounced_too(stem_memory):
    """In synchronous code."""
    runs = []
    index = search(stem_memory.app, runs, debounce=Debounce("5s", by=("user",)))
    for number in range(3):
        index.enqueue_blocking(1, str(number))
    stem_memory.advance_blocking("5s")
    assert runs == [(1, "2")]


async def test_a_call_has_its_own_rule_and_key(stem_memory):
    """The key takes the place of the arguments; False turns the rule off."""
    runs = []
    index = search(stem_memory.app, runs, debounce="5s")
    for number in range(3):
        await index.options(debounce_key="all").enqueue(number)
        await index.options(debounce=False).enqueue(10 + number)
    await stem_memory.run_due()
    assert runs == [(10, ""), (11, ""), (12, "")]
    await stem_memory.advance("5s")
    assert runs[3:] == [(2, "")]


async def test_a_retry_and_a_replay_run_whatever_was_called_since(stem_memory):
    """The first run decided; only a delivery that has not run is superseded."""
    runs = []

    @stem_memory.app.task(
        "shop.flaky", debounce="5s", max_retries=1, retry={"base": "1s", "jitter": 0}
    )
    async def flaky() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise ValueError("once")

    await flaky.enqueue()
    await stem_memory.advance("5s")
    await flaky.enqueue()
    await stem_memory.advance("10s")
    assert runs == [0, 1, 2]


async def test_a_mark_that_is_lost_loses_no_call(stem_memory):
    """A store that was emptied, or a mark that nobody can read: all of them run."""
    runs = []
    index = search(stem_memory.app, runs, debounce=Debounce("5s", by=("user",)))
    for number in range(3):
        await index.enqueue(1, str(number))
    backend = stem_memory.app.connected.backend
    backend._store.keys._held.clear()
    await stem_memory.advance("5s")
    assert [text for _, text in runs] == ["0", "1", "2"]


async def test_a_producer_that_dies_before_it_marks_its_call_supersedes_nothing(
    stem_memory, monkeypatch, caplog
):
    """Its call runs, and so does the marked one before it; the store's failure is only logged."""
    runs = []
    index = search(stem_memory.app, runs, debounce=Debounce("5s", by=("user",)))
    await index.enqueue(1, "marked")

    async def down(*_, **__):
        raise BackendUnavailableError("down")

    with monkeypatch.context() as patch:
        patch.setattr(stem_memory.app.connected.backend, "swap_key", down)
        await index.enqueue(1, "unmarked")
    assert "cannot be marked as the latest" in caplog.text
    await stem_memory.advance("5s")
    assert [text for _, text in runs] == ["marked", "unmarked"]


async def test_a_call_that_is_not_published_supersedes_nothing(stem_memory):
    """The call before it runs."""
    runs = []
    index = search(stem_memory.app, runs, debounce=Debounce("5s", by=("user",)))
    await index.enqueue(1, "first")
    stem_memory.broker.refuse_publishes(PublishRefusedError("full"), times=1)
    with pytest.raises(PublishRefusedError):
        await index.enqueue(1, "second")
    await stem_memory.advance("5s")
    assert [text for _, text in runs] == ["first"]


# The mark

RULE = Debounce(5, max_wait=12)


def test_the_mark_follows_the_calls():
    """A call before the latest one is due belongs to its window."""
    first = Mark.following(None, "a", RULE, 100.0)
    assert first == Mark(first=100.0, due=105.0, latest=((1, 1, "a"),))
    second = Mark.following(first, "b", RULE, 104.9)
    assert second == Mark(first=100.0, due=109.9, latest=((1, 2, "b"),))
    third = Mark.following(second, "c", RULE, 109.0)
    assert third.due == 112.0
    next_one = Mark.following(third, "d", RULE, 112.0)
    assert next_one == Mark(first=112.0, due=117.0, latest=((1, 3, "c"), (2, 1, "d")))
    assert Mark.decode(next_one.encode()) == next_one
    many = next_one
    for number in range(50):
        many = Mark.following(many, f"n{number}", RULE, 200.0 + 20 * number)
    assert len(many.encode()) < 1000


@pytest.mark.parametrize(
    ("window", "number", "task_id", "by"),
    [
        (1, 1, "a", "c"),
        (1, 2, "b", "c"),
        (1, 3, "c", None),
        (1, 3, "x", "c"),  # at the same moment, and marked before
        (1, 4, "x", None),  # published, and not marked
        (2, 1, "d", None),
        (3, 1, "e", None),
        (0, 1, "z", None),
    ],
)
def test_only_a_later_call_of_the_same_window_supersedes(window, number, task_id, by):
    """What is not known to be superseded runs."""
    mark = Mark(first=112.0, due=117.0, latest=((1, 3, "c"), (2, 1, "d")))
    place = Place(key="debounce:k", window=window, number=number)
    assert mark.superseding(place, task_id) == by


def test_of_two_producers_the_later_call_stays_marked():
    """A mark that comes late changes nothing; one for an earlier window is put there."""
    stored = Mark(first=100.0, due=109.0, latest=((1, 3, "c"),))
    late = Mark(first=100.0, due=106.0, latest=((1, 2, "b"),))
    assert stored.with_call(late) is None
    same = Mark(first=100.0, due=108.0, latest=((1, 3, "x"),))
    assert stored.with_call(same) is None
    later = Mark(first=100.0, due=110.0, latest=((1, 4, "d"),))
    assert stored.with_call(later) == Mark(first=100.0, due=110.0, latest=((1, 4, "d"),))
    after = Mark(first=120.0, due=125.0, latest=((1, 3, "c"), (2, 1, "e")))
    assert after.with_call(later) == Mark(first=120.0, due=125.0, latest=((1, 4, "d"), (2, 1, "e")))
    assert stored.with_call(after) == Mark(
        first=120.0, due=125.0, latest=((1, 3, "c"), (2, 1, "e"))
    )


@pytest.mark.parametrize(
    "value", [None, b"", b"{}", b"[]", b'{"first":1,"due":2,"latest":[]}', b"x"]
)
def test_a_mark_that_cannot_be_read_is_none(value):
    """The next call begins anew."""
    assert Mark.decode(value) is None


@pytest.mark.parametrize(
    "value",
    [
        1, "k", [], {}, {"key": "debounce:k", "window": 1},
        {"key": "unique:k", "window": 1, "number": 1},
        {"key": "debounce:k", "window": True, "number": 1},
        {"key": "debounce:k", "window": 0, "number": 1},
        {"key": "debounce:" + "k" * 2000, "window": 1, "number": 1},
        {"key": 7, "window": 1, "number": 1},
    ],
)  # fmt: skip
def test_a_malformed_place_is_refused(value):
    """Any client may have written the message: its key cannot be one of another kind."""
    with pytest.raises(ConfigurationError, match="invalid value for the option debounce"):
        check_carried({"debounce": value})


# Throttle


async def test_so_many_calls_of_a_period_are_enqueued(stem_memory):
    """The others get the handle of the enqueued one; then the next period begins."""
    runs = []
    index = search(stem_memory.app, runs, throttle=Throttle("1/m", by=("user",)))
    handles = [await index.enqueue(1, str(number)) for number in range(5)]
    assert {handle.id for handle in handles} == {handles[0].id}
    assert [handle.existing for handle in handles] == [False, True, True, True, True]
    await index.enqueue(2, "other")
    await stem_memory.run_due()
    assert runs == [(1, "0"), (2, "other")]
    await stem_memory.advance("59s")
    assert (await index.enqueue(1, "early")).existing
    await stem_memory.advance("1s")
    assert not (await index.enqueue(1, "late")).existing
    await stem_memory.run_due()
    assert runs[2:] == [(1, "late")]


async def test_no_period_has_more_calls_than_the_rate(stem_memory):
    """Not even one that begins in the middle of another: each call holds its key for a whole period."""
    index = search(stem_memory.app, [], throttle=Throttle("3/m", by=("user",)))
    begun, enqueued = stem_memory.clock.time(), []
    for _ in range(60):
        handle = await index.enqueue(1)
        if not handle.existing:
            enqueued.append(stem_memory.clock.time() - begun)
        stem_memory.clock.advance(7)
    assert len(enqueued) == 3 * 7
    for start in range(0, 420, 5):
        assert sum(start <= at < start + 60 for at in enqueued) <= 3


async def test_a_throttled_call_can_raise_or_have_a_key_of_its_own(stem_memory):
    """Or be enqueued in any case; concurrent calls are counted exactly."""
    index = search(stem_memory.app, [], throttle=Throttle("2/h", second="error"))
    first = await index.options(throttle_key="all").enqueue(1)
    second = await index.options(throttle_key="all").enqueue(2)
    with pytest.raises(DuplicateTaskError) as raised:
        await index.options(throttle_key="all").enqueue(3)
    assert raised.value.task_id in {first.id, second.id}
    assert not (await index.options(throttle=False).enqueue(3)).existing
    rule = Throttle("2/h")
    found = await asyncio.gather(*(index.options(throttle=rule).enqueue(9) for _ in range(30)))
    assert sum(not handle.existing for handle in found) == 2


async def test_a_failed_publish_gives_its_turn_back(stem_memory):
    """The next call is enqueued."""
    index = search(stem_memory.app, [], throttle="1/h")
    stem_memory.broker.refuse_publishes(PublishRefusedError("full"), times=1)
    with pytest.raises(PublishRefusedError):
        await index.enqueue(1)
    assert not (await index.enqueue(1)).existing


# Wrong use


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"debounce": "soon"}, "soon"),
        ({"debounce": 0}, "longer than 0"),
        ({"debounce": True}, 'debounce takes a wait such as "5s", not True'),
        ({"throttle": "fast"}, "not a valid rate"),
        ({"throttle": 5}, "not a valid rate"),
        ({"throttle": "0/m"}, "rate"),
        ({"throttle": "21/m"}, r"1 to 20 calls in a period, not '21/m'.\n.*rate_limit"),
        ({"throttle": True}, "not a valid rate"),
        ({"unique": "1h", "debounce": "5s"}, "would be unique and debounced"),
        ({"unique": True, "throttle": "1/m"}, "would be unique and throttled"),
        ({"debounce": "5s", "throttle": "1/m"}, "would be debounced and throttled"),
        ({"debounce": "5s", "throttle": "1/m", "unique": 5}, "unique, debounced and throttled"),
    ],
)
def test_wrong_options_of_a_task_are_refused(options, message):
    """When the task is defined; a call refuses the same values."""
    stem = Stem(broker_url="memory://")
    with pytest.raises(ConfigurationError, match=message):
        stem.task("work", **options)(lambda: None)
    with pytest.raises(ConfigurationError, match=message):
        stem.prepare("work", **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Debounce("5s", max_wait="3s"), r"max_wait \(3 s\) is shorter than the wait"),
        (lambda: Debounce("5s", max_wait=0), "max_wait must be longer than 0"),
        (lambda: Debounce("5s", by="user"), r"write \('user',\)"),
        (lambda: Debounce("5s", by=()), "tuple of argument names"),
        (lambda: Throttle("1/m", by=(1,)), "tuple of argument names"),
        (lambda: Throttle("1/m", second="first"), "second must be 'existing' or 'error'"),
        (lambda: Throttle("1/w"), "not a valid rate"),
    ],
)
def test_wrong_rules_are_refused(make, message):
    """Where they are made."""
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_rule_by_an_argument_that_the_task_lacks_is_refused():
    """At decoration, with the arguments that there are; by name at the call."""
    stem = Stem(broker_url="memory://")
    for options, word in (
        ({"debounce": Debounce("5s", by=("usr",))}, "debounced"),
        ({"throttle": Throttle("1/m", by=("usr",))}, "throttled"),
        ({"unique": Unique(window="1m", by=("usr",))}, "unique"),
    ):
        with pytest.raises(TaskDefinitionError, match=f"cannot be {word} by usr: .*user, text"):
            search(stem, [], **options)


@pytest.mark.parametrize(
    ("task", "call", "message"),
    [
        ({"debounce": "5s"}, {"delay": "1s"}, "which is debounced, cannot have a delay"),
        ({"unique": "1h"}, {"debounce": "5s"}, "unique and debounced.\n.*unique=False"),
        ({"throttle": "1/m"}, {"debounce": "5s"}, "throttle=False"),
        ({"debounce": "5s"}, {"unique_key": "k"}, "unique and debounced"),
        ({}, {"debounce_key": "k"}, "but they are not debounced: pass debounce, too"),
        ({"unique": "1h"}, {"throttle_key": "k"}, "but they are not throttled: pass throttle"),
        ({"debounce": "5s"}, {"expires": "4s"}, "expires after 4 s, but .* starts after 5 s"),
        ({"debounce": "5s", "expires": "5s"}, {}, "let it expire later"),
    ],
)
async def test_options_that_contradict_the_rule_are_refused_at_the_call(
    stem_memory, task, call, message
):
    """Nothing is enqueued; the remedy turns off the rule of the task."""
    index = search(stem_memory.app, [], **task)
    with pytest.raises(ConfigurationError, match=message):
        await index.options(**call).enqueue(1)
    assert stem_memory.enqueued() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"debounce": "5s", "delay": "1s"}, "a debounced call cannot have a delay"),
        ({"debounce": False, "debounce_key": "k"}, "debounce=False cannot have a debounce_key"),
        ({"throttle": "1/m", "throttle_key": ""}, "throttle_key must be a string"),
    ],
)
def test_options_of_a_call_that_contradict_each_other_are_refused(options, message):
    """At once."""
    with pytest.raises(ConfigurationError, match=message):
        Stem(broker_url="memory://").prepare("work", **options)


@pytest.mark.parametrize("options", [{"debounce": "5s"}, {"throttle": "1/m"}])
async def test_a_backend_without_keys_is_refused_at_the_call(options, caplog):
    """With the remedy; nothing is enqueued, and a worker reports it at its start."""
    stem = Stem(broker_url="memory://equal-calls", backend_url="rpc://")
    index = search(stem, [], **options)
    async with stem:
        with pytest.raises(ConfigurationError, match=r"(?s)debounced and throttled.*redis://"):
            await index.enqueue(1)
        async with stem.worker().running():
            assert "shop.search: unique, debounced and throttled tasks need" in caplog.text


@pytest.mark.parametrize("options", [{"debounce": "5s"}, {"throttle": "1/m"}])
async def test_a_store_that_is_away_enqueues_nothing(stem_memory, monkeypatch, options):
    """The caller knows that no task will run, and can call again."""
    index = search(stem_memory.app, [], **options)

    async def down(*_, **__):
        raise BackendUnavailableError("the result backend does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(stem_memory.app.connected.backend, "claim_key", down)
        with pytest.raises(BackendUnavailableError):
            await index.enqueue(1)
    assert stem_memory.enqueued() == []
    assert not (await index.enqueue(1)).existing
