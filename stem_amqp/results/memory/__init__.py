"""Results in the memory of one process."""
