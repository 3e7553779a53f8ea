"""Every code block of README.md and of docs/ is a test; `tests/documented` says how each is run."""

from collections.abc import Callable

import pytest
from documented.blocks import sybil

pytest_collect_file = sybil.pytest()


@pytest.fixture(scope="session")
def rabbitmq_url(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Give a block the way to a RabbitMQ, which is looked for only if it is called."""
    return lambda: request.getfixturevalue("stem_broker_url")
