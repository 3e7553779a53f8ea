"""Random faults under load for minutes, and the account at the end: ``make soak MINUTES=30``.

    python -m faults.harness.soak MINUTES [SEED]

A seed is printed; the same seed breaks the same things in the same order. Exit code 1 if a task is
lost or if the workers do not recover.
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
QUICK = {
    "STEM_AMQP_HEARTBEAT": "2s",
    "STEM_PUBLISH_TIMEOUT": "3s",
    "STEM_CONNECT_TIMEOUT": "3s",
    "FAULTS_PAUSE": "0.005",
}


class Soak:
    """What is broken, and how.

    Args:
        node: the broker.
        proxy: between the broker and everybody.
        crew: producers and workers.
        chance: decides.
    """

    def __init__(self, node, proxy, crew, chance):
        self._node, self._proxy, self._crew, self._chance = node, proxy, crew, chance
        self.faults = collections.Counter()

    def strike(self):
        """Break one thing, put it right, and return its name."""
        name = self._chance.choice(NAMES)
        self.faults[name] += 1
        getattr(self, name)()
        return name

    def staff(self):
        """Have as many workers as there should be, and a producer."""
        working = sum(worker.poll() is None for worker in self._crew.workers)
        for _ in range(WORKERS - working):
            self._crew.work()
        if self._crew.producers[-1].poll() is not None:
            self._crew.produce()

    def broker_restarted(self):
        """Shut down in good order."""
        self._node.stop()
        self._node.start()

    def broker_killed(self):
        """With SIGKILL."""
        self._node.kill()
        self._node.start()

    def broker_frozen(self):
        """With SIGSTOP."""
        self._node.freeze()
        time.sleep(FREEZE)
        self._node.thaw()

    def connections_closed(self):
        """By the operator."""
        self._node.close_connections()

    def memory_alarm(self):
        """Set, and cleared."""
        self._node.memory_alarm(on=True)
        time.sleep(FREEZE)
        self._node.memory_alarm(on=False)

    def network_cut(self):
        """Once, at once whole again."""
        self._proxy.cut()

    def network_refused(self):
        """For some seconds."""
        self._proxy.refuse()
        time.sleep(FREEZE)
        self._proxy.start()

    def network_half_open(self):
        """In one direction or both."""
        self._proxy.half_open(*self._chance.choice([(UP,), (DOWN,), (UP, DOWN)]))

    def worker_killed(self):
        """With SIGKILL."""
        self._crew.kill(self._chance.choice(self._alive(self._crew.workers)))

    def worker_stopped(self):
        """With SIGTERM."""
        worker = self._chance.choice(self._alive(self._crew.workers))
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)

    def producer_killed(self):
        """With SIGKILL."""
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
    """Break things for so long, and return the tally."""
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
        crew.under_load(workers=WORKERS)
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
    """Soak, and print the account."""
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
