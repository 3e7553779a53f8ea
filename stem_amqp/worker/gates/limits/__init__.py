"""Limits across workers: which apply to a task, when it may start, and the leases of those that run."""
