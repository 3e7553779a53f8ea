"""Route a message that is due now or after a delay: its exchange and routing key."""

from __future__ import annotations

from stem_amqp.delay import exact_units, route, two_digit_units
from stem_amqp.topology.compile import refuses
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names, due_word


class DelayRouter:
    """Gives the exchange and routing key of a message for a queue and a delay.

    Args:
        names: the names on the broker.
        topology: the topology, which says which queues can be full.
    """

    def __init__(self, names: Names, topology: Topology) -> None:
        self.names = names
        self._topology = topology
        self._words: dict[str, str] = {}

    def after(self, queue: str, delay: float, *, rounded: bool = False) -> tuple[str, str]:
        """Return the exchange and the routing key for a delay, which is never shorter than requested.

        Args:
            queue: the logical queue that receives the message.
            delay: seconds; 0 or less routes directly to the queue.
            rounded: round the delay up to two significant digits, so that it takes two hops at most.
        """
        if delay <= 0:
            return self.to(queue, 0)
        units = two_digit_units(delay) if rounded else exact_units(delay)
        return self.to(queue, units)

    def to(self, queue: str, units: int) -> tuple[str, str]:
        """Return the exchange and the routing key for a delay.

        Args:
            queue: the logical queue that receives the message.
            units: the delay in units of 100 ms; 0 routes directly to the queue.
        """
        if units == 0:
            return self.names.tasks, queue
        delay_route = route(units, self._word(queue))
        return self.names.delay_exchange(delay_route.level), delay_route.routing_key

    def _word(self, queue: str) -> str:
        word = self._words.get(queue)
        if word is None:
            full = refuses(self._topology, self.names, queue)
            word = self._words[queue] = due_word(queue) if full else queue
        return word
