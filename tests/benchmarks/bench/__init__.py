"""stem-amqp, its peers and the raw clients, measured side by side; see docs/benchmarks.md."""
