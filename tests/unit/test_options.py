"""Options of tasks and calls."""

import math
import re
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
import tenacity

from stem_amqp import Limit, Stem
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.message import TaskMessage
from stem_amqp.retry import RetryPolicy
from stem_amqp.tasks.limit import key_text
from stem_amqp.tasks.options import CallOptions, TaskOptions


def test_task_options_are_normalised():
    """Durations become seconds, and a single exception type becomes a tuple."""
    options = TaskOptions.build(
        {
            "time_limit": "1m",
            "soft_time_limit": 50,
            "rate_limit": "10/s",
            "retry_on": OSError,
            "retry": {"base": "1s"},
            "tags": ["a"],
            "queue": None,
        }
    )
    assert (options.time_limit, options.soft_time_limit) == (60, 50)
    assert options.rate_limit == Limit("10/s")
    assert options.retry_on == (OSError,)
    assert options.tags == ("a",)


@pytest.mark.parametrize(
    "keywords",
    [
        {"retries": 3}, {"max_retries": -1}, {"max_retries": True}, {"queue": "a b"},
        {"queue": "a..b"}, {"priority": 256}, {"rate_limit": "fast"}, {"time_limit": 0},
        {"time_limit": "10s", "soft_time_limit": "10s"}, {"retry_on": (ValueError, "x")},
        {"retry": "fast"}, {"never_retry_on": BaseException},
        {"expected": "CardDeclined"}, {"expected": Exception}, {"expected": (KeyError, Exception)},
    ],
)  # fmt: skip
def test_a_task_option_that_makes_no_sense_is_refused(keywords):
    """The error is raised at decoration."""
    with pytest.raises(ConfigurationError):
        TaskOptions.build(keywords)


@pytest.mark.parametrize(
    "keywords",
    [
        {"countdown": 3}, {"delay": "1h", "eta": datetime.now(UTC)}, {"eta": datetime(2026, 1, 1)},
        {"eta": 5}, {"expires": datetime(2026, 1, 1)}, {"delay": -1},
        {"retry": RetryPolicy(wait=tenacity.wait_fixed(1))},
    ],
)  # fmt: skip
def test_a_call_option_that_makes_no_sense_is_refused(keywords):
    """The error is raised where the call is made."""
    with pytest.raises(ConfigurationError):
        CallOptions.build(keywords)


ODD_CALLS = [
    {"task_id": UUID(int=7)}, {"task_id": 7}, {"task_id": ""}, {"task_id": "a\x00b"}, {"task_id": "\ud800"},
    {"task_id": "x" * 256}, {"task_id": b"id"}, {"meta": [("a", 1)]}, {"meta": "a"}, {"meta": {1: 2}},
    {"meta": {"a": object()}}, {"meta": {"a": math.nan}}, {"meta": {"a": {"b": [math.inf]}}},
    {"headers": [("a", 1)]}, {"headers": "a"}, {"headers": {"a": object()}}, {"headers": {1: 1}},
    {"queue": 7}, {"queue": b"q"}, {"queue": ""}, {"delay": True}, {"delay": "soon"}, {"delay": math.nan},
    {"delay": 1e300}, {"delay": object()}, {"delay": timedelta(days=-1)}, {"eta": "2026-01-01"},
    {"eta": date(2026, 1, 1)}, {"expires": date(2026, 1, 1)}, {"expires": True}, {"expires": 0},
    {"priority": "3"}, {"priority": 3.0}, {"priority": True}, {"priority": -1}, {"max_retries": "3"},
    {"max_retries": 2.0}, {"max_retries": 2**64}, {"retry": 3}, {"retry": {"factor": "x"}},
    {"retry": {"factor": math.nan}}, {"retry": {"factor": math.inf}}, {"retry": {"base": []}},
    {"retry": {1: 2}}, {"time_limit": "x"}, {"time_limit": False}, {"soft_time_limit": []},
    {"max_age": -3}, {"result_ttl": {}}, {"ignore_result": "no"}, {"ignore_result": 1},
    {"unique": []}, {"unique": "soon"}, {"unique_key": 3}, {"unique_key": "\ud800"}, {"unique_key": ""},
]  # fmt: skip


