"""Measure how long the next ticks of 10,000 schedules take: cron lines in two zones, and intervals.

Run it with ``python tests/benchmarks/schedule_ticks.py``.
"""

import time
from datetime import UTC, datetime

from stem_amqp.schedules import Cron, Every, Schedule, next_ticks

COUNT = 10_000
ROUNDS = 5
START = datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp()
LINES = ("{m} {h} * * *", "{m} {h} * * mon-fri", "*/5 * * * *", "{m} {h} 1 * *", "{m} * * * *")


def crons(zone):
    """Return many schedules with lines of several kinds."""
    return [
        Schedule(
            name=f"s{number}",
            task="t",
            timing=Cron(LINES[number % 5].format(m=number % 60, h=number % 24), zone),
        )
        for number in range(COUNT)
    ]


def measure(name, make):
    """Print the processor time of the best of several rounds."""
    begin = time.process_time()
    schedules = make()
    defined = time.process_time() - begin
    rounds = []
    for number in range(ROUNDS):
        begin = time.process_time()
        for schedule in schedules:
            next_ticks(schedule, START + number)
        rounds.append(time.process_time() - begin)
    print(
        f"{name}: define {defined:.2f} s, next ticks first {rounds[0]:.2f} s, best {min(rounds):.2f} s,"
        f" {min(rounds) / COUNT * 1e6:.0f} µs each"
    )


if __name__ == "__main__":
    measure("cron, UTC", lambda: crons("UTC"))
    measure("cron, Europe/Berlin", lambda: crons("Europe/Berlin"))
    measure(
        "intervals",
        lambda: [Schedule(name=f"s{n}", task="t", timing=Every(60.0 + n)) for n in range(COUNT)],
    )
