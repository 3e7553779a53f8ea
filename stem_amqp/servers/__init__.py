"""RabbitMQ, PostgreSQL and Redis servers for tests and ``stem-amqp dev``.

- `finder` finds a server or starts one; each kind of server describes itself to it.
- `rabbitmq`, `postgres` and `redis` hold the three kinds.
- `keeping` starts a private server, under `keeper`, which ends it when this process dies.
- `docker` runs a server in a container; `debian_package` installs one.
"""
