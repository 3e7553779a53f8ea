"""Contract of result backends with `limits`: rates and concurrency across workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest

from stem_amqp.durations import Rate
from stem_amqp.limits.base import GRACE, HORIZON, Ask, LimitStore, Verdict, Wanted
from stem_amqp.transport.memory import ManualClock

TEN_A_SECOND = Wanted(key="ten", rate=Rate(count=10, period=1.0))


def one(key: str = "one", concurrency: int = 1) -> Wanted:
    """Return a limit of concurrency."""
    return Wanted(key=key, concurrency=concurrency)


def asks(count: int, *wants: Wanted, name: str = "t", waited: bool = False) -> list[Ask]:
    """Return asks with different tokens for the same limits."""
    return [Ask(token=f"{name}{number}", wants=wants, waited=waited) for number in range(count)]


class LimitSides:
    """Two stores with the same state, as in two processes.

    Args:
        stores: both, open.
        clock: their clock.
    """

    def __init__(self, stores: Sequence[LimitStore], clock: ManualClock) -> None:
        self.first, self.second = stores
        self.clock = clock

    async def one(
        self, token: str, *wants: Wanted, waited: bool = False, lease_ttl: float = 30.0
    ) -> Verdict:
        """Ask for one token, and return the verdict."""
        ask = Ask(token=token, wants=wants, waited=waited)
        (verdict,) = await self.first.ask([ask], lease_ttl=lease_ttl)
        return verdict

    async def later(self, verdict: Verdict) -> None:
        """Let the wait of a verdict pass."""
        self.clock.advance(verdict.wait)


def starts_of(verdicts: Sequence[Verdict]) -> list[float]:
    """Return the granted and reserved starts in their order."""
    return sorted(verdict.at for verdict in verdicts if verdict.reserved)


def most_in(starts: Sequence[float], period: float) -> int:
    """Return the most starts in any period that begins with one of them."""
    return max(sum(begin <= at < begin + period - 1e-5 for at in starts) for begin in starts)


class LimitsContract:
    """A limit holds for all processes together, and a token takes from it once."""

    async def test_starts_are_spread_evenly_and_none_is_beyond_the_rate(
        self, limits: LimitSides
    ) -> None:
        """Ten asks of two processes get ten starts, 0.1 s apart, and the first ones wait least."""
        verdicts = []
        for number in range(10):
            store = (limits.first, limits.second)[number % 2]
            verdicts += await store.ask(asks(1, TEN_A_SECOND, name=f"{number}-"))
        starts = [verdict.at for verdict in verdicts]
        assert all(verdict.reserved for verdict in verdicts)
        assert starts == sorted(starts)
        assert starts[0] == pytest.approx(limits.clock.time(), abs=1e-3)
        assert [after - before for before, after in pairwise(starts)] == pytest.approx(
            [0.1] * 9, abs=1e-4
        )
        assert most_in(starts, 1.0) == 10
        assert [verdict.wait for verdict in verdicts] == pytest.approx(
            [0.1 * number for number in range(10)], abs=1e-3
        )
        assert [verdict.key for verdict in verdicts] == [None] + ["ten"] * 9

    async def test_a_burst_is_allowed_after_a_pause_only(self, limits: LimitSides) -> None:
        """With a burst of 5, five start at once, and the others are spread."""
        wanted = Wanted(key="bursts", rate=Rate(count=10, period=1.0), burst=5)
        verdicts = await limits.first.ask(asks(8, wanted))
        waits = [verdict.wait for verdict in verdicts]
        assert waits == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2, 0.3], abs=1e-3)

    async def test_asking_again_with_a_token_takes_nothing_twice(self, limits: LimitSides) -> None:
        """A reply that was lost costs no start, whichever process asks again, and whenever."""
        first = await limits.first.ask(asks(3, TEN_A_SECOND))
        again = await limits.second.ask(asks(3, TEN_A_SECOND))
        assert [verdict.at for verdict in again] == pytest.approx(
            [verdict.at for verdict in first], abs=1e-4
        )
        limits.clock.advance(0.2)
        assert [verdict.wait for verdict in await limits.first.ask(asks(3, TEN_A_SECOND))] == [
            0
        ] * 3
        (other,) = await limits.first.ask(asks(1, TEN_A_SECOND, name="other"))
        assert other.wait == pytest.approx(0.1, abs=1e-3)

    async def test_a_reserved_start_belongs_to_its_token_until_the_grace_is_over(
        self, limits: LimitSides
    ) -> None:
        """A message that comes back late, but in time, starts at once; after that it asks anew."""
        _, late, too_late = await limits.first.ask(asks(3, TEN_A_SECOND))
        limits.clock.advance(too_late.wait + GRACE - 0.5)
        assert (await limits.one("t2", TEN_A_SECOND)).wait == 0
        assert late.wait < too_late.wait
        limits.clock.advance(1.0)
        await limits.first.ask(asks(1, TEN_A_SECOND, name="busy"))
        assert (await limits.one("t1", TEN_A_SECOND)).wait == pytest.approx(0.1, abs=1e-3)

    async def test_beyond_the_horizon_tokens_come_back_for_their_turn(
        self, limits: LimitSides
    ) -> None:
        """Whoever is first in the queue has its start first, and nobody who comes later is before it."""
        verdicts = await limits.first.ask(asks(100, TEN_A_SECOND))
        reserved = [verdict for verdict in verdicts if verdict.reserved]
        assert len(reserved) == 10 * HORIZON + 1
        waits = [verdict.wait for verdict in verdicts[len(reserved) :]]
        assert waits == sorted(waits)
        assert waits[-1] == pytest.approx(10 - HORIZON / 2, abs=0.2)
        limits.clock.advance(waits[0])
        (new,) = await limits.first.ask(asks(1, TEN_A_SECOND, name="new"))
        back = await limits.one(f"t{len(reserved)}", TEN_A_SECOND, waited=True)
        assert (new.reserved, back.reserved) == (False, True)
        assert back.at == pytest.approx(verdicts[0].at + len(reserved) / 10, abs=0.01)

    async def test_a_changed_rate_holds_for_the_starts_that_are_not_reserved(
        self, limits: LimitSides
    ) -> None:
        """Starts at the old rate are kept, those after them follow the new one."""
        before = await limits.first.ask(asks(5, TEN_A_SECOND))
        faster = Wanted(key="ten", rate=Rate(count=100, period=1.0))
        after = await limits.second.ask(asks(10, faster, name="new"))
        starts = starts_of([*before, *after])
        assert [after - before for before, after in pairwise(starts)] == pytest.approx(
            [0.1] * 5 + [0.01] * 9, abs=1e-4
        )

    async def test_one_key_does_not_delay_the_others(self, limits: LimitSides) -> None:
        """Of ten keys at the same rate one asks a hundred times more: the others have their whole rate."""
        keys = [Wanted(key=f"tenant:{number}", rate=TEN_A_SECOND.rate) for number in range(10)]
        flood = asks(1000, keys[0], name="flood")
        others = [
            Ask(token=f"{wanted.key}-{number}", wants=(wanted,))
            for number in range(10)
            for wanted in keys[1:]
        ]
        verdicts = await limits.first.ask([*flood, *others])
        for wanted in keys[1:]:
            own = [
                verdict.wait
                for ask, verdict in zip([*flood, *others], verdicts, strict=True)
                if ask.wants == (wanted,)
            ]
            assert own == pytest.approx([0.1 * number for number in range(10)], abs=1e-3)

    async def test_no_more_leases_than_the_limit_whoever_asks(self, limits: LimitSides) -> None:
        """20 asks of two processes at once get three leases; all others wait, at different times."""
        answers = await asyncio.gather(
            *(
                (limits.first, limits.second)[number % 2].ask(
                    asks(2, one(concurrency=3), name=f"{number}-")
                )
                for number in range(10)
            )
        )
        verdicts = [verdict for answer in answers for verdict in answer]
        leases = [verdict.lease for verdict in verdicts if verdict.lease is not None]
        assert len(leases) == 3
        waits = sorted(verdict.wait for verdict in verdicts if verdict.lease is None)
        assert 0.2 < waits[0] < 1.0
        assert len({round(wait, 4) for wait in waits}) == 17
        assert not any(verdict.reserved for verdict in verdicts if verdict.lease is None)
        (usage,) = await limits.first.peek(["one"])
        assert (usage.running, usage.waiting > 0) == (3, True)

    async def test_a_released_lease_goes_to_those_that_have_waited(
        self, limits: LimitSides
    ) -> None:
        """A token that has waited goes before a new one, and no lease is lost."""
        holder = await limits.one("holder", one())
        waiting = await limits.one("waiting", one())
        assert holder.lease is not None
        await limits.second.release([holder.lease])
        new = await limits.one("new", one())
        assert (waiting.lease, new.lease) == (None, None)
        limits.clock.advance(waiting.wait)
        back = await limits.one("waiting", one(), waited=True)
        assert back.lease is not None
        await limits.first.release([back.lease])
        await limits.first.release([back.lease])
        limits.clock.advance(new.wait)
        assert (await limits.one("new", one(), waited=True)).wait == 0

    async def test_those_that_never_come_back_hold_nobody_up(self, limits: LimitSides) -> None:
        """A thousand revoked messages that waited for a lease are forgotten within two seconds."""
        (holder, *_) = await limits.first.ask(asks(1000, one()))
        assert holder.lease is not None
        await limits.first.release([holder.lease])
        limits.clock.advance(3)
        assert (await limits.one("new", one())).wait == 0
        behind = await limits.one("behind", one())
        assert 0 < behind.wait < 1

    async def test_asking_again_with_a_token_takes_no_second_lease(
        self, limits: LimitSides
    ) -> None:
        """A reply that was lost costs no place."""
        wanted = one(concurrency=2)
        for store in (limits.first, limits.second):
            (verdict,) = await store.ask(asks(1, wanted))
            assert verdict.wait == 0
            assert verdict.lease is not None
        (usage,) = await limits.first.peek(["one"])
        assert usage.running == 1
        assert (await limits.one("other", wanted)).wait == 0
        assert (await limits.one("third", wanted)).wait > 0

    async def test_a_lease_ends_with_its_ttl_unless_it_is_renewed(self, limits: LimitSides) -> None:
        """The place of a killed worker is free again after the ttl, not before."""
        wanted = one(concurrency=2)
        killed, alive = await limits.first.ask(asks(2, wanted), lease_ttl=30)
        assert killed.lease is not None
        assert alive.lease is not None
        limits.clock.advance(20)
        assert await limits.first.renew([alive.lease], ttl=30) == [True]
        limits.clock.advance(9)
        assert (await limits.one("a", wanted)).lease is None
        limits.clock.advance(2)
        assert (await limits.one("a", wanted, waited=True)).lease is not None
        assert (await limits.one("b", wanted, waited=True)).lease is None

    async def test_renewing_a_lease_that_has_ended_takes_it_again(self, limits: LimitSides) -> None:
        """Its task runs in any case, and is counted, even beyond the limit."""
        first = await limits.one("first", one(), lease_ttl=5)
        assert first.lease is not None
        limits.clock.advance(6)
        assert (await limits.one("second", one())).wait == 0
        assert await limits.first.renew([first.lease]) == [False]
        assert await limits.second.renew([first.lease]) == [True]
        (usage,) = await limits.first.peek(["one"])
        assert usage.running == 2

    async def test_waits_follow_the_duration_of_runs(self, limits: LimitSides) -> None:
        """After short runs the tokens ask at short intervals, and half a second is the longest."""
        for duration, longest in ((0.05, 0.02), (60, 0.51)):
            wanted = one(f"runs-{duration}")
            for number in range(3):
                verdict = await limits.one(f"{number}", wanted, lease_ttl=90)
                assert verdict.lease is not None
                limits.clock.advance(duration)
                await limits.first.release([verdict.lease])
            holder, *waiting = await limits.first.ask(asks(10, wanted))
            assert holder.wait == 0
            spaces = [after.wait - before.wait for before, after in pairwise(waiting)]
            assert max(spaces) < longest
            (usage,) = await limits.first.peek([wanted.key])
            assert usage.mean_duration == pytest.approx(duration, rel=0.01)

    async def test_of_several_limits_all_are_taken_or_none(self, limits: LimitSides) -> None:
        """A token without a lease takes no start and no other lease."""
        wants = (TEN_A_SECOND, one("a", 2), one("b"))
        holder = await limits.one("holder", one("b"))
        assert holder.lease is not None
        for verdict in await limits.first.ask(asks(5, *wants)):
            assert (verdict.lease, verdict.reserved, verdict.key) == (None, False, "b")
        usages = await limits.first.peek(["ten", "a", "b"])
        assert [usage.running for usage in usages] == [0, 0, 1]
        assert usages[0].backlog == 0
        await limits.first.release([holder.lease])
        limits.clock.advance(1)
        granted = await limits.one("t0", *wants, waited=True)
        assert (granted.wait, granted.reserved) == (0, True)
        assert granted.lease is not None
        assert set(granted.lease.keys) == {"a", "b"}
        await limits.first.release([granted.lease])
        assert [usage.running for usage in await limits.first.peek(["a", "b"])] == [0, 0]

    async def test_a_start_that_must_wait_holds_no_lease(self, limits: LimitSides) -> None:
        """The start is reserved, and the lease is taken when it has come."""
        wants = (TEN_A_SECOND, one("a", 5))
        first, second = await limits.first.ask(asks(2, *wants))
        assert first.lease is not None
        assert (second.lease, second.reserved, second.key) == (None, False, "ten")
        assert second.wait == pytest.approx(0.1, abs=1e-3)
        await limits.later(second)
        again = await limits.one("t1", *wants, waited=True)
        assert again.wait == 0
        assert again.lease is not None

    async def test_of_several_rates_only_the_scarcest_is_reserved(self, limits: LimitSides) -> None:
        """A tenant that floods takes from the common limit no more than its own rate allows."""
        common = Wanted(key="common", rate=Rate(count=100, period=1.0))
        tenant = Wanted(key="tenant", rate=Rate(count=1, period=1.0))
        flood = await limits.first.ask(asks(4, tenant, common, name="flood"))
        assert [verdict.wait for verdict in flood] == pytest.approx(list(range(4)), abs=0.01)
        (other,) = await limits.first.ask(asks(1, common, name="other"))
        assert other.wait == pytest.approx(0.01, abs=1e-3)
        limits.clock.advance(1)
        back = await limits.one("flood1", tenant, common, waited=True)
        assert (back.wait, back.reserved) == (0, True)

    async def test_an_ask_without_limits_starts_at_once(self, limits: LimitSides) -> None:
        """Nothing is taken, and a batch may be empty."""
        verdict = await limits.one("free")
        assert (verdict.wait, verdict.reserved, verdict.lease) == (0, True, None)
        assert await limits.first.ask([]) == []
        assert await limits.first.renew([]) == []
        await limits.first.release([])
        assert await limits.first.peek([]) == []

    async def test_limits_in_use_are_found_and_idle_ones_leave_nothing(
        self, limits: LimitSides
    ) -> None:
        """A prefix selects limits; what nobody uses disappears."""
        await limits.first.ask(asks(20, Wanted(key="crm:acme", rate=Rate(count=1, period=1.0))))
        await limits.first.ask(asks(2, one("crm:%_*?", 2)))
        await limits.first.ask(asks(1, one("mail")))
        found = await limits.second.find("crm:")
        assert [usage.key for usage in found] == ["crm:%_*?", "crm:acme"]
        assert [usage.running for usage in found] == [2, 0]
        assert found[1].backlog == pytest.approx(20, abs=0.1)
        assert found[1].waiting in {18, 19}
        assert [usage.key for usage in await limits.second.find("crm:%")] == ["crm:%_*?"]
        assert [usage.key for usage in await limits.second.find(limit=2)] == [
            "crm:%_*?",
            "crm:acme",
        ]
        limits.clock.advance(3600)
        assert await limits.second.find() == []
        unknown, idle = await limits.first.peek(["unknown", "mail"])
        assert (unknown.running, unknown.backlog, unknown.mean_duration) == (0, 0, None)
        assert (idle.running, idle.waiting) == (0, 0)
