"""Dependencies: declaration, refusal, replacement, and use in a plain call."""

import asyncio
import contextlib
import sqlite3
import threading
from typing import Annotated

import pytest
import uncalled_for

from stem_amqp import (
    ArgumentsError,
    CallArgument,
    Depends,
    Provided,
    Settings,
    Shared,
    Stem,
    StemError,
    TaskContext,
)
from stem_amqp.errors import ConfigurationError, TaskDefinitionError


class Journal(list):
    """A record of what was opened and closed, in order."""

    def opener(self, name, value=None):
        def open_it():
            self.append(f"+{name}")
            try:
                yield value or name
            except BaseException as error:
                self.append(f"!{name} {type(error).__name__}")
                raise
            finally:
                self.append(f"-{name}")

        return open_it

    def async_opener(self, name):
        async def open_it():
            self.append(f"+{name}")
            try:
                yield name
            finally:
                await asyncio.sleep(0)
                self.append(f"-{name}")

        return open_it


@pytest.fixture
def stem():
    return Stem(broker_url="memory://", backend_url="memory://")


@pytest.fixture
def journal():
    return Journal()


async def test_every_kind_of_factory_is_opened_and_closed_in_reverse(stem, journal):
    """This holds for generators, context managers, coroutines, classes and plain functions."""

    @contextlib.asynccontextmanager
    async def manager():
        journal.append("+manager")
        yield "manager"
        journal.append("-manager")

    async def coroutine():
        return "coroutine"

    class Client:
        async def __aenter__(self):
            return "client"

        async def __aexit__(self, *_):
            journal.append("-client")

    @stem.task("t")
    async def task(
        plain=Depends(lambda: "plain"),
        generator=Depends(journal.opener("generator")),
        async_generator=Depends(journal.async_opener("async")),
        managed=Depends(manager),
        awaited=Depends(coroutine),
        client=Depends(Client),
    ):
        journal.append("work")
        return [plain, generator, async_generator, managed, awaited, client]

    assert await task() == ["plain", "generator", "async", "manager", "coroutine", "client"]
    assert journal == [
        *("+generator", "+async", "+manager", "work"),
        *("-client", "-manager", "-async", "-generator"),
    ]


async def test_one_call_opens_a_dependency_once_however_deep_it_stands(stem, journal):
    """Nested dependencies share an instance, and each call has its own."""
    pool = journal.opener("pool")

    def session(pool: str = Depends(pool)):
        return f"session of {pool}"

    @stem.task("t")
    async def task(order: int, *, pool: str = Depends(pool), session: str = Depends(session)):
        return order, pool, session

    assert await task(1) == (1, "pool", "session of pool")
    assert await task(order=2) == (2, "pool", "session of pool")
    assert journal == ["+pool", "-pool"] * 2


async def test_factories_get_context_and_settings_by_their_types(stem):
    """The task's own signature does not mention them."""

    def note(ctx: TaskContext, settings: Settings):
        return ctx.task, settings.namespace, TaskContext.current() is ctx

    @stem.task("orders.note")
    async def task(found=Depends(note)):
        return found

    assert await task() == ("orders.note", "stem", True)


async def test_factories_can_ask_for_arguments_of_the_task(stem):
    """``CallArgument`` declares this."""

    def load(order: int = CallArgument()):
        return f"order {order}"

    @stem.task("t")
    async def task(order: int, loaded: str = Depends(load)):
        return loaded

    assert await task(7) == "order 7"


async def test_a_plain_call_takes_what_is_given_and_opens_the_rest(stem, journal):
    """This is the shortest way to test a task."""

    @stem.task("t")
    async def task(ctx: TaskContext, a: int, x=Depends(journal.opener("x")), y=Depends(list)):
        return ctx.task, a, x, y

    assert await task(1, x="fake") == ("t", 1, "fake", [])
    assert journal == []


@pytest.mark.parametrize("shared", [Depends, Shared], ids=["depends", "shared"])
async def test_a_replacement_counts_for_the_block_and_wherever_it_is_needed(stem, journal, shared):
    """It also applies below other dependencies, and may be of another kind."""
    pool = journal.opener("pool")

    def session(pool: str = shared(pool)):
        return f"session of {pool}"

    @stem.task("t")
    async def task(session: str = Depends(session)):
        return session

    async def fake():
        return "fake"

    with stem.override(pool, fake):
        assert await task() == "session of fake"
        with stem.override(pool, lambda: "other"):
            assert await task() == "session of other"
        assert await task() == "session of fake"
    assert journal == []
    assert await task() == "session of pool"
    with pytest.raises(TaskDefinitionError, match="has a parameter 'x' without a value"):
        stem.override(pool, lambda x: x).__enter__()


