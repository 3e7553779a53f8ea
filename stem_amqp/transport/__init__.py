"""Transports: the contract in AMQP words, RabbitMQ through aio-pika, and an in-process broker."""
