"""Rule 10: the state of a task never goes backwards."""

import itertools

import pytest

from stem_amqp.states import FINAL, TaskState, may_follow

S = TaskState


def test_rule_10_a_final_state_is_never_overwritten_within_a_replay():
    """A late running or queued does not replace a final state."""
    for final, new in itertools.product(FINAL, TaskState):
        assert not may_follow((0, final, 1), (0, new, 9))


def test_rule_10_succeeded_is_for_ever():
    """A replay of a duplicate's dead letter does not overwrite a success either."""
    assert not any(may_follow((0, S.SUCCEEDED, 0), (1, new, 0)) for new in TaskState)


@pytest.mark.parametrize("state", [S.FAILED, S.EXPIRED])
def test_a_replay_begins_a_new_life(state):
    """A dead letter that is replayed is queued again, and earlier reports do not change it."""
    assert may_follow((0, state, 3), (1, S.QUEUED, 0))
    assert not may_follow((1, S.QUEUED, 0), (0, S.FAILED, 3))


def test_queued_comes_first_or_not_at_all():
    """A producer's report that arrives after the worker's is ignored."""
    assert may_follow(None, (0, S.QUEUED, 0))
    assert not may_follow((0, S.RUNNING, 0), (0, S.QUEUED, 0))
    assert may_follow((0, S.QUEUED, 0), (0, S.SUCCEEDED, 0))


def test_attempts_count_up():
    """A late report of an earlier attempt is ignored; a redelivery of this one counts."""
    assert may_follow((0, S.RETRYING, 0), (0, S.RUNNING, 1))
    assert not may_follow((0, S.RUNNING, 1), (0, S.RETRYING, 0))
    assert may_follow((0, S.RUNNING, 1), (0, S.RUNNING, 1))
    assert may_follow((0, S.SNOOZED, 1), (0, S.RUNNING, 1))
