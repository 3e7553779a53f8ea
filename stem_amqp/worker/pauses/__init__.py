"""Pauses of queues and tasks: who asks for them, and what a worker does while they last."""
