"""`stem-amqp worker` as a supervisor of several processes."""
