"""Probes of a worker: does its event loop run, does it consume, has it started."""

from stem_amqp.observability.probes.pages import pages_of
from stem_amqp.observability.probes.shared import SharedState, write_state
from stem_amqp.observability.probes.state import BLOCKED_AFTER, Probe, State

__all__ = ["BLOCKED_AFTER", "Probe", "SharedState", "State", "pages_of", "write_state"]
