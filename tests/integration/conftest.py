"""What several of the integration tests need of a broker."""

from contextlib import ExitStack

import pytest

from stem_amqp.testing.private_rabbitmq import private_rabbitmq


@pytest.fixture(scope="session")
def managed(stem_broker):
    """A broker's URL and its management API's: the session's, or a private one with the plugin."""
    with ExitStack() as stack:
        url, management_url = stem_broker.url, stem_broker.management_url
        if management_url is None:
            node = stack.enter_context(private_rabbitmq(management=True))
            url, management_url = node.url, node.management_url
        yield url, management_url
