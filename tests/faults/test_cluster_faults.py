"""Test a cluster of three nodes that loses one, two or all of them under load."""

import pytest
from faults.harness.cluster import private_cluster
from faults.harness.crew import crew_on
from support import until

# uses private nodes: not marked as rabbitmq; their release is the one that is configured
pytestmark = [pytest.mark.timeout(450), pytest.mark.releases]


@pytest.fixture(scope="module")
def broken_cluster(rabbitmq_installed):
    """Yield three nodes, in the state that the last test left."""
    with private_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(broken_cluster):
    """Return three running nodes, which the test may break."""
    broken_cluster.start()
    return broken_cluster


@pytest.mark.parametrize("which", ["leader", "other", "first"])
def test_a_cluster_that_loses_a_node_loses_no_task(cluster, tmp_path, account, which):
    """Tasks run while a node is killed with SIGKILL, and after it is started again.

    The first node of the URL has the connections, and therefore the exclusive queues.
    """
    with crew_on(f"three nodes, one killed: the {which}", tmp_path, cluster.url) as crew:
        crew.under_load(workers=2)
        leader = cluster.leader(f"{crew.namespace}.q")
        others = [node for node in cluster.nodes if node is not leader]
        victim = {"leader": leader, "other": others[0], "first": cluster.nodes[0]}[which]
        victim.kill()
        crew.ledger.recovered()
        crew.ledger.progress("finished", 100)
        victim.start()
        crew.ledger.recovered()
        account(crew.finish())


def test_a_rolling_restart_of_the_cluster_loses_no_task(cluster, tmp_path, account):
    """No task is lost while the nodes are restarted one at a time, as for an upgrade."""
    with crew_on("three nodes, one restarted after the other", tmp_path, cluster.url) as crew:
        crew.under_load(workers=2)
        for node in cluster.nodes:
            node.stop()
            crew.ledger.recovered()
            cluster.start()
            crew.ledger.recovered()
        account(crew.finish())


@pytest.mark.parametrize("count", [2, 3], ids=["two", "three"])
def test_a_cluster_that_loses_its_majority_loses_no_task(cluster, tmp_path, account, count):
    """Without a majority nothing is confirmed and `enqueue` raises; afterwards tasks run again."""
    quick = {"STEM_PUBLISH_TIMEOUT": "2s", "STEM_CONNECT_TIMEOUT": "2s"}
    with crew_on(f"three nodes, {count} killed", tmp_path, cluster.url, **quick) as crew:
        crew.under_load(workers=2)
        for node in cluster.nodes[:count]:
            node.kill()
        until(lambda: crew.ledger.refusals().total() >= 10, "refusals")
        cluster.start()
        crew.ledger.recovered(60)
        account(crew.finish())
