"""Sentry integration: an event for each task that failed for good, transactions, and one trace.

``sentry_sdk.init(dsn=…, integrations=[StemIntegration()])`` before or after the application is created.
"""

from stem_amqp.errors import ConfigurationError

try:
    from stem_amqp.integrations.sentry.integration import StemIntegration
except ModuleNotFoundError as error:
    raise ConfigurationError(
        "stem_amqp.integrations.sentry needs the Sentry SDK.\n  pip install 'stem-amqp[sentry]'"
    ) from error

__all__ = ["StemIntegration"]
