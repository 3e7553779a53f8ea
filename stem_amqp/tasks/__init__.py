"""Tasks: their definition, options, arguments and results, and the JSON they are sent as.

`definition` has a task and the registry of all tasks, `call` one call of a task. `options` and
`option_values` check options. `signature` rejects function signatures that cannot work.

`arguments` and `return_value` convert arguments and results to JSON and back: `fidelity` decides which
annotations survive JSON by construction, `codec` writes and reads values and verifies the others,
`difference` compares the original with the copy. `unique` and `canonical` compute the key of a
unique call; `equal_calls` has the rules of debounced and throttled ones.
"""
