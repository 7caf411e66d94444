"""The metrics, labels, flags and ports that deploy/ refers to exist."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc
from cofactor_server.config import load_config
from cofactor_server.observability.counters import Metrics
from cofactor_server.observability.process_reports import MetricsReporter
from cofactor_server.observability.prometheus import COUNTERS, GAUGES, PrometheusCollector
from tests.support.waiting import until

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = [
    yaml.safe_load((DEPLOY / "kubernetes" / path).read_text())
    for path in (
        "base/server/deployment.yaml",
        "base/service.yaml",
        "base/disruption-budget.yaml",
        "base/network-policy.yaml",
        "components/autoscaling/autoscaler.yaml",
    )
]
WEB = {
    manifest["kind"]: manifest
    for path in ("deployment.yaml", "service.yaml")
    for manifest in [yaml.safe_load((DEPLOY / "kubernetes" / "components" / "web" / path).read_text())]
}
ADDED_BY_PROMETHEUS = {"instance", "job", "le"}


def known_metrics() -> dict[str, set[str]]:
    """Return sample name -> labels for everything that a server exposes."""
    metrics = Metrics()
    metrics.record("Recommend", "OK", 0.0, 0.0, 0.0)
    metrics.record_batch(1)
    metrics.record_shadow("x", "x", 0.0, 1.0)
    metrics.record_canary(("x", "x", "canary"), "OK", 0.0)
    for name in COUNTERS:
        metrics.count(name, "x")
    gauges = {name: [(dict.fromkeys(labels, "x"), 1.0)] for name, (labels, _) in GAUGES.items()}
    reporter = MetricsReporter(metrics, lambda: gauges)
    return {
        sample.name: set(sample.labels)
        for metric in PrometheusCollector(lambda: [reporter.report()]).collect()
        for sample in metric.samples
    }


def expressions() -> list[tuple[str, str]]:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    alerts = [(rule["alert"], rule["expr"]) for group in rules["groups"] for rule in group["rules"]]
    dashboard = json.loads((DEPLOY / "grafana" / "cofactor.json").read_text())
    return alerts + [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_expression_uses_metrics_and_labels_that_exist(where, expression) -> None:
    known = known_metrics()
    names = set(re.findall(r"\bcofactor_\w+", expression))
    assert names
    assert names <= known.keys()
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        labels |= {label.strip() for label in group.split(",")}
    possible = set().union(*(known[name] for name in names)) | ADDED_BY_PROMETHEUS
    assert labels <= possible
    assert expression.count("(") == expression.count(")")


def test_every_status_that_a_server_causes_has_an_alert() -> None:
    rules = (DEPLOY / "prometheus" / "alerts.yaml").read_text()
    codes = {code for codes in re.findall(r'code=~?"([A-Z_|]+)"', rules) for code in codes.split("|")}
    assert codes == {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    assert codes <= set(grpc.StatusCode.__members__)


def test_the_dashboard_takes_its_data_source_from_a_variable() -> None:
    text = (DEPLOY / "grafana" / "cofactor.json").read_text()
    (variable,) = json.loads(text)["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert set(re.findall(r'"uid": "([^"]+)"', text)) == {"cofactor", f"${{{variable['name']}}}"}


def test_every_metric_is_on_the_dashboard() -> None:
    dashboard = (DEPLOY / "grafana" / "cofactor.json").read_text()
    shown = set(re.findall(r"\bcofactor_\w+", dashboard))
    left_out = {"cofactor_model_load_timestamp_seconds"}  # the dashboard shows the time of training instead
    assert {name for name in GAUGES if name not in shown} <= left_out
    assert {f"{name}_total" for name in COUNTERS} <= shown


def entrypoint_of_the_server() -> list[str]:
    """Return the words of the entry point of the last stage, which is the server's."""
    dockerfile = (DEPLOY.parent / "Dockerfile").read_text()
    return json.loads(re.findall(r"^ENTRYPOINT (.+)$", dockerfile, re.MULTILINE)[-1])


def config_of(arguments: list[str]) -> object:
    return load_config(["--models", "/models", "--host", "0.0.0.0", *arguments], {})[0]


