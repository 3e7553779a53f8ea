"""Checks before a run: signed publishes, duplicates, revocations, the rate limit and the age."""
