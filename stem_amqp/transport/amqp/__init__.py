"""The transport to RabbitMQ, through aio-pika's connection and aiormq's channels.

From the socket up: `wire` (the socket), `client` (aio-pika and aiormq on it), `link` (one open
connection), `connection` (reconnects when a link ends). On a connection: `publisher` with its
`publishing_channels`, `consumer` with its `session`, `settler` and `delivery`, and `declare`, `probe` and
`browser`. `transport` combines them.
"""
