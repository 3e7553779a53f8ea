"""A cluster of three private RabbitMQ nodes on one host."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from faults.harness.node import Node, node_folder
from support import until

SIZE = 3
DISCOVERY = "cluster_formation.peer_discovery_backend = classic_config"


class Cluster:
    """Nodes that form a cluster.

    Args:
        nodes: the nodes.
    """

    def __init__(self, nodes):
        self.nodes = nodes

    @property
    def url(self):
        """The URLs of all nodes, for failover."""
        return ",".join(node.url for node in self.nodes)

    def leader(self, queue):
        """Return the node that leads a quorum queue."""
        other = next(node for node in self.nodes if node.running)
        lines = other.ctl("list_queues", "name", "leader").splitlines()
        leaders = dict(line.split() for line in lines if len(line.split()) == 2)
        return next(node for node in self.nodes if node.name == leaders[queue])

    def start(self):
        """Start the nodes that do not run, concurrently: some wait for others."""
        stopped = [node for node in self.nodes if not node.running]
        for node in stopped:
            node.begin()
        with ThreadPoolExecutor(SIZE) as pool:
            list(pool.map(Node.wait, stopped))
        until(self.whole, "a cluster of three", 60)

    def whole(self):
        """Return whether every node runs, according to the first one."""
        status = json.loads(self.nodes[0].ctl("cluster_status", "--formatter", "json"))
        return set(status["running_nodes"]) == {node.name for node in self.nodes}


@contextmanager
def private_cluster():
    """Start a cluster, and stop it at the end of the block."""
    with node_folder() as (folder, port):
        nodes = []
        for number in range(SIZE):
            home = folder / f"node{number}"
            home.mkdir()
            nodes.append(Node(home, port))
        for node in nodes:
            node.configure(
                DISCOVERY,
                *(
                    f"cluster_formation.classic_config.nodes.{number} = {other.name}"
                    for number, other in enumerate(nodes, 1)
                ),
            )
        try:
            cluster = Cluster(nodes)
            cluster.start()
            yield cluster
        finally:
            for node in nodes:
                node.kill()
