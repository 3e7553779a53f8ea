"""Tasks in child processes, and the isolation of those that kill them."""
