"""A private RabbitMQ node that can be stopped, killed, frozen, alarmed and started again."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.keeping import free_ports, start_keeper
from stem_amqp.servers.rabbitmq.handshake import broker_version, wait_for_broker
from stem_amqp.servers.rabbitmq.private import find_programs, node_environment

START_TIMEOUT = 120.0
COMMAND_TIMEOUT = 90.0
ROOM = 4 << 30
"""Bytes that must be free in memory for the data of nodes."""
STOP_TIMEOUT = 90.0
ONE_SCHEDULER = "+S 1:1"
"""A node's threads beyond the first one cost time, of several nodes on few cores."""
MEMORY = Path("/dev/shm")
"""A file system in memory: a node calls fsync for each queue that is declared. A node that is killed keeps
what it has written in either kind."""
SHELL = 'echo $$ > pid; exec "$0"'
"""A shell script that stores the process id; ``exec`` keeps it."""


def keep(folder, command, environment=None):
    """Start a program in a folder; it ends when this process ends."""
    return start_keeper(folder, command, environment=environment)


def end(keeping):
    """Kill a program that `keep` has started, with SIGKILL."""
    keeping.terminate()
    keeping.wait(STOP_TIMEOUT)


def installed_version():
    """Return the release of the installed RabbitMQ, such as ``4.3.6``."""
    script = find_programs().server.with_name("rabbitmqctl")
    done = subprocess.run([script, "version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


class Node:
    """One node. Its ports and its data stay the same over restarts.

    Args:
        folder: the folder of all the node's files.
        epmd: the port of Erlang's port mapper.
        settings: lines of rabbitmq.conf.
        advanced: the Erlang terms of advanced.config.
        cookie: Erlang's secret, the same for every node of a cluster.
    """

    def __init__(self, folder, epmd, *, settings=(), advanced="", cookie="FAULTS"):
        self.folder = folder
        self._port, self._distribution = free_ports(2)
        self._environment = node_environment(folder, self._port, self._distribution, epmd)
        self._environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] += f" {ONE_SCHEDULER}"
        self.name = self._environment["RABBITMQ_NODENAME"]
        self._settings = list(settings)
        (folder / "advanced.config").write_text(f"[{advanced}].\n")
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "rabbitmq-env.conf").touch()
        (folder / "conf.d").mkdir()
        secret = folder / ".erlang.cookie"
        secret.write_text(cookie)
        secret.chmod(0o400)
        self._keeping = None

    @property
    def port(self):
        """The node's AMQP port on 127.0.0.1."""
        return self._port

    @property
    def url(self):
        """The node's AMQP URL."""
        return f"amqp://guest:guest@127.0.0.1:{self._port}/"

    @property
    def running(self):
        """Whether the node was started and not stopped."""
        return self._keeping is not None

    def configure(self, *lines):
        """Add lines to rabbitmq.conf, for the next start."""
        self._settings += lines

    def begin(self):
        """Start the node without waiting for it."""
        lines = ["disk_free_limit.absolute = 10MB", *self._settings]
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        server = str(find_programs().server)
        self._keeping = keep(self.folder, ["/bin/sh", "-c", SHELL, server], self._environment)

    def wait(self):
        """Wait until the node answers."""
        keeping = self._keeping
        wait_for_broker(self.url, timeout=START_TIMEOUT, alive=lambda: keeping.poll() is None)

    def answers(self):
        """Return whether the node runs and accepts connections."""
        try:
            broker_version(self.url, timeout=3.0)
        except BrokerUnavailableError:
            return False
        return True

    def start(self):
        """Start the node, and return once it answers."""
        self.begin()
        self.wait()

    def stop(self):
        """Shut the node down cleanly."""
        self.ctl("stop")
        self._keeping.wait(STOP_TIMEOUT)
        self._keeping = None

    def kill(self):
        """Kill the node with SIGKILL; a second call does nothing."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            end(keeping)

    def freeze(self):
        """Stop the node's process with SIGSTOP: connections stay open, and it does not answer."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self):
        """Continue the node's process after `freeze`."""
        os.kill(self._pid, signal.SIGCONT)

    def ctl(self, *arguments):
        """Run rabbitmqctl, and return its output, without headers."""
        script = find_programs().server.with_name("rabbitmqctl")
        done = subprocess.run(
            [script, "-s", "-n", self.name, *arguments],
            env=self._environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"rabbitmqctl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def keep_queues(self):
        """Let the node write which quorum queues it has.

        RabbitMQ 3.10.8 writes the name of a new quorum queue up to seconds later. A node that is killed before that
        starts the queue anew, without its messages: seen in 4 of 4 kills within 0.1 s, and in no kill after 1 s on a
        quiet machine.
        """
        self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def close_connections(self):
        """Close every connection with rabbitmqctl, as an operator does."""
        self.ctl("close_all_connections", "--vhost", "/", "--global", "on purpose")

    def messages(self, namespace):
        """Return the number of messages in a namespace's work queue, including unsettled ones."""
        lines = self.ctl("list_queues", "name", "messages").splitlines()
        counts = dict(line.split() for line in lines if line)
        return int(counts[f"{namespace}.q"])

    def memory_alarm(self, *, on):
        """Set or clear the memory alarm."""
        self.ctl("set_vm_memory_high_watermark", "0.0000001" if on else "0.6")

    def disk_alarm(self, *, on):
        """Set or clear the disk alarm."""
        self.ctl("set_disk_free_limit", "100000GB" if on else "10MB")

    @property
    def _pid(self):
        return int((self.folder / "pid").read_text())


def fastest_folder():
    """Return the folder for data of nodes: in memory, unless a folder is named; None: the usual one."""
    free = shutil.disk_usage(MEMORY).free if os.access(MEMORY, os.W_OK) else 0
    return MEMORY if "TMPDIR" not in os.environ and free > ROOM else None


@contextmanager
def node_folder():
    """Yield a temporary folder, and the port of an Erlang port mapper that runs meanwhile."""
    find_programs()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="stem-faults-", dir=fastest_folder()))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (port,) = free_ports(1)
        mapper = folder / "epmd"
        mapper.mkdir()
        environment = {"PATH": os.environ["PATH"], "ERL_EPMD_ADDRESS": "127.0.0.1"}
        command = [str(find_programs().epmd), "-port", str(port)]
        stack.callback(end, keep(mapper, command, environment))
        yield folder, port


@contextmanager
def private_node(**options):
    """Start a node, and stop it with all its processes at the end of the block."""
    with node_folder() as (folder, port):
        home = folder / "node"
        home.mkdir()
        node = Node(home, port, **options)
        try:
            node.start()
            yield node
        finally:
            node.kill()
