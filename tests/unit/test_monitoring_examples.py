"""The alert rules, the dashboard and the configuration in ``examples/monitoring`` fit the metrics."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from stem_amqp.observability.metrics import CATALOGUE, Kind
from stem_amqp.observability.queues import METRICS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "monitoring"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "stem-amqp.json"
TARGET = {"instance", "job", "le"}
"""Labels that Prometheus itself adds."""
VARIABLES = {"$__rate_interval": "5m", "$queue": ".*"}


def labels_of_metrics():
    """Return the labels of each time series, by its name."""
    found = {metric.name: set(metric.labels) for metric in METRICS}
    for one in CATALOGUE:
        histogram = one.kind is Kind.HISTOGRAM
        for suffix in ("_bucket", "_sum", "_count") if histogram else ("",):
            found[one.name + suffix] = set(one.labels)
    return found


KNOWN = labels_of_metrics()


def problems(expression, shown=""):
    """Return the unknown metrics and labels of an expression and of a text that shows its labels."""
    names = re.findall(r"\bstem_\w+", expression)
    found = [f"unknown metric {name}" for name in names if name not in KNOWN]
    allowed = TARGET.union(*(KNOWN.get(name, set()) for name in names))
    used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    for group in re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", expression):
        used |= {word.strip() for word in group.split(",") if word.strip()}
    used |= set(re.findall(r"{{\s*(?:\$labels\.)?(\w+)\s*}}", shown))
    return found + [f"unknown label {label}" for label in sorted(used - allowed)]


def promtool(*words):
    """Run promtool, and return its output; skip the test without it."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    ran = subprocess.run(
        [program, *map(str, words)],
        check=False,
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def rules():
    """Return the alert rules."""
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard():
    """Return the dashboard."""
    return json.loads(DASHBOARD.read_text())


def panels():
    """Return the panels that are no headings."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def targets():
    """Return each expression of the dashboard with the text that shows its labels."""
    return [
        (target["expr"], target["legendFormat"])
        for panel in panels()
        for target in panel["targets"]
    ]


def test_each_alert_fires_when_it_should_and_only_then():
    """Each rule has a test with a time at which it is quiet and one at which it fires."""
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")
    tested = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    expected = {check["alertname"]: [] for test in tested for check in test["alert_rule_test"]}
    for check in (check for test in tested for check in test["alert_rule_test"]):
        expected[check["alertname"]].append(bool(check["exp_alerts"]))
    found = {name: {*fires} for name, fires in expected.items()}
    assert found == {rule["alert"]: {False, True} for rule in rules()}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_uses_metrics_that_exist(rule):
    """A renamed metric would make an alert silent."""
    shown = " ".join(rule["annotations"].values())
    assert problems(rule["expr"], shown) == []
    assert rule["labels"]["severity"] in {"critical", "warning"}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_runbook(rule):
    """Its link leads to a section of the documentation."""
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    titles = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert anchor in anchors


def test_the_configuration_of_prometheus_is_valid():
    """It scrapes the services and the ports of compose.yaml."""
    promtool("check", "config", "prometheus.yml")
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    scraped = {
        target
        for job in config["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    }
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    served = {
        f"{name}:{service['command'][service['command'].index(option) + 1]}"
        for name, option in (("exporter", "--port"), ("worker", "--metrics-port"))
        for service in [services[name]]
    }
    assert scraped == served


def test_compose_mounts_what_exists_and_provisions_the_dashboard():
    """Monitoring is a profile of its own; Grafana finds the dashboard's folder."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    monitoring = {name for name, one in services.items() if one.get("profiles") == ["monitoring"]}
    assert monitoring == {"exporter", "prometheus", "grafana"}
    mounts = [
        mount.split(":")
        for name in ("prometheus", "grafana")
        for mount in services[name]["volumes"]
    ]
    assert [source for source, *_ in mounts if not (ROOT / source).exists()] == []
    inside = {place: ROOT / source for source, place, _ in mounts}
    provisioning = inside["/etc/grafana/provisioning"]
    provider = yaml.safe_load((provisioning / "dashboards" / "stem-amqp.yml").read_text())
    place = provider["providers"][0]["options"]["path"]
    assert inside[place] == DASHBOARD.parent
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())
    assert source["datasources"][0]["type"] == "prometheus"
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert inside["/etc/prometheus/alerts.yml"] == FOLDER / "alerts.yml"


def test_the_panels_have_their_own_ids_and_places():
    """Two panels at one place hide each other."""
    found = dashboard()["panels"]
    ids = [panel["id"] for panel in found]
    assert len(ids) == len(set(ids))
    places = [
        {
            (x, y)
            for x in range(box["x"], box["x"] + box["w"])
            for y in range(box["y"], box["y"] + box["h"])
        }
        for box in (panel["gridPos"] for panel in found)
    ]
    assert all(x < 24 for place in places for x, _ in place)
    assert not any(one & other for one, other in itertools.combinations(places, 2))


def test_the_panels_use_the_variable_for_the_data_source():
    """The dashboard works with a Prometheus of any name."""
    variables = {one["name"]: one["type"] for one in dashboard()["templating"]["list"]}
    assert variables == {"datasource": "datasource", "queue": "query"}
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert panel["datasource"] == source
        assert panel["title"]
        assert panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["datasource"] == source for target in panel["targets"])


@pytest.mark.parametrize(("expression", "legend"), targets())
def test_a_panel_uses_metrics_that_exist(expression, legend):
    """A renamed metric would leave a panel empty."""
    assert "stem_" in expression
    assert problems(expression, legend) == []


def test_every_expression_of_the_dashboard_can_be_parsed(tmp_path):
    """Promtool parses each as a rule."""
    expressions = [expression for expression, _ in targets()]
    for name, value in VARIABLES.items():
        expressions = [expression.replace(name, value) for expression in expressions]
    assert [expression for expression in expressions if "$" in expression] == []
    made = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(expressions)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": made}]}))
    promtool("check", "rules", path)


def test_every_metric_is_on_the_dashboard_or_left_out_on_purpose():
    """A new metric gets a panel, or a place in this list."""
    left_out = {"stem_management_up"}
    shown = {name for expression, _ in targets() for name in re.findall(r"\bstem_\w+", expression)}
    names = {metric.name for metric in METRICS}
    names |= {one.name + "_bucket" * (one.kind is Kind.HISTOGRAM) for one in CATALOGUE}
    assert names - shown == left_out


def test_wrong_expressions_are_noticed():
    """The checks of this module find what they should."""
    assert problems("rate(stem_nothing_total[5m])") == ["unknown metric stem_nothing_total"]
    assert problems('stem_broker_up{queue="a"}') == ["unknown label queue"]
    assert problems("sum by (task) (stem_queue_messages_ready)") == ["unknown label task"]
    assert problems("stem_broker_up", "{{ $labels.file }}") == ["unknown label file"]
