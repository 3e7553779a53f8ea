"""Breakers in a worker: runs are counted, a breaker is opened for all workers, and one run is tried."""
