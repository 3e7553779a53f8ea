"""What every result backend that stores does with the keys of unique tasks and guarded blocks."""

import asyncio
import uuid

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.factory import create
from stem_amqp.topology.names import Names


@pytest.fixture
async def keys(sides):
    """Give both sides of each backend that keeps keys."""
    if not sides.stores:
        pytest.skip("rpc:// stores nothing")
    return sides


async def test_exactly_one_of_many_claimants_wins_and_wins_again(keys):
    """20 claimants in three processes: one winner, whom everybody is told, the same each time."""
    backends = [keys.worker, keys.producer, await keys.another()]

    async def claims():
        return await asyncio.gather(
            *(backends[n % 3].claim_key("k", f"claimant-{n}", ttl=60) for n in range(20))
        )

    first = await claims()
    assert len({claim.owner for claim in first}) == 1
    assert first[0].owner in {f"claimant-{n}" for n in range(20)}
    assert {claim.value for claim in first} == {None}
    assert [claim.owner for claim in await claims()] == [claim.owner for claim in first]


async def test_a_key_is_free_again_when_its_time_has_passed(keys):
    """To the second; and the time of the owner begins anew when it asks again."""
    assert (await keys.worker.claim_key("k", "a", ttl=60)).owner == "a"
    keys.clock.advance(40)
    held = await keys.producer.claim_key("k", "b", ttl=60)
    assert (held.owner, held.remaining) == ("a", pytest.approx(20, abs=0.01))
    assert (await keys.worker.claim_key("k", "a", ttl=60)).remaining == pytest.approx(60, abs=0.01)
    keys.clock.advance(59)
    assert (await keys.producer.claim_key("k", "b", ttl=60)).owner == "a"
    keys.clock.advance(1)
    assert (await keys.producer.claim_key("k", "b", ttl=60)).owner == "b"
    assert (await keys.worker.claim_key("k", "a", ttl=60)).owner == "b"


async def test_only_its_owner_releases_a_key(keys):
    """A late release of somebody who lost it changes nothing; a second one neither."""
    await keys.worker.claim_key("k", "a", ttl=60)
    assert not await keys.producer.release_key("k", "b")
    assert await keys.producer.release_key("k", "a")
    assert not await keys.worker.release_key("k", "a")
    assert (await keys.producer.claim_key("k", "b", ttl=60)).owner == "b"
    keys.clock.advance(61)
    assert not await keys.worker.release_key("k", "b")


async def test_only_its_owner_keeps_a_key_for_longer(keys):
    """What has expired is not brought back, and what is another's is not touched."""
    await keys.worker.claim_key("k", "a", ttl=60)
    assert not await keys.producer.keep_key("k", "b", ttl=600)
    assert await keys.worker.keep_key("k", "a", ttl=600)
    keys.clock.advance(599)
    assert (await keys.producer.claim_key("k", "b", ttl=60)).owner == "a"
    keys.clock.advance(1)
    assert not await keys.worker.keep_key("k", "a", ttl=600)
    assert not await keys.worker.keep_key("unknown", "a", ttl=600)


async def test_a_key_with_a_value_is_settled_until_its_time_has_passed(keys):
    """Nobody wins it any more, not even its owner; everybody reads the value."""
    await keys.worker.claim_key("k", "a", ttl=60)
    value = b'{"charge": "\xc3\xa9"}'
    assert await keys.worker.keep_key("k", "a", ttl=600, value=value)
    assert await keys.worker.keep_key("k", "a", ttl=600)  # without one, the value stays
    for owner in ("a", "b"):
        claim = await keys.producer.claim_key("k", owner, ttl=9000)
        assert (claim.owner, claim.value) == ("a", value)
        assert claim.remaining == pytest.approx(600, abs=0.01)
    keys.clock.advance(600)
    claim = await keys.producer.claim_key("k", "b", ttl=60)
    assert (claim.owner, claim.value) == ("b", None)


async def test_expired_keys_are_purged(keys):
    """They count like records, and what is held stays."""
    for number in range(3):
        await keys.worker.claim_key(f"short-{number}", "a", ttl=60)
    await keys.worker.claim_key("long", "a", ttl=6000)
    keys.clock.advance(61)
    assert await keys.producer.purge_expired() == 3
    assert await keys.producer.purge_expired() == 0
    assert (await keys.producer.claim_key("long", "b", ttl=60)).owner == "a"


@pytest.mark.parametrize("kind", ["redis", "postgresql"], indirect=True)
async def test_two_namespaces_in_one_store_have_keys_of_their_own(keys, store_url, brokers):
    """An environment does not block another one."""
    await keys.worker.claim_key("k", "a", ttl=60)
    other = create(
        store_url,
        clock=keys.clock,
        transport=await brokers.transport(),
        names=Names(f"t-{uuid.uuid4().hex[:8]}"),
        ttl=60,
    )
    await other.open()
    try:
        assert (await other.claim_key("k", "b", ttl=60)).owner == "b"
        assert await other.release_key("k", "b")
        assert (await keys.producer.claim_key("k", "c", ttl=60)).owner == "a"
    finally:
        await other.close()


async def test_a_backend_that_stores_nothing_names_those_that_do(sides):
    """Whoever uses rpc:// learns what to set."""
    if sides.stores:
        pytest.skip("this one stores")
    for asking in (
        sides.producer.claim_key("k", "a", ttl=60),
        sides.worker.keep_key("k", "a", ttl=60),
        sides.worker.release_key("k", "a"),
    ):
        with pytest.raises(ConfigurationError, match=r"(?s)redis://.*postgresql://.*sqlite:///"):
            await asking
