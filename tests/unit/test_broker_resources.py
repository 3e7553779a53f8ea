"""Reports on a broker that has exhausted a resource, from the management API and rabbitmqctl."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stem_amqp.management.resources import (
    NodeResources,
    explain,
    find_resources,
    read_ctl,
    too_many_queues,
)
from stem_amqp.settings import Settings

SAID = """{[{total_limit,203},{total_used,231},{sockets_limit,180},{sockets_used,0}],
 [15814,25814,5814],wt14@localhost}
"""
"""The output of RabbitMQ 3.10.8 under `ulimit -n 300`, with one namespace of 77 queues."""
NODE = {
    "name": "rabbit@a", "running": True, "fd_total": 1024, "fd_used": 38, "sockets_total": 829,
    "mem_alarm": False, "disk_free_alarm": False,
}  # fmt: skip


@pytest.fixture
def api():
    """Serve a management API that answers with a node and a number of queues."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if server.status != 200:
                self.send_response(server.status)
                self.end_headers()
                return
            answers = {
                "nodes": server.nodes,
                "overview": {"object_totals": {"queues": server.queues}},
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(
                json.dumps(answers[self.path.partition("?")[0].rpartition("/")[2]]).encode()
            )

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.status, server.queues = 200, 0
    server.nodes = [dict(NODE)]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def asked(api):
    url = f"http://127.0.0.1:{api.server_port}"
    return find_resources(Settings(_env_file=None, management_url=url))


@pytest.mark.parametrize(
    ("node", "queues", "says"),
    [
        ({}, 77, ""),
        ({}, 308, "rabbit@a has run out of file descriptors: queues, connections and files use about 924 of 924"),
        ({"fd_used": 920}, 0, "use 920 of 924"),
        ({"sockets_total": 0}, 308, ""),  # from 4.1 on queues reserve nothing
        ({"sockets_total": 0, "fd_used": 1024}, 0, "use 1024 of 1024"),
        ({"mem_alarm": True}, 0, "rabbit@a blocks publishers because of a memory alarm"),
        ({"mem_alarm": True, "disk_free_alarm": True}, 0, "because of a memory and disk alarm"),
        ({"running": False, "fd_used": 1024}, 0, "rabbit@a is down"),
        ({"sockets_total": 100, "sockets_used": 96}, 0, "run out of sockets: connections use 96 of 100"),
        ({"fd_total": "unknown", "fd_used": None}, 0, ""),
    ],
)  # fmt: skip
async def test_the_management_api_reports_which_resource_is_low(api, node, queues, says):
    """Open files alone do not: queues reserve descriptors for files that are not open."""
    api.nodes, api.queues = [NODE | node], queues
    text = explain(await asked(api))
    assert says in text
    assert bool(text) is bool(says)
    if "descriptors" in text:
        assert "LimitNOFILE=65536" in text
    if "alarm" in text:
        assert "rabbitmq-diagnostics alarms" in text


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_an_api_that_refuses_gives_nothing(api, status):
    """The API is only asked for an explanation, so its failure is no further error."""
    api.status = status
    assert await asked(api) == []


@pytest.mark.parametrize("answer", [[], {}, None, [None], [{}], "x"])
async def test_an_invalid_answer_gives_nothing(api, answer):
    """This holds for any malformed answer."""
    api.nodes = answer
    assert await asked(api) == []


def test_the_node_s_own_accounts_are_read():
    """The figures are exact, and of the node that listens on the broker's port."""
    (node,) = read_ctl(SAID, 5814)
    assert (node.name, node.descriptors, node.used) == ("wt14@localhost", 203, 231)
    assert "use 231 of 203" in explain([node])
    assert read_ctl(SAID, 5672) == []
    assert read_ctl("Error: unable to perform an operation on node", 5814) == []


def test_more_queues_than_a_node_bears_are_warned_of_before():
    """The warning has the numbers and the remedy; later releases, which do not count, give none."""
    node = NodeResources(name="rabbit@a", descriptors=924, used=770, accounted=True)
    assert too_many_queues([node], 0) == too_many_queues([node], 51) == ""
    warning = too_many_queues([node], 77)
    assert (
        "77 queues reserve about 231 file descriptors, and rabbit@a has 154 of 924 left" in warning
    )
    assert "LimitNOFILE" in warning
    later = NodeResources(name="rabbit@a", descriptors=1024, used=1000)
    assert too_many_queues([later], 77) == ""
