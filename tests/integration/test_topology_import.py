"""Test definitions that a real RabbitMQ imports, and topology files made from a real one."""

import base64
import json
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

import pytest
import yaml
from cli_support import command_line

from stem_amqp import Stem
from stem_amqp.management.client import Management
from stem_amqp.provision.apply import apply
from stem_amqp.topology.adopt.definitions import existing_of

ROOT = Path(__file__).parents[2]
EVERY_KEY = """\
version: 1
queues:
  orders: {type: classic, priority: 3, ttl: 90m, max_length: 1000}
  audited: {single_active_consumer: true, dead_letter: {max_length: null, max_length_bytes: null}}
  billing.eu: {delivery_limit: 50, dead_letter: {overflow: drop-oldest, max_length: 5, ttl: 14d}}
exchanges:
  "{namespace}.audit": {type: headers, arguments: {alternate-exchange: "{namespace}.unroutable"}}
  amq.topic: {external: true}
bindings:
  - {source: "{namespace}.tasks", destination: "{namespace}.audit", key: orders, to: exchange}
  - {source: "{namespace}.audit", destination: orders, arguments: {x-match: all, n: 1, t: "010"}}
  - {source: amq.topic, destination: orders, key: "1e3"}
"""


class VirtualHost:
    """An empty virtual host of a broker, and its management API."""

    def __init__(self, url, management_url):
        self.name = f"topology-{uuid.uuid4().hex[:8]}"
        self._api = f"{management_url}/api"
        self.management_url = management_url
        self.url = urllib.parse.urlsplit(url)._replace(path=f"/{self.name}").geturl()
        self.ask("PUT", f"vhosts/{self.name}", {})

    def ask(self, method, path, document=None):
        """Send a request."""
        request = urllib.request.Request(
            f"{self._api}/{path}",
            method=method,
            data=None if document is None else json.dumps(document).encode(),
            headers={
                "Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read()

    def standing(self):
        """The definitions of the virtual host."""
        api = Management(
            url=self.management_url, user="guest", password="guest", virtual_host=self.name
        )
        return existing_of(api.fetch_definitions())


@pytest.fixture
def host(managed):
    """Yield an empty virtual host."""
    made = VirtualHost(*managed)
    yield made
    made.ask("DELETE", f"vhosts/{made.name}")


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Return a function that runs commands in a separate directory."""
    with command_line(capsys, monkeypatch, tmp_path) as line:
        line.write("default.yaml", (ROOT / "topology" / "default.yaml").read_text())
        line.write("every-key.yaml", EVERY_KEY)
        yield line


def identities(bindings):
    """Return bindings in a form that can be compared."""
    return {
        (b.source, b.destination, b.to_exchange, b.key, repr(sorted(b.arguments.items())))
        for b in bindings
        if b.source
    }


def in_order(document):
    """Return definitions that can be compared: a broker keeps no order, not even of arguments."""
    return {
        kind: sorted(json.dumps(item, sort_keys=True) for item in items)
        for kind, items in document.items()
    }


@pytest.mark.parametrize("file", ["default.yaml", "every-key.yaml"])
@pytest.mark.parametrize("whole_broker", [False, True], ids=["one virtual host", "whole broker"])
async def test_after_an_import_of_our_definitions_nothing_is_left_to_do(
    cli, host, file, whole_broker
):
    """RabbitMQ accepts both forms; verify finds nothing missing, apply no different argument."""
    words = ("--vhost", host.name) if whole_broker else ()
    exported = cli("topology", "export", file, "--format", "definitions", *words)
    host.ask("POST", "definitions" if whole_broker else f"definitions/{host.name}", exported.json)
    stem = Stem(broker_url=host.url, topology=cli.folder / file)
    stem.reconfigure(provision="verify")
    entities = stem.blueprint.entities
    async with stem:
        transport = stem.connected.transport
        assert await transport.missing(entities) == []
        # declaring an existing entity with other arguments would be refused
        await apply(transport, entities, wait=0)
    standing = host.standing().entities
    assert identities(standing.bindings) == identities(entities.bindings)
    assert {q.name: dict(q.arguments) for q in standing.queues} == {
        q.name: dict(q.arguments) for q in entities.queues
    }


@pytest.mark.parametrize("file", ["default.yaml", "every-key.yaml"])
async def test_a_running_broker_exports_the_same_file(cli, host, file):
    """A file that is applied and exported again gives the same exchanges, queues and bindings."""
    stem = Stem(broker_url=host.url, topology=cli.folder / file)
    async with stem:
        pass
    credentials = host.management_url.replace("://", "://guest:guest@")
    words = ("--management", credentials, "--vhost", host.name, "-o", "again.yaml")
    ran = cli("topology", "import", *words)
    assert ran.code == 0
    assert "no remarks" in ran.err
    assert cli("topology", "validate", "again.yaml").code == 0
    first, again = (
        cli("topology", "export", name, "-f", "definitions").json for name in (file, "again.yaml")
    )
    assert in_order(first) == in_order(again)


def test_foreign_entities_are_reported(cli, host):
    """Foreign queues and their policies are comments in the file; its own policies are entries."""
    at = f"{host.name}/"
    host.ask("PUT", f"exchanges/{at}crm.events", {"type": "topic"})
    host.ask("PUT", f"queues/{at}crm.mail", {"durable": True})
    host.ask("POST", f"bindings/{at}e/crm.events/q/crm.mail", {"routing_key": "mail.#"})
    policy = {"pattern": "^stem", "definition": {"max-length": 9}, "apply-to": "queues"}
    host.ask("PUT", f"policies/{at}short", policy)
    host.ask("PUT", f"operator-policies/{at}cap", policy)
    foreign = {"pattern": "^crm", "definition": {"max-length": 9}, "apply-to": "queues"}
    host.ask("PUT", f"policies/{at}crm", foreign)
    exported = cli("topology", "export", "default.yaml", "--format", "definitions")
    host.ask("POST", f"definitions/{host.name}", exported.json)
    host.ask("POST", f"bindings/{at}e/crm.events/q/stem.default", {"routing_key": "crm.#"})
    credentials = host.management_url.replace("://", "://guest:guest@")
    ran = cli("topology", "import", "--management", credentials, "--vhost", host.name)
    assert '- source: crm.events\n  destination: default\n  key: "crm.#"\n' in ran.out
    assert "crm.events: {external: true}" in ran.out
    for remark in (
        "# - binding of crm.events to the queue crm.mail with the key mail.#:",
        "# - queue crm.mail: is not a work or dead-letter queue here",
        "# - policy crm: pattern ^crm, queues, priority 0, {'max-length': 9}",
    ):
        assert remark in ran.out
    said = yaml.safe_load(ran.out)
    ours = {"pattern": "^stem", "apply_to": "queues", "definition": {"max-length": 9}}
    assert (said["policies"], said["operator_policies"]) == ({"short": ours}, {"cap": ours})


def test_a_virtual_host_that_does_not_exist_is_an_error(cli, host):
    """The error names the virtual host."""
    credentials = host.management_url.replace("://", "://guest:guest@")
    ran = cli("topology", "import", "--management", credentials, "--vhost", "no-such-host")
    assert ran.code == 5
    assert "no-such-host" in ran.err
