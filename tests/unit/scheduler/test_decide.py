"""What a leader publishes and withdraws, as a pure function."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_amqp.scheduler.decide import HORIZON, MARGIN, MOST_AT_ONCE, decide, next_at
from stem_amqp.scheduler.state import KEPT, ScheduleState
from stem_amqp.schedules import Cron, Every, Misfire, Schedule

NOW = 1_800_000_000.0
SECOND = Schedule(name="s", task="t", timing=Every(1.0))


def look(schedule=SECOND, state=None, *, now=NOW, alive=None, version="1", paused=False):
    """Decide, and return the decision with the state after it."""
    alive = now if alive is None else alive
    found = decide(schedule, state, now=now, alive=alive, fingerprint=version, paused=paused)
    return found, found.after(len(found.publish), now)


def times(decision):
    """Return the times of what is published, from now."""
    return [tick.at - NOW for tick in decision.publish]


def test_a_new_schedule_begins_now_and_is_published_to_the_horizon():
    """Nothing of the past runs, and the next look goes on where this one ended."""
    first, state = look()
    assert times(first) == [float(n) for n in range(1, 11)]
    assert first.publish[0].id == "s@2027-01-15T08:00:01.000Z"
    assert (first.withdraw, first.missed) == ((), 0)
    again, same = look(state=state)
    assert (again.publish, same) == ((), state)
    later, _ = look(state=state, now=NOW + 2.5)
    assert times(later) == [11.0, 12.0]


@pytest.mark.parametrize(
    ("misfire", "run", "missed"),
    [
        (Misfire("skip"), list(range(-59, 11)), 540),
        (Misfire("once"), [-60, *range(-59, 11)], 539),
        (Misfire("all", limit=3), [-62, -61, -60, *range(-59, 11)], 537),
        (Misfire("all", limit=10_000), list(range(-599, 11)), 0),
        (Misfire("skip", grace=0.0), list(range(1, 11)), 600),
    ],
)
def test_a_downtime_ends_as_the_policy_says(misfire, run, missed):
    """Ticks within the grace run in any case; of the others as many as the policy says, and the rest is counted."""
    schedule = replace(SECOND, misfire=misfire)
    decision, state = look(schedule, ScheduleState(last=NOW - 600, fingerprint="1"))
    assert times(decision) == [float(n) for n in run]
    assert (decision.missed, state.missed) == (missed, missed)
    assert bool(state.missed_at) == bool(missed)
    again, _ = look(schedule, state)
    assert (again.publish, again.missed) == ((), 0)


@pytest.mark.parametrize(
    ("down", "up", "policy", "runs"),
    [
        (
            "2026-10-24T23:59:55",
            "2026-10-25T00:00:30",
            "skip",
            1,
        ),  # published before, or within the grace
        ("2026-10-24T23:50:00", "2026-10-25T00:00:30", "skip", 1),
        ("2026-10-24T23:50:00", "2026-10-25T06:00:00", "once", 1),
        ("2026-10-24T23:50:00", "2026-10-25T06:00:00", "skip", 0),
        ("2026-10-22T12:00:00", "2026-10-25T06:00:00", "once", 1),
        ("2026-10-22T12:00:00", "2026-10-25T06:00:00", "all", 3),
    ],
)
def test_a_downtime_over_midnight(down, up, policy, runs):
    """The tick of midnight runs once, or as the policy says; also over the night in which a clock changes."""
    schedule = replace(SECOND, timing=Cron("0 0 * * *", "Europe/Berlin"), misfire=Misfire(policy))
    zone = ZoneInfo("Europe/Berlin")
    before, after = (
        datetime.fromisoformat(one).replace(tzinfo=zone).timestamp() for one in (down, up)
    )
    first, state = look(schedule, now=before)
    second, state = look(schedule, state, now=after, alive=before)
    third, _ = look(schedule, state, now=after + 1)
    ids = [tick.id for one in (first, second, third) for tick in one.publish]
    assert len(ids) == runs
    assert ids[-1:] == ["s@2026-10-24T22:00:00.000Z"] * bool(runs)


def test_a_changed_schedule_is_published_from_where_the_former_one_ended():
    """Published ticks that are not due are withdrawn, and the same times get other ids."""
    first, state = look()
    second, after = look(state=state, now=NOW + 2.5, version="2")
    # what is due within two seconds may be with a worker already
    assert second.withdraw == tuple(tick.id for tick in first.publish if tick.at > NOW + 4.5)
    assert times(second) == [float(n) for n in range(5, 13)]
    assert all(tick.id.endswith("Z~1") for tick in second.publish)
    assert not {tick.id for tick in second.publish} & {tick.id for tick in first.publish}
    third, _ = look(state=after, now=NOW + 30, version="2")
    last = datetime.fromtimestamp(NOW + 40, UTC)
    assert third.publish[-1].id == f"s@{last:%Y-%m-%dT%H:%M:%S}.000Z"
    assert after.revised_until == NOW + 2.5 + HORIZON + MARGIN


def test_a_change_publishes_no_time_twice_with_jitter():
    """A tick that is late by its jitter and is withdrawn is published again, and one that stays is not."""
    schedule = replace(SECOND, timing=Every(10.0), jitter=10.0)
    state, withdrew = None, 0
    for step in range(0, 200, 3):
        _, state = look(schedule, state, now=NOW + step)
        decision, after = look(schedule, state, now=NOW + step + 1, version="2")
        withdrew += len(decision.withdraw)
        valid = [tick.at for tick in after.ticks if not tick.withdrawn]
        assert len(valid) == len(set(valid))
        assert {tick.at for tick in state.ahead(NOW + step + 1)} <= {*valid}
    assert withdrew


def test_a_schedule_that_changed_during_a_downtime_misses_only_what_passed_without_a_leader():
    """The new ticks before that are none that somebody waits for: they were not part of the schedule."""
    state = ScheduleState(last=NOW - 7200, fingerprint="1")
    decision, _ = look(replace(SECOND, timing=Every(600.0)), state, alive=NOW - 900, version="2")
    assert [tick.at for tick in decision.publish] == [NOW - 600, NOW]
    assert decision.missed == 0
    kept, _ = look(
        replace(SECOND, timing=Every(3600.0), misfire=Misfire("all")), state, version="2"
    )
    assert kept.publish == ()


def test_a_paused_schedule_withdraws_what_is_ahead_and_catches_nothing_up():
    """What passes during the pause does not run afterwards, whatever the policy."""
    schedule = replace(SECOND, misfire=Misfire("all", limit=10_000))
    first, state = look(schedule)
    paused, state = look(schedule, state, now=NOW + 1.5, paused=True)
    assert len(paused.withdraw) == len([one for one in first.publish if one.at > NOW + 3.5])
    assert paused.publish == ()
    assert look(schedule, state, now=NOW + 500, paused=True)[0].withdraw == ()
    resumed, _ = look(schedule, state, now=NOW + 1000.5)
    assert times(resumed) == [1000.0 + n for n in range(1, 11)]
    assert resumed.missed == 0


def test_a_short_pause_publishes_the_same_times_under_other_ids():
    """A resume within the horizon: the withdrawn ids would not run."""
    _, state = look()
    paused, state = look(state=state, now=NOW + 1.5, paused=True)
    resumed, _ = look(state=state, now=NOW + 3.75)
    assert times(resumed)[0] == 4.0
    assert not {tick.id for tick in resumed.publish} & {*paused.withdraw}


def test_a_clock_that_was_far_ahead_does_not_silence_a_schedule():
    """It goes on from now; a tick that has run under the same id does not run again."""
    decision, _ = look(state=ScheduleState(last=NOW + 86_400, fingerprint="1"))
    assert times(decision) == [float(n) for n in range(1, 11)]
    nearly, _ = look(state=ScheduleState(last=NOW + HORIZON + 30, fingerprint="1"))
    assert nearly.publish == ()


def test_what_could_not_be_published_is_left_for_the_next_look():
    """The state ends at the last tick that the broker has confirmed."""
    decision, _ = look()
    state = decision.after(3, NOW)
    assert state.last == NOW + 3
    assert [tick.at - NOW for tick in state.ticks] == [1.0, 2.0, 3.0]
    assert times(look(state=state)[0]) == [float(n) for n in range(4, 11)]
    assert decision.after(0, NOW).last == NOW


def test_very_many_ticks_are_published_in_several_looks():
    """A look is short, and loses nothing."""
    schedule = replace(SECOND, timing=Every(0.1), misfire=Misfire("all", limit=100, grace=300.0))
    state, seen = ScheduleState(last=NOW - 250, fingerprint="1"), []
    while True:
        decision, state = look(schedule, state)
        if not decision.publish:
            break
        assert len(decision.publish) <= MOST_AT_ONCE
        seen += times(decision)
    assert len(seen) == len(set(seen)) == 2600


def test_a_schedule_that_is_switched_off_or_has_ended_does_nothing():
    """And nothing is missed by it."""
    off = replace(SECOND, enabled=False)
    assert look(off, ScheduleState(last=NOW - 600, fingerprint="1"))[0].missed == 0
    ended = replace(SECOND, end=datetime.fromtimestamp(NOW + 2, UTC))
    decision, state = look(ended)
    assert times(decision) == [1.0, 2.0]
    assert next_at(ended, state) is None


def test_a_state_is_kept_as_json():
    """With the last ticks, and no more of them than are needed."""
    state = None
    for step in range(0, 100, 5):
        _, state = look(state=state, now=NOW + step)
    assert ScheduleState.decode(state.encode()) == state
    assert len(state.ticks) == KEPT
    assert {tick.at for tick in state.ahead(NOW + 95)} == {NOW + 95 + n for n in range(1, 11)}


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"last": "x"}', b"\xff"])
def test_a_state_that_cannot_be_read_is_none(text):
    """The schedule then begins anew."""
    assert ScheduleState.decode(text) is None


@given(
    st.lists(
        st.tuples(st.floats(0, 70), st.booleans(), st.integers(0, 12)),
        max_size=30,
    )
)
def test_every_tick_is_published_once_whatever_is_lost(steps):
    """Looks at any time, leaders that die before they store, and publishes that fail."""
    now, state, seen = NOW, look()[1], {}
    seen |= {tick.at: {tick.id} for tick in state.ticks}
    for wait, dies, confirmed in steps:
        now += wait
        decision, _ = look(state=state, now=now)
        done = decision.publish[:confirmed]
        for tick in done:
            seen.setdefault(tick.at, set()).add(tick.id)
        if not dies:
            state = decision.after(len(done), now)
    decision, state = look(state=state, now=now)
    while decision.publish:
        for tick in decision.publish:
            seen.setdefault(tick.at, set()).add(tick.id)
        decision, state = look(state=state, now=now)
    assert all(len(ids) == 1 for ids in seen.values())
    # a tick that is not published is counted
    assert len(seen) + state.missed >= int(now - NOW + HORIZON)
