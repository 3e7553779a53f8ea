"""The in-memory broker: it follows RabbitMQ's rules, for tests and for development without a broker.

It has exchanges, bindings, TTL, dead-lettering, limits, prefetch, returns and confirms. With a
`ManualClock`, an hour's delay takes no time.
"""

from stem_amqp.transport.memory.broker import MemoryBroker
from stem_amqp.transport.memory.clock import MICROSECOND, ManualClock, Timer, call_at
from stem_amqp.transport.memory.message import Message
from stem_amqp.transport.memory.transport import MemoryTransport

__all__ = [
    "MICROSECOND",
    "ManualClock",
    "MemoryBroker",
    "MemoryTransport",
    "Message",
    "Timer",
    "call_at",
]
