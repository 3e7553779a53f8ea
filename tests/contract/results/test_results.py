"""The public suite for result backends, run on ours, and further promises of ours."""

import uuid
from collections import Counter

import pytest
import spoiled

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.factory import create
from stem_amqp.testing.backend_contract import BackendContract
from stem_amqp.topology.names import Names


class TestBackends(BackendContract):
    """Our own backends pass the suite for other backends."""

    @pytest.fixture
    def sides(self, sides):
        """Return both sides of each kind of backend."""
        return sides

    @pytest.fixture
    def spoils(self, sides, kind, store_url):
        """Return content that other programs may have written to the store."""
        if kind == "redis":
            return spoiled.of_redis(store_url, sides.namespace)
        if kind == "postgresql":
            return spoiled.of_postgres(store_url, sides.namespace)
        if kind == "sqlite":
            return spoiled.of_sqlite(store_url.removeprefix("sqlite:///"))
        return pytest.skip(f"no other program can write into {kind}")


def test_no_test_of_the_suite_hides_another():
    """The parts of the suite are inherited together, so each name is used once."""
    names = Counter(
        name for part in BackendContract.__mro__ for name in vars(part) if name.startswith("test_")
    )
    assert len(names) > 50
    assert [name for name, number in names.items() if number > 1] == []


@pytest.mark.parametrize("kind", ["redis", "postgresql"], indirect=True)
async def test_two_namespaces_in_one_store_have_keys_of_their_own(sides, store_url, brokers):
    """One environment does not block another one."""
    await sides.worker.claim_key("k", "a", ttl=60)
    other = create(
        store_url,
        clock=sides.clock,
        transport=await brokers.transport(),
        names=Names(f"t-{uuid.uuid4().hex[:8]}"),
        ttl=60,
    )
    await other.open()
    try:
        assert (await other.claim_key("k", "b", ttl=60)).owner == "b"
        assert await other.release_key("k", "b")
        assert (await sides.producer.claim_key("k", "c", ttl=60)).owner == "a"
    finally:
        await other.close()


async def test_our_backends_either_store_everything_or_name_those_that_do(sides, kind):
    """Attributes name the abilities of a backend; it refuses the others with the remedy."""
    stores = not kind.startswith("rpc")
    for backend in (sides.producer, sides.worker):
        assert (backend.keeps_states, backend.keeps_keys, backend.lists_tasks) == (stores,) * 3
        assert backend.needs_reply is not stores
    if stores:
        return
    for asking in (
        sides.producer.claim_key("k", "a", ttl=60),
        sides.worker.keep_key("k", "a", ttl=60),
        sides.worker.swap_key("k", "a", ttl=60, expected=None, value=b"1"),
        sides.worker.release_key("k", "a"),
        sides.producer.list_tasks(),
        sides.worker.count_tasks(),
    ):
        with pytest.raises(ConfigurationError, match=r"(?s)redis://.*postgresql://.*sqlite:///"):
            await asking
