"""Mistakes in a topology file: each is found, with file, line, key and remedy."""

import pickle

import pytest

from stem_amqp.errors import ConfigurationError, TopologyError
from stem_amqp.topology.file.load import load_topology, parse_topology


def mistakes(text):
    """Return all mistakes for which a text is refused."""
    with pytest.raises(TopologyError) as caught:
        parse_topology(text)
    return [caught.value, *caught.value.more]


def mistake(text):
    """Return the only mistake of a text."""
    found = mistakes(text)
    assert len(found) == 1, str(found[0])
    assert found[0].remedy
    return found[0]


@pytest.mark.parametrize(
    ("line", "key", "problem"),
    [
        ("queues: {orders: {prefech: 20}}", "queues.orders.prefech", "did you mean prefetch?"),
        ("namepsace: stem", "namepsace", "did you mean namespace?"),
        ("defaults: {retry: {backof: {}}}", "defaults.retry.backof", "did you mean backoff?"),
        ("queues: {a: {retry: {backoff: {bas: 1s}}}}", "queues.a.retry.backoff.bas", "mean base?"),
        ("queues: {a: {dead_letter: {tll: 1d}}}", "queues.a.dead_letter.tll", "mean ttl?"),
        ("routes: [{mach: a, match: a, queue: b}]", "routes[0].mach", "mean match?"),
        ("queues: {a.b: {ttl: -1}}", 'queues."a.b".ttl', "not negative"),
        ("queues: {a: {ttl: 5 parsecs}}", "queues.a.ttl", "'5 parsecs' is not a valid duration"),
        ("queues: {a: {ttl: 1:30}}", "queues.a.ttl", "'1:30' is not a valid duration"),
        ("queues: {a: {ttl: 0}}", "queues.a.ttl", "from 1ms to 3650d"),
        ("queues: {a: {ttl: 4000d}}", "queues.a.ttl", "from 1ms to 3650d"),
        ("queues: {a: {prefetch: 0}}", "queues.a.prefetch", "must be 1 or more, not 0"),
        ("queues: {a: {prefetch: 70000}}", "queues.a.prefetch", "at most 65535"),
        ("queues: {a: {prefetch: '20'}}", "queues.a.prefetch", 'an integer, not "20"'),
        ("queues: {a: {prefetch: 2.5}}", "queues.a.prefetch", "an integer, not 2.5"),
        ("queues: {a: {prefetch: true}}", "queues.a.prefetch", "an integer, not true"),
        ("queues: {a: {prefetch: 010}}", "queues.a.prefetch", 'an integer, not "010"'),
        ("queues: {a: {concurrency: 0}}", "queues.a.concurrency", "must be 1 or more"),
        ("queues: {a: {delivery_limit: -1}}", "queues.a.delivery_limit", "1 or more, not -1"),
        ("queues: {a: {max_length: 0}}", "queues.a.max_length", "must be 1 or more"),
        ("queues: {a: {priority: 256}}", "queues.a.priority", "at most 255"),
        ("queues: {a: {type: clasic}}", "queues.a.type", "did you mean classic?"),
        ("queues: {a: {type: null}}", "queues.a.type", "must be quorum or classic, not null"),
        ("queues: {a: {single_active_consumer: yes}}", "queues.a.single_active_consumer", "or false"),
        ("queues: {a: {retry: {max_retries: -1}}}", "queues.a.retry.max_retries", "0 or more"),
        ("queues: {a: {retry: {backoff: {factor: 0.5}}}}", "queues.a.retry.backoff.factor", "1 or"),
        ("queues: {a: {retry: {backoff: {factor: x}}}}", "queues.a.retry.backoff.factor", "number"),
        ("queues: {a: {retry: {backoff: {jitter: 2}}}}", "queues.a.retry.backoff.jitter", "0 to 1"),
        ("queues: {a: {retry: 3}}", "queues.a.retry", "must be a mapping, not 3"),
        ("queues: {a: 3}", "queues.a", "must be a mapping, not 3"),
        ("queues: [orders]", "queues", "must be a mapping"),
        ("routes: {a: b}", "routes", "must be a list"),
        ("routes: [orders]", "routes[0]", "must be a mapping"),
        ("routes: [{match: a}]", "routes[0].queue", "is missing"),
        ("routes: [{match: '', queue: a}]", "routes[0].match", "not a valid pattern"),
        ("routes: [{match: a, queue: a b}]", "routes[0].queue", "not a valid queue name"),
        ("namespace: a b", "namespace", "is not a valid namespace"),
        ("namespace: 5", "namespace", "must be a string, not 5"),
        ("queues: {a b: }", 'queues."a b"', "is not a valid queue name"),
        ("queues: {a..b: }", 'queues."a..b"', "is not a valid queue name"),
        ("queues: {'a.*': }", 'queues."a.*"', "is not a valid queue name"),
        ("queues: {tasks: }", "queues.tasks", "is reserved for"),
        ("queues: {delay.x: }", 'queues."delay.x"', "is reserved for"),
        ("queues: {orders.dlq: }", 'queues."orders.dlq"', "is reserved for"),
        ("queues: {orders.v2: }", 'queues."orders.v2"', "is reserved for"),
        ("queues: {orders: {version: 0}}", "queues.orders.version", "must be 1 or more"),
        ("exchanges: {audit: }", "exchanges.audit.type", "is missing"),
        ("exchanges: {audit: {type: topc}}", "exchanges.audit.type", "did you mean topic?"),
        ("exchanges: {'': {type: topic}}", 'exchanges.""', "not a valid exchange name"),
        ("exchanges: {amq.x: {type: topic}}", 'exchanges."amq.x"', "reserved for RabbitMQ"),
        ("exchanges: {'{ns}.a': {type: topic}}", 'exchanges."{ns}.a"', "contains braces"),
        ("exchanges: {'{namespace}.tasks': {type: topic}}", 'exchanges."{namespace}.tasks"', "reserved for stem-amqp"),
        ("exchanges: {stem.dead: {type: direct}}", 'exchanges."stem.dead"', "reserved for stem-amqp"),
        ("exchanges: {a: {external: true, type: topic}}", "exchanges.a.type", "no effect"),
        ("<<: {}", "<<", "unknown key"),
        ("queues: {a: {type: classic, delivery_limit: 5}}", "queues.a.delivery_limit", "classic"),
        ("queues: {a: {retry: {backoff: {base: 10m}}}}", "queues.a.retry.backoff", "shorter than"),
        ("defaults: {retry: {backoff: {base: 10m}}}", "defaults.retry.backoff", "shorter than"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_line_and_key(line, key, problem):
    """One mistake gives one message, with the place and a remedy."""
    found = mistake(f"version: 1\n\n{line}\n")
    assert (found.line, found.key) == (3, key)
    assert problem in found.problem
    assert str(found).startswith(f"topology.yaml:3: {key}: ")


BINDING = """
version: 1
queues: {orders: }
exchanges: {audit: {type: topic}, shop: {external: true}}
bindings:
  - %s
"""


@pytest.mark.parametrize(
    ("binding", "key", "problem"),
    [
        ("{source: audti, destination: orders}", "source", "did you mean audit?"),
        ("{source: '{namespace}.task', destination: orders}", "source", "mean {namespace}.tasks?"),
        ("{source: stem.tasks, destination: orders}", "source", "no exchange"),
        ("{source: audit, destination: order}", "destination", "did you mean orders?"),
        ("{source: audit, destination: shp, to: exchange}", "destination", "mean shop?"),
        ("{source: audit, destination: shop}", "destination", "no queue"),
        ("{source: audit, destination: orders, to: que}", "to", "must be queue or exchange"),
        ("{source: audit}", "destination", "is missing"),
        ("{source: audit, destination: orders, key: 5}", "key", "must be a string, not 5"),
        ("{source: audit, destination: orders, key: #\n}", "key", "must be a string, not null"),
        ("{source: '{namespace}.dead', destination: orders}", "destination", "for ever"),
    ],
)  # fmt: skip
def test_a_binding_joins_only_what_there_is(binding, key, problem):
    """A name that does not exist is found here, and not when a message is lost."""
    found = mistake(BINDING % binding)
    assert (found.line, found.key) == (6, f"bindings[0].{key}")
    assert problem in found.problem


@pytest.mark.parametrize(
    "binding",
    [
        "{source: '{namespace}.tasks', destination: audit, key: orders, to: exchange}",
        "{source: '{namespace}.zz-delay.7', destination: audit, key: '#', to: exchange}",
        "{source: '{namespace}.dead', destination: audit, to: exchange}",
        "{source: shop, destination: '{namespace}.tasks', key: orders, to: exchange}",
        "{source: shop, destination: orders, arguments: {x-match: any, kind: order}}",
    ],
)
def test_a_binding_may_name_our_own_and_external_exchanges(binding):
    """Bindings are for taps on our exchanges, and for feeds from others."""
    assert len(parse_topology(BINDING % binding).bindings) == 1


LIMITS = "version: 1\nlimits:\n  stripe: {rate: 10/s}\nqueues:\n  a: {limits: [%s]}\n"


@pytest.mark.parametrize(
    ("entry", "problem", "remedy"),
    [
        ("strip", 'no limit "strip"; did you mean stripe?', "under limits, or write its keys"),
        ("xyz", 'no limit "xyz"', "under limits, or write its keys"),
        ("10/x", '"10/x" is not a valid rate', "such as 10/s or 600/m"),
        ("a b", '"a b" is not a valid name of a limit', "such as stripe"),
        ("10", "a rate or a mapping, not 10", "stripe, 10/s or {concurrency: 5}"),
        ("{}", "has neither a rate nor a concurrency", "rate: 10/s or concurrency: 5"),
        ("stripe, stripe", '"stripe" is listed twice', "Remove one"),
    ],
)
def test_a_wrong_limit_of_a_queue_is_one_line_with_its_place(entry, problem, remedy):
    """A name that no limit has, and what is neither a name nor a rate nor keys."""
    found = mistake(LIMITS % entry)
    where = 1 if entry.startswith("stripe,") else 0
    assert (found.file, found.line, found.key) == ("topology.yaml", 5, f"queues.a.limits[{where}]")
    assert problem in str(found.problem)
    assert remedy in str(found.remedy)
    first, second = str(found).splitlines()
    assert first.startswith(f"topology.yaml:5: queues.a.limits[{where}]: ")
    assert second.startswith("  ")


BY = "version: 1\nlimits:\n  stripe:\n    rate: 10/s\n    by: %s\n"


@pytest.mark.parametrize(
    ("by", "problem"),
    [
        ("tenant", "cannot count by 'tenant'; did you mean 'args.tenant' or 'meta.tenant'?"),
        ("arg.tenant", "cannot count by 'arg.tenant'; did you mean 'args.tenant'?"),
        ("args", "cannot count by 'args'"),
        ("meta.", "cannot count by 'meta.'"),
        ("args..id", "cannot count by 'args..id'"),
        ("''", "cannot count by ''"),
        ("5", "must be a path, not 5"),
        ("[args.id]", 'must be a path, not ["args.id"]'),
    ],
)
def test_what_a_limit_cannot_count_by_is_one_line_with_its_place(by, problem):
    """The suggestion is never what was written."""
    found = mistake(BY % by)
    assert (found.file, found.line, found.key) == ("topology.yaml", 5, "limits.stripe.by")
    assert problem in str(found.problem)
    assert f"did you mean '{by}'" not in str(found.problem)
    assert "args.args" not in str(found)
    assert 'such as "args.tenant_id" or "meta.tenant"' in str(found.remedy)
    assert len(str(found).splitlines()) == 2


def test_an_unknown_key_of_a_limit_is_compared_with_those_there_are():
    """The remedy names all of them."""
    found = mistake("version: 1\nlimits: {stripe: {rate: 10/s, bye: args.id}}")
    assert (found.key, found.problem) == ("limits.stripe.bye", "unknown key; did you mean by?")
    assert "rate, concurrency, by, per" in str(found.remedy)


def test_the_remedy_explains_what_a_delivery_limit_of_minus_one_does():
    """The message has the reason."""
    assert "3.10 drops" in str(mistake("version: 1\nqueues: {a: {delivery_limit: -1}}").remedy)


def test_all_mistakes_are_reported_at_once_in_the_order_of_their_lines():
    """Mistakes in values, names and references are found together."""
    found = mistakes("""
version: 2
queues:
  orders:
    prefech: 1
    ttl: never
  orders: {}
  old: {type: classic, delivery_limit: 5, tll: 1h}
exchanges:
  amq.x: {type: topic}
bindings:
  - {source: nowhere}
  - {source: nowhere, destination: order}
routes:
  - {match: a}
""")
    assert [(error.line, error.key) for error in found] == [
        (2, "version"),
        (5, "queues.orders.prefech"),
        (6, "queues.orders.ttl"),
        (7, "queues.orders"),
        (8, "queues.old.tll"),
        (8, "queues.old.delivery_limit"),
        (10, 'exchanges."amq.x"'),
        (12, "bindings[0].destination"),
        (13, "bindings[1].source"),
        (13, "bindings[1].destination"),
        (15, "routes[0].queue"),
    ]
    assert str(found[0]).count("topology.yaml:") == len(found)


@pytest.mark.parametrize(
    "text",
    [
        "queues: {a: {type: quorm, delivery_limit: 5}}\ndefaults: {type: classic}",
        "queues: {a: {retry: {backoff: {base: 10m, max: 1x}}}}",
        "exchanges: {a: {external: 1}}",
        "queues: {a: 5}\nexchanges: {x: {type: topic}}\nbindings: [{source: x, destination: a}]",
        "queues: [a]\nexchanges: {x: {type: topic}}\nbindings: [{source: x, destination: a}]",
    ],
)
def test_a_mistake_brings_no_second_one_that_is_only_its_consequence(text):
    """A value that depends on a wrong one is not checked."""
    assert mistake("version: 1\n" + text)


def test_a_duplicate_key_is_refused_with_both_lines():
    """YAML would silently use the last one."""
    found = mistake("version: 1\nqueues:\n  a: {ttl: 1h}\n  b:\n  a: {ttl: 2h}\n")
    assert (found.line, found.key) == (5, "queues.a")
    assert "first one is on line 3" in found.problem


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version: 1\nqueues: {a: [}\n", 2),
        ("version: 1\nqueues:\n\ta: {}\n", 3),
        ("version: 1\nbindings:\n  - {source: a, destination: b, key: *.x}\n", 3),
        ("version: 1\nbindings:\n  - {source: {namespace}.tasks, destination: b}\n", 3),
        ("version: 1\n---\nversion: 1\n", 2),
        ("version: 1\nnamespace: !!python/name:os.system\n", 2),
        ("version: 1\nnamespace: a\x00b\n", 2),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(text, line):
    """The line is where the YAML parser stopped; the remedy names the usual reasons."""
    found = mistake(text)
    assert found.line == line
    assert found.problem.startswith("this is not YAML")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_refused(text):
    """A wrong path is more likely than a file for the defaults."""
    assert mistake(text).line == 1


@pytest.mark.parametrize("text", ["- a", "orders", "5"])
def test_a_file_that_is_no_mapping_is_refused(text):
    """The top level must have keys."""
    assert "must be a mapping" in mistake(text).problem


def test_a_file_without_its_version_is_refused():
    """The version determines how the file is read."""
    found = mistake("queues: {a: }")
    assert (found.line, found.key) == (1, "version")
    assert "version: 1" in str(found.remedy)


@pytest.mark.parametrize("version", ["'1'", "true", "1.0", "2", "null"])
def test_another_version_is_refused(version):
    """Only the number 1 is version 1."""
    assert mistake(f"version: {version}").key == "version"


def test_an_alias_is_followed_and_one_to_itself_is_refused():
    """Anchors avoid repetition in a file."""
    shared = parse_topology("version: 1\nqueues: {a: &it {ttl: 1h}, b: *it}")
    assert shared.queue("b").ttl == 3600
    assert "refers to a value that contains it" in str(
        mistakes("version: 1\nqueues: {a: &it {retry: *it}}")[0]
    )


def test_a_mistake_in_an_aliased_value_names_every_key_that_has_it():
    """The line is that of the value, and the key is each key that uses it."""
    found = mistakes("version: 1\nqueues:\n  a: &it {tll: 1h}\n  b: *it\n")
    assert [error.key for error in found] == ["queues.a.tll", "queues.b.tll"]


def test_a_file_is_loaded(tmp_path):
    """The path may be a text or a Path."""
    file = tmp_path / "topology.yaml"
    file.write_text("version: 1\nnamespace: shop.staging\n")
    assert load_topology(file) == load_topology(str(file))
    assert load_topology(file).namespace == "shop.staging"


def test_a_file_that_cannot_be_read_is_a_topology_error(tmp_path):
    """The error has the path and the setting that gives it."""
    with pytest.raises(TopologyError, match="No such file") as caught:
        load_topology(tmp_path / "nowhere.yaml")
    assert "nowhere.yaml" in str(caught.value)
    assert "STEM_TOPOLOGY" in str(caught.value)


def test_a_file_that_is_not_utf_8_is_a_topology_error(tmp_path):
    """The error has the position of the byte."""
    file = tmp_path / "topology.yaml"
    file.write_bytes(b"version: 1\n# \xff\n")
    with pytest.raises(TopologyError, match="not UTF-8: invalid start byte in line 2"):
        load_topology(file)


def test_a_topology_error_is_a_configuration_error_and_survives_a_process():
    """It can be caught with other configuration errors, and it can be pickled."""
    first = mistakes("version: 1\na: 1\nb: 2")[0]
    again = pickle.loads(pickle.dumps(first))
    assert isinstance(again, ConfigurationError)
    assert str(again) == str(first)
    assert (again.line, again.key, len(again.more)) == (2, "a", 1)
