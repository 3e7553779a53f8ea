"""A cluster of three that loses a node under load, also the one that leads the queue."""

import pytest
from faults.harness.cluster import private_cluster
from faults.harness.crew import crew_on

pytestmark = pytest.mark.timeout(180)  # on nodes of their own, so not again for another broker


@pytest.fixture(scope="module")
def cluster(rabbitmq_installed):
    """Three nodes."""
    with private_cluster() as cluster:
        yield cluster


@pytest.mark.parametrize("which", ["leader", "other"])
def test_a_cluster_that_loses_a_node_loses_no_task(cluster, tmp_path, account, which):
    """Killed with SIGKILL, and started again later; tasks run in between and afterwards."""
    with crew_on(f"three nodes, one killed: the {which}", tmp_path, cluster.url) as crew:
        crew.under_load(workers=2)
        leader = cluster.leader(f"{crew.namespace}.q")
        others = [node for node in cluster.nodes if node is not leader]
        victim = leader if which == "leader" else others[0]
        victim.kill()
        crew.ledger.recovered()
        crew.ledger.progress("finished", 200)
        victim.start()
        crew.ledger.recovered()
        account(crew.finish())
