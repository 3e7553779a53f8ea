"""The worker: consume, execute, settle.

The path of a message: `consumer` takes it from a queue, `executor` runs its task and returns an
`outcome`, `settle` publishes what follows, stores the result and acknowledges last. `runner` starts
and stops all of it.
"""
