"""The manifests in ``examples/kubernetes`` are valid, and fit the worker."""

import re
from pathlib import Path

import pytest
import yaml
from documented.commands import wrong_use

from stem_amqp.cli.exporter import DEFAULT_PORT
from stem_amqp.cli.supervision.serve import LATENESS
from stem_amqp.durations import seconds
from stem_amqp.observability.queues import METRICS

kubernetes_validate = pytest.importorskip("kubernetes_validate")

FOLDER = Path(__file__).parents[2] / "examples" / "kubernetes"
RELEASES = ("1.33", kubernetes_validate.latest_version())
DOCUMENTS = {
    (path.name, document["kind"], document["metadata"]["name"]): document
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
}
CUSTOM = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
SCALED = {
    "scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "advanced", "triggers",
    "fallback", "cooldownPeriod",
}  # fmt: skip
"""Fields of KEDA's ScaledObject; its schema is in no package, so that the structure is checked here."""
SCALERS = {
    "rabbitmq": {
        "protocol", "queueName", "mode", "value", "vhostName", "excludeUnacknowledged", "activationValue",
        "hostFromEnv", "unsafeSsl",
    },
    "prometheus": {
        "serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues", "namespace",
    },
}  # fmt: skip
"""Fields of the metadata of two of KEDA's scalers."""


def documents(kind):
    """Return the documents of a kind, by their file."""
    return {file: one for (file, found, _), one in DOCUMENTS.items() if found == kind}


def worker():
    """Return the pod of the worker."""
    return documents("Deployment")["worker.yaml"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("key", DOCUMENTS, ids="-".join)
def test_a_manifest_is_valid(key, release):
    """The API server refuses an unknown field, or ignores it."""
    document = DOCUMENTS[key]
    if document["apiVersion"] in CUSTOM:
        assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
        return
    kubernetes_validate.validate(document, release, strict=True)


def test_an_invalid_manifest_is_noticed():
    """The schemas are strict."""
    document = documents("Deployment")["worker.yaml"]
    wrong = document | {"spec": document["spec"] | {"replica": 3}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, RELEASES[0], strict=True)


def test_selectors_fit_the_labels():
    """A Deployment, its disruption budget and the PodMonitor select the pods."""
    labels = {}
    for document in documents("Deployment").values():
        template = document["spec"]["template"]["metadata"]["labels"]
        assert document["spec"]["selector"]["matchLabels"].items() <= template.items()
        labels[document["metadata"]["name"]] = template
    budget = documents("PodDisruptionBudget")["worker.yaml"]["spec"]["selector"]["matchLabels"]
    assert budget.items() <= labels["orders-worker"].items()
    monitor = documents("PodMonitor")["podmonitor.yaml"]["spec"]
    [wanted] = monitor["selector"]["matchExpressions"]
    assert all(one[wanted["key"]] in wanted["values"] for one in labels.values())


def test_the_pods_have_time_to_stop():
    """Kubernetes kills the worker only after its grace period and after it has killed what is stuck."""
    [container] = worker()["containers"]
    pause = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    [grace] = [word.partition("=")[2] for word in container["args"] if word.startswith("--grace")]
    needed = pause + seconds(grace) + LATENESS
    assert needed <= worker()["terminationGracePeriodSeconds"] <= needed + 30


def test_the_commands_exist():
    """Each argument is an option of the command."""
    for document in documents("Deployment").values():
        [container] = document["spec"]["template"]["spec"]["containers"]
        assert wrong_use(container["args"], whole=True) is None


def test_ports_are_those_of_the_commands():
    """Probes and PodMonitor use ports by their names."""
    ports = {}
    for file, document in documents("Deployment").items():
        [container] = document["spec"]["template"]["spec"]["containers"]
        ports[file] = {one["name"]: one["containerPort"] for one in container["ports"]}
        given = " ".join(container["args"])
        numbers = {int(number) for number in re.findall(r"port=(\d+)", given)}
        assert numbers == set(ports[file].values())
    assert ports["exporter.yaml"] == {"metrics": DEFAULT_PORT}
    [container] = worker()["containers"]
    probes = {
        name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")
    }
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/startupz", "liveness": "/livez", "readiness": "/readyz"
    }  # fmt: skip
    assert {probe["port"] for probe in probes.values()} == {"health"}
    endpoints = documents("PodMonitor")["podmonitor.yaml"]["spec"]["podMetricsEndpoints"]
    assert [one["port"] for one in endpoints] == ["metrics"]


def test_the_pods_have_few_rights():
    """They run as a user without rights, on a file system that they cannot change."""
    for document in documents("Deployment").values():
        pod = document["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_every_secret_value_exists():
    """The example of the Secret has each key that the manifests read."""
    [secret] = documents("Secret").values()
    text = "".join(path.read_text() for path in FOLDER.glob("*.yaml"))
    read = set(re.findall(r"name: stem-amqp, key: ([\w-]+)", text))
    assert read == set(secret["stringData"])


@pytest.mark.parametrize("file", ["keda-by-length.yaml", "keda-by-age.yaml"])
def test_keda_scales_the_worker(file):
    """The fields are those of KEDA's definition, and its values are texts."""
    scaled = documents("ScaledObject")[file]
    spec = scaled["spec"]
    assert set(spec) <= SCALED
    assert spec["scaleTargetRef"]["name"] in {
        one["metadata"]["name"] for one in documents("Deployment").values()
    }
    [trigger] = spec["triggers"]
    assert set(trigger) <= {"type", "metadata", "metricType", "authenticationRef", "name"}
    assert set(trigger["metadata"]) <= SCALERS[trigger["type"]]
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    if "authenticationRef" in trigger:
        names = {one["metadata"]["name"] for one in documents("TriggerAuthentication").values()}
        assert trigger["authenticationRef"]["name"] in names
    used = re.findall(r"stem_\w+", trigger["metadata"].get("query", ""))
    assert set(used) <= {metric.name for metric in METRICS}


def test_the_worker_s_replicas_are_left_to_keda():
    """A number in the Deployment would be applied again with each deploy."""
    assert "replicas" not in documents("Deployment")["worker.yaml"]["spec"]
