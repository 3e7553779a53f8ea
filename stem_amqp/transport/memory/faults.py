"""Faults that a test can simulate."""

from __future__ import annotations

from dataclasses import dataclass

from stem_amqp.errors import BrokerError
from stem_amqp.transport.publication import Publication


@dataclass(kw_only=True, slots=True)
class Refusal:
    """Simulated failures of publishes.

    Args:
        error: the error that they raise.
        exchange: only publishes to this exchange; None for all.
        times: the number of failures; None for all publishes.
        accepted: whether the message is routed anyway, as if only its confirm was lost.
    """

    error: BrokerError
    exchange: str | None = None
    times: int | None = None
    accepted: bool = False

    def applies(self, publication: Publication) -> bool:
        """Return whether a publication fails, and count the failure."""
        if self.exchange not in {None, publication.exchange} or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def fresh_error(self) -> BrokerError:
        """Return a new error for each publish, so that tracebacks do not accumulate."""
        return type(self.error)(*self.error.args)