@pytest.mark.parametrize("keywords", ODD_CALLS, ids=lambda case: re.sub(" at 0x.*", "", repr(case)))
def test_an_option_of_another_type_is_refused_where_the_call_is_made(keywords):
    """Every way to make a call names the option, before anything is sent."""
    stem = Stem(broker_url="memory://unit")

    @stem.task("sync")
    def sync() -> None: ...

    (name,) = keywords
    for make in (
        lambda: CallOptions.build(keywords),
        lambda: sync.options(**keywords),
        lambda: stem.prepare("sync", **keywords),
        lambda: stem.prepare("elsewhere", **keywords),
        lambda: stem.blocking_producer.enqueue("elsewhere", **keywords),
    ):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert name.split("_", maxsplit=1)[0].rstrip("s") in str(caught.value) or "duration" in str(
            caught.value
        )
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "keywords",
    [
        {"tags": "billing"}, {"tags": [1]}, {"idempotent": "yes"}, {"description": 3}, {"attributes": []},
        {"ignore_result": "no"}, {"max_retries": "3"}, {"priority": 3.5}, {"queue": 3}, {"unique": []},
        {"executor": "thread"}, {"retry_on": "ValueError"},
    ],
)  # fmt: skip
def test_an_option_of_a_task_of_another_type_is_refused(keywords):
    """The decorator makes the same check."""
    with pytest.raises(ConfigurationError):
        TaskOptions.build(keywords)


@pytest.mark.parametrize(
    "args",
    [[1], "a", {1: 2}, 3, {"a": object()}, {"a": math.nan}],
    ids=["list", "text", "key", "number", "object", "nan"],
)
def test_arguments_by_name_are_a_mapping_that_json_can_carry(args):
    """This holds without the task's code too, and the error gives the reason."""
    with pytest.raises(ConfigurationError, match="args"):
        Stem(broker_url="memory://unit").prepare("elsewhere", args)


