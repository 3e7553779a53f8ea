"""Fixtures and markers that tests share: applications on every broker, and private servers."""

import os
import signal
import uuid
from pathlib import Path

import pytest
from broker_slots import Slot
from hypothesis import settings
from spare_namespaces import Borrowed, new_namespace

from stem_amqp import Stem
from stem_amqp.cli.supervision.signal_handlers import STOPPING
from stem_amqp.errors import BackendUnavailableError

pytest_plugins = ["pytester"]

# A busy machine makes an example slow, which is no failure: other tests measure what must be fast
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_configure():
    """Let Ctrl-C reach the programs that tests start, even if pytest itself ignores SIGINT.

    A shell that runs pytest in the background ignores SIGINT for it, and every child inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


SERVERS = {"own_postgres", "private_redis", "stem_broker", "stem_postgres", "stem_redis"}
"""Fixtures that need a server."""
UNIT = Path(__file__).parent / "unit"


def pytest_collection_modifyitems(items):
    """Mark tests by the servers that they need.

    ``-m rabbitmq`` selects the tests that use a RabbitMQ, to run them on another release;
    ``-m in_memory`` those that need no server, to run them with another Python or other releases of
    the dependencies.
    """
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        kinds = [str(value) for value in params.values()]
        if "stem_broker" in item.fixturenames or any("rabbitmq" in kind for kind in kinds):
            item.add_marker("rabbitmq")
        elif not (SERVERS & set(item.fixturenames) or {"redis", "postgres"} & set(kinds)) and (
            item.path.is_relative_to(UNIT) or any("memory" in kind for kind in kinds)
        ):
            item.add_marker("in_memory")


@pytest.fixture(params=["memory", "rabbitmq"])
def broker_url(request):
    """Return the URL of each kind of broker."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return request.getfixturevalue("stem_broker_url")


@pytest.fixture
async def make_stem(request, broker_url):
    """Yield a function that makes applications in one namespace, and clean that up afterwards.

    On RabbitMQ the next test may use the namespace; see `spare_namespaces`. A test marked with
    ``own_namespace`` shares its namespace with no other test.
    """
    made = []

    def make(**values):
        stem = Stem(**{"broker_url": broker_url, "namespace": namespace, **values})
        made.append(stem)
        return stem

    if broker_url.startswith("memory:"):
        namespace = new_namespace()
        yield make
        return
    own = request.node.get_closest_marker("own_namespace") is not None
    borrowed = Borrowed(broker_url, None if own else Slot.held)
    namespace = borrowed.name
    with borrowed.trace:
        yield make
    borrowed.examine(made, request.fixturenames)
    for stem in made:
        stem.reconfigure(backend_url="memory://")  # an error if it is still connected
    await borrowed.clean_up(made)


@pytest.fixture
def stem(make_stem):
    """Return an application on each kind of broker, with results in memory."""
    return make_stem(backend_url=f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def restored_signals():
    """Restore the handlers of the signals that a worker or a supervisor ignores at its end."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def own_postgres():
    """Yield a private PostgreSQL with passwords; a test that stops it must start it again."""
    from stem_amqp.servers.postgres.private import find_programs, private_postgres

    try:
        find_programs()
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    with private_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def private_redis_installed():
    """Check that a private Redis can be started, for tests that stop, fill and kill it."""
    from stem_amqp.errors import BackendUnavailableError
    from stem_amqp.servers.debian_package import install_package
    from stem_amqp.servers.redis.private import find_redis_server

    try:
        find_redis_server()
    except BackendUnavailableError as error:
        if os.environ.get("STEM_TEST_INSTALL") != "1":
            pytest.skip(str(error))
        install_package("redis-server", print)


@pytest.fixture
def private_redis(private_redis_installed):
    """Yield a private Redis, which the test may stop and start."""
    from stem_amqp.servers.redis.private import private_redis

    with private_redis() as server:
        yield server
