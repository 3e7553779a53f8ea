"""Every code block of README.md and of docs/ is a test; `tests/documented` says how each is run."""

import gc
import os
from collections.abc import Callable, Iterator

import pytest
from broker_slots import (
    FOLDER,
    Slot,
    broker_slot,
    close_slots,
    keeps_spare,
    open_slots,
    shares_broker,
)
from documented.blocks import sybil
from hypothesis import given, settings
from hypothesis.strategies import none
from session_broker import SessionBroker, use_session_broker

BROKER = pytest.StashKey[SessionBroker]()
"""The broker of the session, in the process that starts the others."""

pytest_collect_file = sybil.pytest()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let few tests at a time use the broker that all share; the wait is no part of a test's time."""
    if not shares_broker(item):
        return (yield)
    with broker_slot(keeps=keeps_spare(item)):
        return (yield)


def pytest_collection_finish() -> None:
    """Exempt modules and collected tests from garbage collection: each pass over them takes 0.1 s."""
    # Hypothesis looks for what refers to its random numbers when it makes them, in the first test of a
    # process, and warns if it finds nothing; so it makes them before all of that is exempt
    settings(max_examples=1, database=None)(given(none())(lambda _: None))()
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Open the slots and offer a broker, in the process that starts the others."""
    if not hasattr(config, "workerinput"):
        open_slots()
        config.stash[BROKER] = SessionBroker(
            os.environ[FOLDER],
            _reporter(config),
            starts=bool(config.getoption("numprocesses", None)),  # an option of pytest-xdist
        )


def _reporter(config: pytest.Config) -> Callable[[str], None]:
    def report(line: str) -> None:
        terminal = config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"stem-amqp: {line}")

    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Take the broker of the session before the fixtures look for one."""
    if not session.config.option.collectonly:
        use_session_broker(os.environ[FOLDER], session)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the slots and the broker after the last test of all processes."""
    broker = config.stash.get(BROKER, None)
    if broker is not None:
        broker.stop_answering()
        close_slots(except_on=broker.ends_with_session)
        broker.close()


@pytest.fixture(scope="session")
def rabbitmq_url(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Give a block the way to a RabbitMQ, which is looked for only if it is called."""

    def find() -> str:
        if Slot.held is not None:
            Slot.held.make_room()  # the block may declare a namespace
        return str(request.getfixturevalue("stem_broker_url"))

    return find
