"""Contract of every result backend: groups to which members are added."""

from __future__ import annotations

import asyncio

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.testing.backend_contract.groups import counts, known, reported, succeeded
from stem_amqp.testing.backend_contract.sides import Sides


class OpenGroupsContract:
    """Members can be added to an open group, until it is sealed."""

    async def test_an_open_group_grows_and_is_complete_once_it_is_sealed(
        self, sides: Sides
    ) -> None:
        """Additions give indexes that follow each other; an open group is never complete."""
        group_id = await sides.group(0, sealed=False, plan=b"plan")
        assert await sides.worker.expand_group(group_id, 2, addition="a") == 0
        assert await sides.producer.expand_group(group_id, 1, addition="b") == 2
        after = await reported(sides.worker, succeeded(group_id, 0, 1, 2))
        assert counts(after)[-1] == (3, 0, False)
        assert await sides.worker.claim_group(group_id, "early") is False
        for backend in (sides.producer, sides.worker):
            assert (await backend.seal_group(group_id)).complete
        group = await known(sides.worker, group_id)
        assert (group.size, group.sealed, group.plan) == (3, True, b"plan")
        assert await sides.worker.claim_group(group_id, "a") is True

    async def test_the_same_addition_adds_once(self, sides: Sides) -> None:
        """A repeated addition returns its indexes again, also after others, and after the seal."""
        group_id = await sides.group(5, sealed=False)
        assert await sides.worker.expand_group(group_id, 3, addition="a") == 5
        assert await sides.worker.expand_group(group_id, 1, addition="b") == 8
        assert await sides.producer.expand_group(group_id, 3, addition="a") == 5
        await sides.worker.seal_group(group_id)
        assert await sides.producer.expand_group(group_id, 1, addition="b") == 8
        assert (await known(sides.worker, group_id)).size == 9

    async def test_nothing_is_added_to_a_sealed_group(self, sides: Sides) -> None:
        """Who completes a group must know its size; the error says what to do."""
        group_id = await sides.group(1)
        with pytest.raises(ConfigurationError, match=f"(?s){group_id}.*sealed.*before"):
            await sides.worker.expand_group(group_id, 1, addition="a")
        group_id = await sides.group(1, sealed=False)
        with pytest.raises(ConfigurationError, match="at least 1"):
            await sides.worker.expand_group(group_id, 0, addition="a")

    async def test_an_open_group_can_be_created_again_after_it_has_grown(
        self, sides: Sides
    ) -> None:
        """Its creator may repeat the creation while others add members already."""
        group_id = await sides.group(0, sealed=False)
        await sides.worker.expand_group(group_id, 2, addition="a")
        await sides.producer.create_group(group_id, 0, ttl=500, sealed=False)
        assert (await known(sides.worker, group_id)).size == 2
        with pytest.raises(ConfigurationError):
            await sides.producer.create_group(group_id, 1, ttl=500)

    async def test_concurrent_additions_never_share_an_index(self, sides: Sides) -> None:
        """Members can be added in many processes at once, also the same ones."""
        group_id = await sides.group(0, sealed=False)
        backends = [sides.worker, sides.producer, await sides.another()]
        firsts = await asyncio.gather(
            *(backends[n % 3].expand_group(group_id, 2, addition=f"t-{n % 6}") for n in range(12))
        )
        assert firsts[:6] == firsts[6:]
        assert sorted(firsts[:6]) == list(range(0, 12, 2))
        assert (await known(sides.worker, group_id)).size == 12
