"""Batch tasks in a worker: `collector` gathers messages, `gathering` is one batch, `room` its prefetch."""
