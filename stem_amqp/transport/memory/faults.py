"""Faults that a test asks the broker for."""

from __future__ import annotations

from dataclasses import dataclass

from stem_amqp.errors import BrokerError
from stem_amqp.transport.base import Publication


@dataclass(kw_only=True, slots=True)
class Refusal:
    """Publishes that fail.

    Args:
        error: what they fail with.
        exchange: only those to this exchange; None for all.
        times: how many fail; None for all until further notice.
        accepted: whether the message arrives all the same, as when only its confirm is lost.
    """

    error: BrokerError
    exchange: str | None = None
    times: int | None = None
    accepted: bool = False

    def applies(self, publication: Publication) -> bool:
        """Say whether a publication fails, and count it if so."""
        if self.exchange not in {None, publication.exchange} or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def fresh_error(self) -> BrokerError:
        """Return an error of its own for each publish, so that tracebacks do not pile up."""
        return type(self.error)(*self.error.args)
