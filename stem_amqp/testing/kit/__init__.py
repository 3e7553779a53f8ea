"""The testing kit: an application on a broker in memory, whose tasks a test runs when it wants to.

`harness` is what a test holds; `stand_in` swaps the connections. `enqueued` and `outcome` record,
`expectation` compares, `worker` runs tasks, and `gate` lets a worker freeze. `live` is for tests that
want a real RabbitMQ.
"""
