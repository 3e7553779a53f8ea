"""Files that extend others, values from the environment, named retries, policies, extra queues."""

import pytest

from stem_amqp.errors import TopologyError
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.file.load import load_topology, parse_topology
from stem_amqp.topology.names import Names

NAMES = Names("stem")


def compiled(text):
    """Return a compiled topology given without its first line."""
    return compile_topology(parse_topology("version: 1\n" + text), NAMES)


def queue(entities, name):
    """Return the arguments of a queue."""
    return next(dict(queue.arguments) for queue in entities.queues if queue.name == name)


@pytest.fixture
def files(tmp_path):
    """Write files, and return the path of the last."""

    def files(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(text)
        return path

    return files


def test_a_file_is_laid_over_another_key_by_key(files):
    """Mappings are merged, and omitted keys are inherited."""
    path = files(
        base="version: 1\nqueues:\n  orders: {prefetch: 5, ttl: 1h}\n  emails:\n",
        production="extends: base.yaml\nqueues:\n  orders: {prefetch: 50}\n",
    )
    topology = load_topology(path)
    assert topology.queue("orders").prefetch == 50
    assert topology.queue("orders").ttl == 3600
    assert set(topology.queues) == {"orders", "emails"}


def test_a_mistake_names_the_file_that_it_is_in(files):
    """Of the two files the right one is named, with its line."""
    path = files(
        base="version: 1\nqueues:\n  orders:\n    prefech: 5\n",
        production="extends: base.yaml\n",
    )
    with pytest.raises(TopologyError) as caught:
        load_topology(path)
    assert str(caught.value.file).endswith("base.yaml")
    assert caught.value.line == 4
    assert "did you mean prefetch" in str(caught.value)


def test_files_that_extend_each_other_are_refused(files):
    """The error names the file that closes the cycle."""
    path = files(
        one="version: 1\nextends: two.yaml\n",
        two="version: 1\nextends: one.yaml\n",
    )
    with pytest.raises(TopologyError, match="extends itself"):
        load_topology(path)


def test_a_missing_file_is_searched_beside_the_other(files):
    """The error names the path that was tried."""
    with pytest.raises(TopologyError, match="looked for"):
        load_topology(files(production="version: 1\nextends: base.yaml\n"))


def test_values_come_from_the_environment(monkeypatch):
    """They have the type of a written value; a default replaces a variable that is not set."""
    monkeypatch.setenv("ORDERS_PREFETCH", "7")
    monkeypatch.delenv("ORDERS_TTL", raising=False)
    topology = parse_topology(
        "version: 1\nqueues:\n  orders:\n    prefetch: ${ORDERS_PREFETCH}\n    ttl: ${ORDERS_TTL:-2h}\n"
    )
    assert topology.queue("orders").prefetch == 7
    assert topology.queue("orders").ttl == 7200


def test_a_variable_that_is_not_set_is_a_mistake(monkeypatch):
    """The error has its name and line."""
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(TopologyError, match="NOT_SET") as caught:
        parse_topology("version: 1\nqueues:\n  orders: {ttl: '${NOT_SET}'}\n")
    assert caught.value.line == 3


def test_a_value_of_the_environment_is_never_shown(monkeypatch):
    """It may be a secret in the wrong variable."""
    monkeypatch.setenv("ORDERS_TTL", "hunter2secret")
    with pytest.raises(TopologyError) as caught:
        parse_topology("version: 1\nqueues: {orders: {ttl: '${ORDERS_TTL}'}}\n")
    assert "hunter2secret" not in str(caught.value)


def test_retry_policies_have_names():
    """A queue names one, and inherits the keys that it omits."""
    topology = parse_topology(
        "version: 1\n"
        "retries: {gentle: {max_retries: 9, backoff: {base: 10s}}}\n"
        "queues: {orders: {retry: gentle}, emails: }\n"
    )
    assert topology.queue("orders").max_retries == 9
    assert topology.queue("orders").policy.short_form()["base"] == 10
    assert topology.queue("emails").max_retries == 3


def test_a_misspelt_retry_policy_is_a_mistake():
    """The error suggests the similar name."""
    with pytest.raises(TopologyError, match="gentle"):
        parse_topology("version: 1\nretries: {gentle: }\nqueues: {orders: {retry: gentel}}\n")


def test_settings_go_into_arguments_unless_asked_for():
    """Policies can be changed later; the TTL in a delay queue's name stays an argument."""
    text = "queues: {orders: {ttl: 1h, max_length: 10}}\n"
    assert compiled(text).policies == ()
    assert queue(compiled(text), "stem.orders")["x-message-ttl"] == 3_600_000
    entities = compiled("settings: policies\n" + text)
    arguments = queue(entities, "stem.orders")
    assert "x-message-ttl" not in arguments
    assert arguments["x-queue-type"] == "quorum"
    (policy,) = (policy for policy in entities.policies if policy.name == "stem.orders")
    assert policy.definition["message-ttl"] == 3_600_000
    assert policy.definition["max-length"] == 10
    assert policy.definition["dead-letter-exchange"] == "stem.dead"
    assert policy.definition["dead-letter-strategy"] == "at-least-once"
    delay = queue(entities, "stem.zz-delay.0000030.0s")
    assert delay["x-message-ttl"] == 30_000


def test_policies_and_operator_policies_of_ones_own():
    """The namespace is inserted into names and patterns."""
    entities = compiled(
        "policies:\n"
        '  "{namespace}.audit": {pattern: "^{namespace}[.]audit$", definition: {max-length: 5}}\n'
        "operator_policies:\n"
        '  "{namespace}.limits": {pattern: "^{namespace}[.]", definition: {message-ttl: 7d}}\n'
    )
    found = {policy.name: policy for policy in entities.policies}
    assert not found["stem.audit"].operator
    assert found["stem.limits"].operator
    assert found["stem.limits"].definition == {"message-ttl": 7 * 86_400_000}


def test_a_stream_is_no_work_queue_but_may_be_an_extra_one():
    """The messages of a stream are never settled one by one."""
    with pytest.raises(TopologyError, match="stream"):
        parse_topology("version: 1\nqueues: {orders: {type: stream}}\n")
    entities = compiled(
        'extra_queues: {"{namespace}.audit": {type: stream}}\n'
        "queues: {orders: }\n"
        'bindings:\n- {source: "{namespace}.tasks", destination: "{namespace}.audit", key: "#"}\n'
    )
    assert queue(entities, "stem.audit")["x-queue-type"] == "stream"
    assert any(binding.destination == "stem.audit" for binding in entities.bindings)


@pytest.mark.parametrize(
    "name", ["passwd", "secret.pem", "link.yaml", "../etc/hosts", "keys.yaml.txt"]
)
def test_a_file_that_is_no_topology_is_not_shown(tmp_path, name):
    """The author of a topology file who sees the errors must not be able to read other files."""
    folder = tmp_path / "here"
    folder.mkdir()
    secret = "hunter2:x:0:0:root:/root:/bin/sh"
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if name == "link.yaml":
        (folder / "elsewhere").write_text(secret)
        target.symlink_to(folder / "elsewhere")
    else:
        target.write_text(secret)
    file = folder / "topology.yaml"
    file.write_text(f"extends: {name}\nversion: 1\n")
    with pytest.raises(TopologyError, match="does not have the name of a topology file") as caught:
        load_topology(file)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["hunter2 and more", "- hunter2", "hunter2: [", "'hunter2"])
def test_what_is_no_mapping_is_not_shown(tmp_path, text):
    """This holds for the file itself and for the file that it extends."""
    (tmp_path / "base.yaml").write_text(text)
    (tmp_path / "over.yaml").write_text("extends: base.yaml\nversion: 1\n")
    for name in ("base.yaml", "over.yaml"):
        with pytest.raises(TopologyError) as caught:
            load_topology(tmp_path / name)
        assert "hunter2" not in str(caught.value)
