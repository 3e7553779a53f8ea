"""Tools for tests: a broker to test against, and pytest fixtures.

- `stem_amqp.testing.brokers` finds a RabbitMQ, or starts one.
- `stem_amqp.testing.postgres_server` finds a PostgreSQL, or starts one.
- `stem_amqp.testing.cleanup` deletes what a test declared.
- `stem_amqp.testing.plugin` holds the pytest fixtures; pytest loads it by itself.

Nothing is imported here: pytest loads this package in every test run of whoever installed us.
"""