async def test_what_a_task_ends_with_is_seen_by_its_dependencies_and_cannot_be_swallowed(
    stem, journal
):
    """A task without a result has failed, even if a dependency swallows the error."""

    @contextlib.contextmanager
    def greedy():
        with contextlib.suppress(ValueError):
            yield

    @stem.task("t")
    async def task(
        a=Depends(journal.opener("a")), b=Depends(greedy), c=Depends(journal.opener("c"))
    ):
        raise ValueError("the task's")

    with pytest.raises(ValueError, match="the task's"):
        await task()
    assert journal == ["+a", "+c", "!c ValueError", "-c", "-a"]


async def test_an_error_of_opening_names_the_dependency_and_closes_the_others(stem, journal):
    """The task's function is not called."""

    def broken():
        raise ConnectionError("no database")

    @stem.task("t")
    async def task(a=Depends(journal.opener("a")), b=Depends(broken)):
        journal.append("work")

    with pytest.raises(ConnectionError, match="no database") as caught:
        await task()
    assert "while opening the dependency" in caught.value.__notes__[0]
    assert "broken" in caught.value.__notes__[0]
    assert journal == ["+a", "!a ConnectionError", "-a"]


def test_a_plain_function_is_called_with_plain_dependencies_in_its_thread(stem):
    """A connection that belongs to one thread can be used."""

    def connect():
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            yield database

    @stem.task("t")
    def task(number: int, database: sqlite3.Connection = Depends(connect), pool=Shared(object)):
        return database.execute("select ?", (number,)).fetchone()[0], threading.get_ident()

    assert task(5) == (5, threading.get_ident())


def test_a_plain_call_of_a_plain_function_refuses_what_needs_an_event_loop(stem, journal):
    """The error says what to do instead."""
    opener = journal.async_opener("x")

    @stem.task("t")
    def task(x: str = Depends(opener)):
        return x

    with pytest.raises(StemError, match=r"(?s)depends on something asynchronous.*stem.override"):
        task()
    assert task(x="given") == "given"
    with stem.override(opener, lambda: "fake"):
        assert task() == "fake"


def test_dependencies_are_no_arguments(stem):
    """Neither a producer nor a message can set a dependency."""

    @stem.task("t")
    async def task(order: int, x: str = Depends(str), **more: int):
        """Accept any other arguments."""

    arguments = task.definition.arguments
    assert arguments.names == ("order",)
    assert task.prepare(1).args == {"order": 1}
    for attempt in (
        lambda: task.prepare(1, x="mine"),
        lambda: stem.prepare("t", {"order": 1, "x": "mine"}),
        lambda: arguments.unpack({"order": 1, "x": "mine"}),
    ):
        with pytest.raises(ArgumentsError, match=r"x: dependencies .*do not pass"):
            attempt()


def test_an_annotation_declares_a_dependency_too(stem):
    """``Provided`` is then the default, for type checkers."""

    @stem.task("t")
    async def task(x: Annotated[str, Depends(lambda: "x")] = Provided):
        return x

    assert task.prepare().args == {}
    assert asyncio.run(task()) == "x"


def needs_text(text: str):
    raise AssertionError


def takes_context(ctx: TaskContext):
    raise AssertionError


def round_and_round(x=None):
    raise AssertionError


round_and_round.__defaults__ = (Depends(round_and_round),)


async def behind(x=Depends(str), order: int = 0): ...
async def unknown(x=Depends(needs_text)): ...
async def outlives(x=Shared(takes_context)): ...
async def ring(x=Depends(round_and_round)): ...
async def foreign(x=uncalled_for.Depends(str)): ...
async def argument(x=Shared(lambda order=CallArgument(): order)): ...
async def twice(x: Annotated[str, Depends(str)] = Depends(str)): ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (behind, "'order' follows the dependency 'x'; put the dependencies last"),
        (unknown, "'x': its factory needs_text has a parameter 'text' without a value"),
        (outlives, "'x' is Shared and outlives the task, so takes_context cannot take its TaskCon"),
        (ring, "'x' depends on itself: round_and_round → round_and_round"),
        (foreign, "another library's Depends; use Depends and Shared of stem_amqp"),
        (argument, "cannot depend on the task's arguments"),
        (twice, "declares more than one dependency"),
    ],
)
def test_what_cannot_be_opened_is_refused_where_the_task_is_defined(stem, function, problem):
    """The error says what to write instead."""
    with pytest.raises(TaskDefinitionError, match=problem):
        stem.task("t")(function)


@pytest.mark.parametrize("declare", [Depends, Shared])
def test_a_value_is_no_factory(declare):
    """A call such as Depends(open_session()) passes a value."""
    with pytest.raises(ConfigurationError, match="pass the function itself"):
        declare("session")
