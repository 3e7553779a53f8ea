"""Settings from ``STEM_*`` variables, a ``.env`` file or keywords. Secrets are never printed."""

from stem_amqp.settings.choices import (
    EventSources,
    LogFormat,
    LogSuccesses,
    Metrics,
    Provision,
    ReplayMemory,
    Signatures,
    Tracing,
)
from stem_amqp.settings.names import NAME, NAME_LIMIT
from stem_amqp.settings.settings import ENV_FILE, PREFIX, Settings
from stem_amqp.settings.values import Seconds
from stem_amqp.settings.variables import misspelt_variables

__all__ = [
    "ENV_FILE",
    "NAME",
    "NAME_LIMIT",
    "PREFIX",
    "EventSources",
    "LogFormat",
    "LogSuccesses",
    "Metrics",
    "Provision",
    "ReplayMemory",
    "Seconds",
    "Settings",
    "Signatures",
    "Tracing",
    "misspelt_variables",
]
