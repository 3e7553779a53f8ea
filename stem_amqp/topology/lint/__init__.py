"""Topology warnings: valid but risky settings."""

from stem_amqp.topology.lint.patterns import ANY
from stem_amqp.topology.lint.planned import Planned
from stem_amqp.topology.lint.run import lint, lint_time_limits
from stem_amqp.topology.lint.warning import LintWarning

__all__ = [
    "ANY",
    "LintWarning",
    "Planned",
    "lint",
    "lint_time_limits",
]
