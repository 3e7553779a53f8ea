"""What every result backend does: the suite that is public, for ours, and what only ours promise."""

import uuid
from collections import Counter

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.factory import create
from stem_amqp.testing.backend_contract import BackendContract
from stem_amqp.topology.names import Names


class TestBackends(BackendContract):
    """Our own backends are what we ask of those of others."""

    @pytest.fixture
    def sides(self, sides):
        """Give both sides of each kind of backend."""
        return sides


def test_no_test_of_the_suite_hides_another():
    """Its parts are inherited together, so each name is used once."""
    names = Counter(
        name for part in BackendContract.__mro__ for name in vars(part) if name.startswith("test_")
    )
    assert len(names) > 50
    assert [name for name, number in names.items() if number > 1] == []


@pytest.mark.parametrize("kind", ["redis", "postgresql"], indirect=True)
async def test_two_namespaces_in_one_store_have_keys_of_their_own(sides, store_url, brokers):
    """An environment does not block another one."""
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
    """What a backend can do stands in its attributes; the rest it refuses with the remedy."""
    stores = not kind.startswith("rpc")
    for backend in (sides.producer, sides.worker):
        assert (backend.keeps_states, backend.keeps_keys, backend.lists_tasks) == (stores,) * 3
        assert backend.needs_reply is not stores
    if stores:
        return
    for asking in (
        sides.producer.claim_key("k", "a", ttl=60),
        sides.worker.keep_key("k", "a", ttl=60),
        sides.worker.release_key("k", "a"),
        sides.producer.list_tasks(),
        sides.worker.count_tasks(),
    ):
        with pytest.raises(ConfigurationError, match=r"(?s)redis://.*postgresql://.*sqlite:///"):
            await asking
