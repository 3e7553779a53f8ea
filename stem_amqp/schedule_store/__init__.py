"""What is stored of schedules: how far each one is published, and the schedules that are made at run time.

`stem_amqp.schedule_store.base` has the contract. The stores use the connections of the result backend:
`ResultBackend.schedules` returns the one that belongs to it.
"""
