"""What is left of aiormq's log for our connections."""

import logging

import pytest

from stem_amqp.transport.amqp.log_filter import filtered_log

log = logging.getLogger("aiormq.connection")


@pytest.fixture(autouse=True)
def level(caplog):
    """Let aiormq write warnings, whatever the level of its log is."""
    caplog.set_level(logging.WARNING, logger="aiormq")


def test_an_alarm_is_logged_in_our_words(caplog):
    """Without the object of the connection."""
    with filtered_log():
        log.warning("Connection %r was blocked by: %r", object(), "low on memory")
        log.warning("Connection %r was unblocked", object())
        log.warning("Unexpected connection close from remote")
    assert caplog.messages == [
        "the broker blocks publishers: low on memory",
        "the broker takes publishes again",
    ]


def test_other_users_of_aiormq_keep_their_log(caplog):
    with filtered_log():
        pass
    log.warning("Connection %r was blocked by: %r", 1, "low on memory")
    assert caplog.messages == ["Connection 1 was blocked by: 'low on memory'"]
