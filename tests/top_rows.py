"""A snapshot for the tests of ``stem-amqp top``."""

from stem_amqp.cli.top.snapshot import DeadRow, FailureRow, QueueRow, RunRow, Snapshot, WorkerRow

AT = 1_800_000_000.0


def snapshot(**changes) -> Snapshot:
    """Return data in which every view has rows, with long and wide names."""
    runs = tuple(
        RunRow(
            id=f"01a22d0a-000{number}-7000-8000-000000000000",
            task=f"reports.build_{number}",
            queue="reports",
            worker="host:1:abc",
            seconds=60.0 - number,
            progress="40% 世界世界 rows",
            blocking=number == 0,
        )
        for number in range(8)
    )
    worker = WorkerRow(
        name="host:1:abc",
        queues="orders x4, reports x4",
        running=8,
        rate=12.5,
        lag=7.0,
        memory=64 * 1024 * 1024,
        state="blocked 9s",
        healthy=False,
        facts=(("process", "host:1"), ("queues", "orders x4, " * 30)),
        stack='/app/shop.py:3 in spin\n  File "/app/shop.py", line 3, in spin',
        runs=runs,
    )
    values = {
        "at": AT,
        "namespace": "stem",
        "broker": "RabbitMQ 4.3.0",
        "queues": (
            QueueRow(
                queue="orders",
                ready=12345,
                unacked=8,
                consumers=2,
                published=35.25,
                acked=1.5,
                oldest=400.0,
                limit=300.0,
                dead=3,
                backlog=(0.0, 5.0, 10.0),
                throughput=(0.0, 1.0, 2.0),
            ),
            QueueRow(
                queue="a-very-long-name-of-a-queue.世界世界世界世界世界", ready=7, consumers=0
            ),
            QueueRow(queue="emails", ready=0, consumers=1, dead=0),
        ),
        "workers": (worker, WorkerRow(name="host:2:def", queues="emails x2")),
        "runs": runs,
        "failures": tuple(
            FailureRow(
                at=AT - number,
                queue="orders",
                task=f"orders.sync_{number}",
                id=f"01a22d0b-{number:04}-7000-8000-000000000000",
                reason="retries-exhausted" if number % 2 else "invalid-arguments",
                error=f"ValueError: order {number} \x1b[31mis wrong\nand more",
                traceback="Traceback (most recent call last):\n" + "  a line\n" * 60,
                history=("#0 ValueError: wrong " * 20,),
            )
            for number in range(40)
        ),
        "dead": (
            DeadRow(queue="orders", reason="retries-exhausted", messages=2, oldest=90.0),
            DeadRow(queue="orders", reason="invalid-arguments", messages=1, oldest=90.0),
        ),
        "delays": {1.0: 4, 60.0: 0, 3600.0: 2},
        "unroutable": 0,
    }
    return Snapshot(**(values | changes))
