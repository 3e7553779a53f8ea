"""Fixtures that several integration tests share."""

import uuid
from contextlib import ExitStack

import pytest
from cli_support import command_line
from support import remove_keys

from stem_amqp.servers.rabbitmq.private import private_rabbitmq
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names


@pytest.fixture(scope="session")
def managed(stem_broker):
    """Yield the URLs of a broker and its management API: the session's broker, or a private one."""
    with ExitStack() as stack:
        url, management_url = stem_broker.url, stem_broker.management_url
        if management_url is None:
            node = stack.enter_context(private_rabbitmq(management=True))
            url, management_url = node.url, node.management_url
        yield url, management_url


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def stem_with_keys(request, make_stem, tmp_path):
    """Yield an application on each kind of broker, with each of three backends that keep keys."""
    if request.param == "redis":
        url = request.getfixturevalue("stem_redis_url")
    else:
        sqlite = f"sqlite:///{tmp_path}/results.db"
        url = sqlite if request.param == "sqlite" else f"memory://{uuid.uuid4().hex}"
    stem = make_stem(backend_url=url)
    yield stem
    if request.param == "redis":
        await remove_keys(url, stem.settings.namespace)


@pytest.fixture
def cli_on_rabbitmq(capsys, monkeypatch, tmp_path, stem_broker_url, stem_namespace):
    """Yield a command line in an empty directory, with a namespace that is deleted afterwards."""
    entities = compile_topology(Topology.default(), Names(stem_namespace.name), ["orders"])
    stem_namespace.delete_later(
        exchanges=[exchange.name for exchange in entities.exchanges],
        queues=[queue.name for queue in entities.queues],
    )
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        monkeypatch.setenv("STEM_BROKER_URL", stem_broker_url)
        monkeypatch.setenv("STEM_NAMESPACE", stem_namespace.name)
        yield cli
