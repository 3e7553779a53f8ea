"""Cause random faults under load for some minutes, and print the account: ``make soak MINUTES=30``.

    python -m faults.harness.soak MINUTES [SEED]

It prints its seed; the same seed causes the same faults in the same order. The exit code is 1 if a
task is lost or if the workers do not recover.
"""

import collections
import dataclasses
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from faults.harness.account import table
from faults.harness.crew import crew_on
from faults.harness.node import installed_version, private_node
from faults.harness.proxy import DOWN, UP, proxy_to

INTERVAL = 5.0
"""Seconds between the end of a fault and the next one."""
FREEZE = 4.0
"""Seconds that a frozen broker, an alarm or a refusing network lasts."""
WORKERS = 2
RATE = 200.0
"""Tasks a second."""
QUICK = {
    "STEM_AMQP_HEARTBEAT": "2s",
    "STEM_PUBLISH_TIMEOUT": "3s",
    "STEM_CONNECT_TIMEOUT": "3s",
    "FAULTS_PAUSE": "0.005",
}


class Soak:
    """The faults, a method for each.

    Args:
        node: the broker.
        proxy: the proxy between the broker and its clients.
        crew: producers and workers.
        chance: the random generator that chooses the faults.
    """

    def __init__(self, node, proxy, crew, chance):
        self._node, self._proxy, self._crew, self._chance = node, proxy, crew, chance
        self.faults = collections.Counter()

    def strike(self):
        """Cause and end one random fault, and return its name."""
        name = self._chance.choice(NAMES)
        self.faults[name] += 1
        getattr(self, name)()
        return name

    def staff(self):
        """Replace the workers and the producer that have ended."""
        working = sum(worker.poll() is None for worker in self._crew.workers)
        for _ in range(WORKERS - working):
            self._crew.work()
        if self._crew.producers[-1].poll() is not None:
            self._crew.produce(rate=RATE)

    def broker_restarted(self):
        """Shut the broker down cleanly, and start it."""
        self._node.stop()
        self._node.start()

    def broker_killed(self):
        """Kill the broker with SIGKILL, and start it."""
        self._node.kill()
        self._node.start()

    def broker_frozen(self):
        """Stop the broker with SIGSTOP for some seconds."""
        self._node.freeze()
        time.sleep(FREEZE)
        self._node.thaw()

    def connections_closed(self):
        """Close all connections, as an operator does."""
        self._node.close_connections()

    def memory_alarm(self):
        """Set the memory alarm for some seconds."""
        self._node.memory_alarm(on=True)
        time.sleep(FREEZE)
        self._node.memory_alarm(on=False)

    def network_cut(self):
        """Abort all connections; new ones are accepted at once."""
        self._proxy.cut()

    def network_refused(self):
        """Refuse connections for some seconds."""
        self._proxy.refuse()
        time.sleep(FREEZE)
        self._proxy.start()

    def network_half_open(self):
        """Forward nothing on the open connections, in one direction or both."""
        self._proxy.half_open(*self._chance.choice([(UP,), (DOWN,), (UP, DOWN)]))

    def worker_killed(self):
        """Kill a worker with SIGKILL."""
        self._crew.kill(self._chance.choice(self._alive(self._crew.workers)))

    def worker_stopped(self):
        """Stop a worker with SIGTERM, and wait for its end."""
        worker = self._chance.choice(self._alive(self._crew.workers))
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)

    def producer_killed(self):
        """Kill the producer with SIGKILL."""
        self._crew.kill(self._crew.producers[-1])

    @staticmethod
    def _alive(processes):
        return [process for process in processes if process.poll() is None]


NAMES = [
    name
    for name, value in vars(Soak).items()
    if callable(value) and not name.startswith("_") and name not in {"strike", "staff"}
]


def soak(minutes, seed):
    """Cause faults for a number of minutes, and return the tally."""
    with (
        tempfile.TemporaryDirectory(prefix="stem-soak-") as folder,
        private_node() as node,
        proxy_to(node.port) as proxy,
        crew_on(
            f"soak of {minutes:g} minutes, seed {seed}",
            Path(folder),
            node.url,
            via=f"amqp://guest:guest@127.0.0.1:{proxy.port}/",
            **QUICK,
        ) as crew,
    ):
        soaking = Soak(node, proxy, crew, random.Random(seed))
        crew.under_load(workers=WORKERS, rate=RATE)
        deadline = time.monotonic() + minutes * 60
        while time.monotonic() < deadline:
            name = soaking.strike()
            soaking.staff()
            crew.ledger.recovered(60)
            print(f"{time.strftime('%X')} {name}: {crew.ledger.recovery[-1]:.2f} s", flush=True)
            time.sleep(min(INTERVAL, max(0.0, deadline - time.monotonic())))
        tally = crew.finish(120)
    for name, times in sorted(soaking.faults.items()):
        print(f"{name:<24}{times:>4}")
    return tally


def main():
    """Run the soak, print the account, and return the exit code."""
    minutes = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1_000_000)
    print(f"seed {seed}: make soak MINUTES={minutes:g} SEED={seed}", flush=True)
    tally = soak(minutes, seed)
    recovery = sorted(tally.recovery)
    print(f"RabbitMQ {installed_version()}, {sum(tally.refused.values())} refused")
    print(table([dataclasses.replace(tally, recovery=())]))
    print(
        f"recovery: {recovery[len(recovery) // 2]:.2f} s at the median, {recovery[-1]:.2f} s at most"
    )
    return 1 if tally.lost else 0


if __name__ == "__main__":
    sys.exit(main())
