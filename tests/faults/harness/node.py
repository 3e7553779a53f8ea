"""A RabbitMQ node of our own that can be stopped, killed, frozen, alarmed, and started again."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.testing import program_keeper
from stem_amqp.testing.handshake import broker_version, wait_for_broker
from stem_amqp.testing.private_rabbitmq import _environment, _free_ports, find_programs

START_TIMEOUT = 60.0
COMMAND_TIMEOUT = 30.0
STOP_TIMEOUT = 30.0
SHELL = 'ulimit -n "$(ulimit -Hn)"; echo $$ > pid; exec "$0"'
"""Many open files, as `stem_amqp.testing.keeper` explains; and exec keeps the process id."""


def keep(folder, command, environment=None):
    """Start a program that ends with this process, in a folder of its own."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", program_keeper.__file__, str(os.getpid()), folder, *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def end(keeping):
    """End a kept program with SIGKILL."""
    keeping.terminate()
    keeping.wait(STOP_TIMEOUT)


def installed_version():
    """Return the release of the RabbitMQ that nodes are started from, such as ``4.3.6``."""
    script = find_programs().server.with_name("rabbitmqctl")
    done = subprocess.run([script, "version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


class Node:
    """One node. Its ports and its data are the same for every start.

    Args:
        folder: everything of this node.
        epmd: the port of Erlang's port mapper.
        settings: lines of rabbitmq.conf.
        advanced: the Erlang terms of advanced.config.
        cookie: Erlang's secret, the same for every node of a cluster.
    """

    def __init__(self, folder, epmd, *, settings=(), advanced="", cookie="FAULTS"):
        self.folder = folder
        self._port, self._distribution = _free_ports(2)
        self._environment = _environment(folder, self._port, self._distribution, epmd)
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
        """Its AMQP port on 127.0.0.1."""
        return self._port

    @property
    def url(self):
        """Its AMQP URL."""
        return f"amqp://guest:guest@127.0.0.1:{self._port}/"

    @property
    def running(self):
        """Whether it was started and not stopped."""
        return self._keeping is not None

    def configure(self, *lines):
        """Add lines to rabbitmq.conf, for the next start."""
        self._settings += lines

    def begin(self):
        """Start it, and do not wait."""
        lines = ["disk_free_limit.absolute = 10MB", *self._settings]
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        server = str(find_programs().server)
        self._keeping = keep(self.folder, ["/bin/sh", "-c", SHELL, server], self._environment)

    def wait(self):
        """Wait until it answers."""
        keeping = self._keeping
        wait_for_broker(self.url, timeout=START_TIMEOUT, alive=lambda: keeping.poll() is None)

    def answers(self):
        """Say whether it is up and takes connections."""
        try:
            broker_version(self.url, timeout=3.0)
        except BrokerUnavailableError:
            return False
        return True

    def start(self):
        """Start it, and return once it answers."""
        self.begin()
        self.wait()

    def stop(self):
        """Shut it down in good order."""
        self.ctl("stop")
        self._keeping.wait(STOP_TIMEOUT)
        self._keeping = None

    def kill(self):
        """Kill it with SIGKILL; a second time is no error."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            end(keeping)

    def freeze(self):
        """Stop its process with SIGSTOP: connections stay open and nothing answers."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self):
        """Let it go on."""
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

    def close_connections(self):
        """Close every connection, as an operator does."""
        self.ctl("close_all_connections", "--vhost", "/", "--global", "on purpose")

    def messages(self, namespace):
        """Return how many messages are in a namespace's work queue, delivered ones included."""
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


@contextmanager
def node_folder():
    """Give a temporary folder and the port of an Erlang port mapper that runs meanwhile."""
    find_programs()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="stem-faults-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (port,) = _free_ports(1)
        mapper = folder / "epmd"
        mapper.mkdir()
        environment = {"PATH": os.environ["PATH"], "ERL_EPMD_ADDRESS": "127.0.0.1"}
        command = [str(find_programs().epmd), "-port", str(port)]
        stack.callback(end, keep(mapper, command, environment))
        yield folder, port


@contextmanager
def private_node(**options):
    """Start a node, and end it and all its processes at the end of the block."""
    with node_folder() as (folder, port):
        home = folder / "node"
        home.mkdir()
        node = Node(home, port, **options)
        try:
            node.start()
            yield node
        finally:
            node.kill()
