"""The reports of a worker: signals, states, statistics and log lines."""
