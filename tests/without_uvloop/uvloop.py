"""Hides uvloop: with this folder in PYTHONPATH, worker processes run on asyncio's own event loop."""

raise ImportError("uvloop is hidden from these tests")
