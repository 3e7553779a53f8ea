"""The environment of a running task: its context, guarded blocks (`once`) and middleware."""
