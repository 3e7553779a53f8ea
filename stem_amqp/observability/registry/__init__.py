"""Which workers there are and what they run: heartbeats of workers, and the commands that list them."""