def test_the_manifests_use_flags_and_ports_of_the_server() -> None:
    deployment = next(manifest for manifest in KUBERNETES if manifest["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    config = config_of(pod["containers"][0]["args"])
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert ports == {"grpc": config.port, "metrics": config.metrics_port}
    assert pod["terminationGracePeriodSeconds"] > config.drain_delay_s + config.grace_s + 5
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    assert config_of(compose["services"]["cofactor"]["command"]).metrics_port == config.metrics_port
    scrape = yaml.safe_load((DEPLOY / "compose" / "prometheus.yaml").read_text())
    assert scrape["scrape_configs"][0]["static_configs"][0]["targets"] == [f"cofactor:{config.metrics_port}"]


def test_the_gateway_is_started_with_flags_that_it_has_and_reaches_the_server() -> None:
    from cofactor_web.__main__ import _build_parser

    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    pod = WEB["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    for arguments in (compose["web"]["command"], container["args"]):
        parsed = _build_parser().parse_args(["--host", "0.0.0.0", *arguments])
        assert parsed.target == "cofactor:50051"
    service = next(manifest for manifest in KUBERNETES if manifest["kind"] == "Service")
    assert parsed.target == f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert pod["metadata"]["labels"]["cofactor-client"] == "true", "the network policy lets it call"
    assert pod["spec"]["terminationGracePeriodSeconds"] > parsed.grace_s + 5 + 5
    assert container["ports"][0]["containerPort"] == parsed.port
    assert compose["web"]["ports"] == [f"127.0.0.1:{parsed.port}:{parsed.port}"]
    assert WEB["Service"]["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("page", ["Dockerfile", "README.md"])
def test_documented_docker_commands_have_the_flags_that_the_server_needs(page) -> None:
    entrypoint = entrypoint_of_the_server()
    commands = re.findall(r"docker run .* cofactor-server(.*)", (DEPLOY.parent / page).read_text())
    assert commands
    for command in commands:
        config, _ = load_config([*entrypoint[1:], *shlex.split(command)], {})
        assert (config.models, config.host) == ("/models", "0.0.0.0")


def test_the_comment_in_compose_names_the_folder_that_is_mounted() -> None:
    text = (DEPLOY / "compose" / "compose.yaml").read_text()
    comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    variable, default = re.search(r"\$\{(\w+):-\.\./\.\./([^}]+)\}:/models:ro", text).groups()
    assert f"the folder in {variable} " in comment
    assert f"The default is {default} at the top of the checkout" in comment


def test_selectors_match_the_deployment() -> None:
    kinds = {manifest["kind"]: manifest for manifest in KUBERNETES}
    assert kinds.keys() >= {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert kinds["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert kinds["Service"]["spec"]["selector"].items() <= labels.items()
    assert kinds["Service"]["spec"]["clusterIP"] == "None"
    assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == kinds["Deployment"]["metadata"]["name"]


def test_only_named_pods_reach_the_ports() -> None:
    (policy,) = (manifest for manifest in KUBERNETES if manifest["kind"] == "NetworkPolicy")
    open_to = {rule["ports"][0]["port"]: rule["from"] for rule in policy["spec"]["ingress"]}
    assert open_to[50051] == [{"podSelector": {"matchLabels": {"cofactor-client": "true"}}}]
    assert open_to[9464] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_one_slow_answer_does_not_take_a_replica_away() -> None:
    deployment = next(manifest for manifest in KUBERNETES if manifest["kind"] == "Deployment")
    probe = deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 10
    assert probe["failureThreshold"] > 1
    assert probe["timeoutSeconds"] > 1


def arguments_of_the_pod(folder: Path, models: Path) -> list[str]:
    """Return the arguments of the container, with its volumes in `folder` and free ports."""
    container = KUBERNETES[0]["spec"]["template"]["spec"]["containers"][0]
    volumes = {"/models": str(models), "/copies": str(folder / "copies"), "/etc/cofactor": str(folder)}
    arguments = [*entrypoint_of_the_server()[1:], *container["args"]]
    for mount, actual in volumes.items():
        arguments = [re.sub(rf"(^|=){mount}\b", rf"\g<1>{actual}", argument) for argument in arguments]
    ports = [f"--{name}={free_port()}" for name in ("port", "metrics-port", "admin-port")]
    return [*arguments, *ports, "--host=127.0.0.1", "--provider=cpu", "--drain-delay-s=3"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_pod_starts_is_probed_and_drains_as_the_manifest_says(dot_version, tmp_path) -> None:
    token = "a" * 64
    digest = hashlib.sha256(token.encode()).hexdigest()
    (tmp_path / "tokens.toml").write_text(f'[clients.web]\nsha256 = "{digest}"\nmethods = ["*"]\n')
    arguments = arguments_of_the_pod(tmp_path, dot_version.parents[1])
    config = load_config(arguments, {})[0]
    pod = subprocess.Popen([sys.executable, "-m", "cofactor_server", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{config.port}") as channel:
            probe, models = health_pb2_grpc.HealthStub(channel), catalog_pb2_grpc.CatalogServiceStub(channel)

            def health() -> int:  # without a token, like the kubelet
                return probe.Check(health_pb2.HealthCheckRequest(), timeout=30, wait_for_ready=True).status

            until(lambda: health() == health_pb2.HealthCheckResponse.SERVING, 30)
            with pytest.raises(grpc.RpcError) as refused:
                models.GetModel(catalog_pb2.GetModelRequest(), timeout=5)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
            metadata = [("authorization", f"Bearer {token}")]
            assert models.GetModel(catalog_pb2.GetModelRequest(), metadata=metadata, timeout=5).model.version
            scraped = urllib.request.urlopen(f"http://127.0.0.1:{config.metrics_port}/metrics", timeout=5).read()
            assert b"cofactor_workers 1.0" in scraped
            assert list((tmp_path / "copies").rglob("tables.bin"))
            os.kill(pod.pid, signal.SIGTERM)
            not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
            until(lambda: health() == not_serving, 30, "the pod is not ready, so the Service stops sending calls")
            socket.create_connection(
                ("127.0.0.1", config.port), timeout=5
            ).close()  # the pod still passes its liveness probe
            assert models.GetModel(catalog_pb2.GetModelRequest(), metadata=metadata, timeout=5).model.version
        _, log = pod.communicate(timeout=30)
    finally:
        pod.kill()
        pod.wait()
    assert pod.returncode == 0
    assert all(json.loads(line) for line in log.splitlines())
