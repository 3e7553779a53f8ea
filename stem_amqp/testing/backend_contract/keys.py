"""What result backends that keep keys do with those of unique tasks and guarded blocks."""

from __future__ import annotations

import asyncio

import pytest

from stem_amqp.results.base import KeyRecord
from stem_amqp.testing.backend_contract.sides import Sides


class KeysContract:
    """A key has exactly one owner at a time."""

    async def test_exactly_one_of_many_claimants_of_a_key_wins_and_wins_again(
        self, keys: Sides
    ) -> None:
        """20 claimants in three processes: one winner, whom everybody is told, the same each time."""
        backends = [keys.worker, keys.producer, await keys.another()]

        async def claims() -> list[KeyRecord]:
            return await asyncio.gather(
                *(backends[n % 3].claim_key("k", f"claimant-{n}", ttl=60) for n in range(20))
            )

        first = await claims()
        assert len({claim.owner for claim in first}) == 1
        assert first[0].owner in {f"claimant-{n}" for n in range(20)}
        assert {claim.value for claim in first} == {None}
        assert [claim.owner for claim in await claims()] == [claim.owner for claim in first]

    async def test_a_key_is_free_again_when_its_time_has_passed(self, keys: Sides) -> None:
        """To the second; and the time of the owner begins anew when it asks again."""
        assert (await keys.worker.claim_key("k", "a", ttl=60)).owner == "a"
        keys.clock.advance(40)
        held = await keys.producer.claim_key("k", "b", ttl=60)
        assert held.owner == "a"
        assert held.remaining == pytest.approx(20, abs=0.01)
        assert (await keys.worker.claim_key("k", "a", ttl=60)).remaining == pytest.approx(
            60, abs=0.01
        )
        keys.clock.advance(59)
        assert (await keys.producer.claim_key("k", "b", ttl=60)).owner == "a"
        keys.clock.advance(1)
        assert (await keys.producer.claim_key("k", "b", ttl=60)).owner == "b"
        assert (await keys.worker.claim_key("k", "a", ttl=60)).owner == "b"

    async def test_only_its_owner_releases_a_key(self, keys: Sides) -> None:
        """A late release of somebody who lost it changes nothing; a second one neither."""
        await keys.worker.claim_key("k", "a", ttl=60)
        assert not await keys.producer.release_key("k", "b")
        assert await keys.producer.release_key("k", "a")
        assert not await keys.worker.release_key("k", "a")
        assert (await keys.producer.claim_key("k", "b", ttl=60)).owner == "b"
        keys.clock.advance(61)
        assert not await keys.worker.release_key("k", "b")

    async def test_only_its_owner_keeps_a_key_for_longer(self, keys: Sides) -> None:
        """What has expired is not brought back, and what is another's is not touched."""
        await keys.worker.claim_key("k", "a", ttl=60)
        assert not await keys.producer.keep_key("k", "b", ttl=600)
        assert await keys.worker.keep_key("k", "a", ttl=600)
        keys.clock.advance(599)
        assert (await keys.producer.claim_key("k", "b", ttl=60)).owner == "a"
        keys.clock.advance(1)
        assert not await keys.worker.keep_key("k", "a", ttl=600)
        assert not await keys.worker.keep_key("unknown", "a", ttl=600)

    async def test_a_key_with_a_value_is_settled_until_its_time_has_passed(
        self, keys: Sides
    ) -> None:
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

    async def test_expired_keys_are_purged(self, keys: Sides) -> None:
        """They count like records, and what is held stays."""
        for number in range(3):
            await keys.worker.claim_key(f"short-{number}", "a", ttl=60)
        await keys.worker.claim_key("long", "a", ttl=6000)
        keys.clock.advance(61)
        assert await keys.producer.purge_expired() == 3
        assert await keys.producer.purge_expired() == 0
        assert (await keys.producer.claim_key("long", "b", ttl=60)).owner == "a"
