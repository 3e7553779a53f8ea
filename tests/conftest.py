"""What tests of the whole application share: applications on every broker, and waiting."""

import os
import signal
import uuid

import pytest

from stem_amqp import Stem
from stem_amqp.assembly import entities_of
from stem_amqp.errors import BackendUnavailableError

pytest_plugins = ["pytester"]


def pytest_configure():
    """Let Ctrl-C reach the programs that tests start, also where pytest itself must not hear it.

    A shell that runs it in the background has SIGINT ignored, and every child inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Mark what talks to a RabbitMQ, so that ``-m rabbitmq`` runs it alone on another release."""
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        kinds = [str(value) for value in params.values()]
        if "stem_broker" in item.fixturenames or any("rabbitmq" in kind for kind in kinds):
            item.add_marker("rabbitmq")


@pytest.fixture(params=["memory", "rabbitmq"])
def broker_url(request):
    """The URL of each kind of broker."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return request.getfixturevalue("stem_broker_url")


@pytest.fixture
async def make_stem(broker_url):
    """Make applications with a namespace of their own, and remove it from the broker afterwards."""
    made = []
    namespace = f"t-{uuid.uuid4().hex[:8]}"

    def make(**values):
        stem = Stem(**{"broker_url": broker_url, "namespace": namespace, **values})
        made.append(stem)
        return stem

    yield make
    if broker_url.startswith("memory:"):
        return
    for stem in made:
        stem.settings = stem.settings.replace(provision="none", backend_url="memory://")
        async with stem:
            await stem.connected.transport.delete(entities_of(stem))


@pytest.fixture
def stem(make_stem):
    """An application on each kind of broker, with results in memory."""
    return make_stem(backend_url=f"memory://{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def own_postgres():
    """A PostgreSQL of our own, with passwords, which a test may stop if it starts it again."""
    from stem_amqp.testing.private_postgres import find_programs, private_postgres

    try:
        find_programs()
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    with private_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def private_redis_installed():
    """Make sure that a Redis of one's own can be started, to be stopped, filled and killed."""
    from stem_amqp.errors import BackendUnavailableError
    from stem_amqp.testing.debian_package import install_package
    from stem_amqp.testing.private_redis import find_redis_server

    try:
        find_redis_server()
    except BackendUnavailableError as error:
        if os.environ.get("STEM_TEST_INSTALL") != "1":
            pytest.skip(str(error))
        install_package("redis-server", print)


@pytest.fixture
def private_redis(private_redis_installed):
    """Give a Redis of the test's own, which it may stop and start."""
    from stem_amqp.testing.private_redis import private_redis

    with private_redis() as server:
        yield server
