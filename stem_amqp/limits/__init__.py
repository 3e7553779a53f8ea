"""Limits across workers: rates and concurrency of the whole namespace, decided in one store.

`stem_amqp.limits.base` has the contract, `stem_amqp.limits.decide` the rules, and `stem_amqp.limits.batch`
collects the questions of a worker. The stores use the connections of the result backend:
`ResultBackend.limits` returns the one that belongs to it.
"""
