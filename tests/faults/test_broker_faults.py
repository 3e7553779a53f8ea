"""The broker stopped, killed and started again under load: every acknowledged task runs."""

import pytest

pytestmark = [pytest.mark.timeout(120), pytest.mark.rabbitmq]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_that_goes_and_comes_back_loses_nothing(node, make_crew, account, how):
    """Shut down in good order, and killed with SIGKILL."""
    crew = make_crew(f"broker: {how} and start")
    crew.under_load()
    getattr(node, how)()
    node.start()
    crew.ledger.recovered()
    tally = account(crew.finish())
    assert not tally.queued
    assert not tally.dead


def test_delayed_tasks_are_there_after_the_broker_was_killed(node, make_crew, account):
    """They wait in the broker's queues, not in anybody's memory."""
    crew = make_crew("delayed tasks, broker killed and started")
    producer = crew.produce(count=200, rate=400, delay=6.0)
    assert producer.wait(20) == 0
    assert not crew.ledger.read("finished")
    node.kill()
    node.start()
    crew.work()
    tally = account(crew.finish())
    assert tally.acknowledged == tally.finished == 200
    assert tally.repeated == 0