def test_metadata_is_what_json_makes_of_it_everywhere():
    """A record in memory and a record in a database have the same value."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert CallOptions.build({"meta": {"at": at, "pair": (1, 2)}}).meta == {
        "at": "2026-01-01T00:00:00+00:00",
        "pair": [1, 2],
    }


@pytest.mark.parametrize(
    "task_id", [UUID(int=7), 7, None, ""], ids=["uuid", "int", "none", "empty"]
)
def test_a_handle_by_an_id_of_another_type_is_refused(task_id):
    """It would wait for ever for a task that cannot exist."""
    stem = Stem(broker_url="memory://unit")
    for make in (stem.handle, stem.blocking_producer.handle):
        with pytest.raises(ConfigurationError, match="task_id must be a string"):
            make(task_id)


def test_a_task_is_no_name_of_one():
    """The error says what to call instead."""
    stem = Stem(broker_url="memory://unit")

    @stem.task("sync")
    def sync() -> None: ...

    with pytest.raises(ConfigurationError, match=r"<Task sync \(\)> is a task.*its enqueue"):
        stem.prepare(sync)


def test_only_what_the_worker_must_know_is_sent():
    """The broker handles queue, delay and priority; the body has the other options."""
    options = CallOptions.build(
        {"queue": "q", "delay": 3, "max_retries": 0, "retry": {"base": 1}, "ignore_result": False}
    )
    assert options.carried() == {
        "max_retries": 0,
        "ignore_result": False,
        "retry": {"base": 1.0, "factor": 2.0, "max": 300.0, "jitter": 0.25},
    }


def test_a_decorator_without_a_name_says_what_to_write():
    """The function is passed as the name, and the error names it."""
    with pytest.raises(ConfigurationError, match=r"nameless.* write @stem\.task\('orders\.sync'\)"):

        @Stem().task
        def nameless():
            """Do nothing."""

    with pytest.raises(
        ConfigurationError, match=r"needs a name.* write @stem\.task\('orders\.sync'\)"
    ):

        @Stem().task()
        def without():
            """Do nothing."""


# Limits


def test_limits_have_short_forms():
    """A rate, a number, a name, and a single one instead of a list."""
    options = TaskOptions.build({"rate_limit": "10/s", "concurrency_limit": 5, "limits": "stripe"})
    assert options.own_limits == (Limit("10/s"), Limit(concurrency=5))
    assert options.named_limits == ("stripe",)
    mixed = TaskOptions.build({"limits": ["1/m", Limit("2/s", by="args.a"), "crm.eu"]})
    assert mixed.own_limits == (Limit("1/m"), Limit("2/s", by="args.a"))
    assert mixed.named_limits == ("crm.eu",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Limit, "needs a rate or a concurrency"),
        (lambda: Limit("fast"), "not a valid rate"),
        (lambda: Limit(concurrency=0), "from 1 to"),
        (lambda: Limit(concurrency=True), "from 1 to"),
        (lambda: Limit("1/s", by="tenant"), "did you mean 'args.tenant' or 'meta.tenant'"),
        (lambda: Limit("1/s", by="arg.tenant"), "did you mean 'args.tenant'"),
        (lambda: Limit("1/s", by="args."), "Write a path"),
        (lambda: Limit("1/s", by=5), "or a function of the call, not 5"),
        (lambda: Limit("1/s", per="workers"), "did you mean 'worker'"),
        (lambda: Limit("1/s", on_store_failure="close"), "did you mean 'closed'"),
        (lambda: Limit(concurrency=5, per="worker"), "a limit per worker has a rate only"),
        (lambda: TaskOptions.build({"rate_limit": Limit(concurrency=5)}), "concurrency_limit=…"),
        (lambda: TaskOptions.build({"concurrency_limit": Limit("5/s")}), "rate_limit=…"),
        (lambda: TaskOptions.build({"concurrency_limit": "5"}), "a number such as 5"),
        (lambda: TaskOptions.build({"rate_limit": 10}), 'such as "10/s" or a Limit'),
        (lambda: TaskOptions.build({"limits": [5]}), "a list of Limit"),
        (lambda: TaskOptions.build({"limits": ["a b"]}), "a list of Limit"),
        (lambda: TaskOptions.build({"rate_limits": "1/s"}), "unknown task option rate_limits"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(make, message):
    """The error says what is wrong, and what to write."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        make()


def test_a_function_of_a_key_must_not_be_async():
    """It is called before each start."""

    async def key(call):
        return call.id

    with pytest.raises(ConfigurationError, match="key is async"):
        Limit("1/s", by=key)


@pytest.mark.parametrize(
    ("value", "key"),
    [(None, ""), ("a", "a"), (7, "7"), (True, "true"), ({"b": 1, "a": 2}, '{"a":2,"b":1}')],
)
def test_the_key_of_a_limit_is_a_text(value, key):
    """Equal values have equal keys."""
    assert key_text(value) == key


def test_a_long_or_unprintable_key_is_hashed():
    """A key never takes much room in the store."""
    for value in ("x" * 5000, "a\x00b", "\ud800"):
        assert key_text(value).startswith("sha256:")
    with pytest.raises(ConfigurationError, match="the key of a limit must be"):
        key_text(object())


def test_a_limit_counts_by_a_path_into_arguments_or_metadata():
    """A value that is missing has the empty key."""
    call = TaskMessage(id="1", task="t", args={"order": {"tenant": 5}}, meta={"tenant": "m"})
    paths = ["args.order.tenant", "args.order.x.y", "args.none", "meta.tenant"]
    assert [Limit("1/s", by=path).key(call) for path in paths] == ["5", "", "", "m"]
    assert (
        Limit("1/s", by=lambda one: (one.task, one.args["order"])).key(call) == '["t",{"tenant":5}]'
    )
