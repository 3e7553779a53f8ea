"""Causes faults of brokers, networks, workers and producers, and accounts for every task."""
