"""The worker: consume, execute, settle.

A message's way: `consumer` takes it from a queue, `executor` runs its task and returns an `outcome`,
`settle` publishes what follows, stores the result and acknowledges last. `runner` is the lifetime.
"""
