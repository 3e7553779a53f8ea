"""What a worker takes from a logical queue: its queues on the broker, and whether it is paused."""
