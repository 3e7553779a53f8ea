"""RabbitMQ servers: find one, start a private one, ask whether one answers."""
