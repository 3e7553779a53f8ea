"""A broker in this process that follows RabbitMQ's rules: for tests and for work without one.

It obeys the same entities as RabbitMQ does: exchanges, bindings, TTL, dead-lettering, limits,
prefetch, returns and confirms. With a `ManualClock`, an hour's delay takes no time.
"""

from stem_amqp.transport.memory.broker import MemoryBroker
from stem_amqp.transport.memory.clock import ManualClock
from stem_amqp.transport.memory.message import Message
from stem_amqp.transport.memory.transport import MemoryTransport

__all__ = ["ManualClock", "MemoryBroker", "MemoryTransport", "Message"]
