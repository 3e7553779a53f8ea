"""Contract of result backends with `keeps_keys`: keys of unique tasks and guarded blocks."""

from __future__ import annotations

import asyncio

import pytest

from stem_amqp.results.base import KeyRecord, ResultBackend
from stem_amqp.testing.backend_contract.sides import Sides


class KeysContract:
    """A key has exactly one owner at a time."""

    async def test_exactly_one_of_many_claimants_of_a_key_wins_and_wins_again(
        self, keys: Sides
    ) -> None:
        """20 claimants in three processes: one winner, which all of them get, the same each time."""
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
        """To the second; and the time starts again when the owner claims again."""
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
        """A late release by a former owner changes nothing, and neither does a second release."""
        await keys.worker.claim_key("k", "a", ttl=60)
        assert not await keys.producer.release_key("k", "b")
        assert await keys.producer.release_key("k", "a")
        assert not await keys.worker.release_key("k", "a")
        assert (await keys.producer.claim_key("k", "b", ttl=60)).owner == "b"
        keys.clock.advance(61)
        assert not await keys.worker.release_key("k", "b")

    async def test_only_its_owner_keeps_a_key_for_longer(self, keys: Sides) -> None:
        """An expired key is not revived, and the key of another owner is not changed."""
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
        """No caller can claim it any more, including its owner; every caller reads the value."""
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

    async def test_a_value_is_swapped_only_for_the_one_that_was_read(self, keys: Sides) -> None:
        """A free key is claimed; a stale value, or another owner, changes nothing."""
        first = await keys.worker.swap_key("k", "a", ttl=60, expected=None, value=b"1\x00\xff")
        assert (first.owner, first.value) == ("a", b"1\x00\xff")
        assert first.remaining == pytest.approx(60, abs=0.01)
        stale = await keys.producer.swap_key("k", "a", ttl=900, expected=None, value=b"2")
        assert (stale.owner, stale.value) == ("a", b"1\x00\xff")
        assert stale.remaining == pytest.approx(60, abs=0.01)
        foreign = await keys.producer.swap_key("k", "b", ttl=900, expected=b"1\x00\xff", value=b"2")
        assert (foreign.owner, foreign.value) == ("a", b"1\x00\xff")
        second = await keys.producer.swap_key("k", "a", ttl=90, expected=b"1\x00\xff", value=b"2")
        assert (second.owner, second.value) == ("a", b"2")
        assert second.remaining == pytest.approx(90, abs=0.01)
        keys.clock.advance(91)
        gone = await keys.worker.swap_key("k", "a", ttl=60, expected=b"2", value=b"3")
        assert (gone.owner, gone.value) == ("a", None)
        again = await keys.worker.swap_key("k", "a", ttl=60, expected=None, value=b"4")
        assert (again.owner, again.value) == ("a", b"4")

    async def test_exactly_one_of_many_swaps_wins(self, keys: Sides) -> None:
        """20 callers in three processes that read the same value, if the backend swaps atomically."""
        backends = [keys.worker, keys.producer, await keys.another()]
        values = [str(number).encode() for number in range(20)]

        async def swaps(expected: bytes | None) -> list[bytes | None]:
            records = await asyncio.gather(
                *(
                    backends[n % 3].swap_key("k", "o", ttl=60, expected=expected, value=value)
                    for n, value in enumerate(values)
                )
            )
            return [record.value for record in records]

        stored = None
        for _ in range(3):
            found = await swaps(stored)
            stored = (await keys.worker.claim_key("k", "o", ttl=60)).value
            assert stored in values
            if type(keys.worker).swap_key is not ResultBackend.swap_key:
                assert set(found) == {stored}
            values = [value + b"+" for value in values]

    async def test_expired_keys_are_purged(self, keys: Sides) -> None:
        """Expired keys count like records, and held ones stay."""
        for number in range(3):
            await keys.worker.claim_key(f"short-{number}", "a", ttl=60)
        await keys.worker.claim_key("long", "a", ttl=6000)
        keys.clock.advance(61)
        assert await keys.producer.purge_expired() == 3
        assert await keys.producer.purge_expired() == 0
        assert (await keys.producer.claim_key("long", "b", ttl=60)).owner == "a"
