"""Where the data of ``stem-amqp top`` comes from: the broker, heartbeats, dead letters."""
