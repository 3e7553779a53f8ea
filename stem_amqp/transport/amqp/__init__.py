"""RabbitMQ, through aio-pika's connection and the aiormq channel underneath.

From the socket up: `wire` (the socket), `client` (aio-pika and aiormq on it), `link` (one open
connection), `connection` (opens the next when one ends). On it `publisher` with its channels, the
`lanes`; `consumer` with its `session`, `settler` and `delivery`; and `declare`, `probe`, `browser`.
`transport` ties them together.
"""

from stem_amqp.transport.amqp.transport import AmqpTransport

__all__ = ["AmqpTransport"]
