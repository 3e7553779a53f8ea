"""A small web shop: FastAPI, PostgreSQL, RabbitMQ; see README.md."""
