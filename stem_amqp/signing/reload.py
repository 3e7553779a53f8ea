"""Reload of the keys on SIGHUP."""

from __future__ import annotations

import logging
from collections.abc import Callable

from stem_amqp.errors import ConfigurationError
from stem_amqp.signing.keyring import KeyChange

log = logging.getLogger("stem_amqp.cli")


def reload_keys(reload: Callable[[], KeyChange | None]) -> None:
    """Reload the keys of an application, and log the result.

    Args:
        reload: reads the keys, such as `Stem.reload_keys`. A `ConfigurationError` that it raises is
            logged, and the old keys stay in use.
    """
    try:
        change = reload()
    except ConfigurationError as error:
        log.warning("SIGHUP: the keys could not be reloaded, the old keys stay in use: %s", error)
        return
    log.info("SIGHUP: %s", "no keys are configured" if change is None else f"keys: {change}")
