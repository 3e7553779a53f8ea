"""Breaks things on purpose and keeps account of every task: brokers, networks, workers, producers."""
