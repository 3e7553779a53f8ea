"""Fixtures of the fault tests: a private node, crews on it, and the table of their counts."""

import contextlib
import os

import pytest
from faults.harness.account import table
from faults.harness.crew import crew_on
from faults.harness.node import installed_version, private_node

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.debian_package import install_package
from stem_amqp.servers.rabbitmq.private import SERVER_VARIABLE, find_programs

TALLIES = []
SOONER = "{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 15000}]}"
"""The advice of docs/outages.md: repeat an unconfirmed dead letter sooner than after 180 s.

A starting node dead-letters due messages before every work queue has a leader, and gets no confirm
for those."""


def pytest_collection_modifyitems(items):
    """Mark the tests that add to the account, so that ``-m account`` prints the whole table."""
    for item in items:
        if "account" in getattr(item, "fixturenames", ()):
            item.add_marker("account")


def pytest_terminal_summary(terminalreporter):
    """Print the account of each fault as a table in Markdown."""
    if TALLIES:
        terminalreporter.section(f"what became of every task, RabbitMQ {installed_version()}")
        terminalreporter.write_line(table(TALLIES))


@pytest.fixture(scope="session")
def rabbitmq_installed():
    """Check that private nodes can be started."""
    try:
        find_programs()
    except BrokerUnavailableError as error:
        if SERVER_VARIABLE in os.environ:
            raise
        if os.environ.get("STEM_TEST_INSTALL") != "1":
            pytest.skip(str(error))
        install_package("rabbitmq-server", print)


@pytest.fixture(scope="session")
def broken_node(rabbitmq_installed):
    """Yield one node for all tests that break nodes, in the state that the last test left."""
    with private_node(advanced=SOONER) as node:
        yield node


@pytest.fixture
def node(broken_node):
    """Return a running node, which the test may break."""
    if not broken_node.answers():
        broken_node.kill()
        broken_node.start()
    return broken_node


@pytest.fixture
def make_crew(node, tmp_path):
    """Yield a function that makes crews on the node."""
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: node.answers() or (node.kill(), node.start()))

        def make(fault, **options):
            crew = stack.enter_context(crew_on(fault, tmp_path, node.url, **options))
            stack.callback(lambda: print(crew.log()[-5000:]))  # shown if the test fails
            return crew

        yield make


@pytest.fixture
def account():
    """Return a function that adds a tally to the table, and fails if a task is lost."""

    def account(tally):
        TALLIES.append(tally)
        print(tally, tally.refused)
        assert tally.acknowledged > 0
        assert not tally.lost, f"lost: {sorted(tally.lost)[:20]}"
        return tally

    return account
