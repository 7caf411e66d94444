"""What deploy/ refers to exists: metrics and their labels, flags, ports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from cofactor_server.config import load_config
from cofactor_server.exposition import COUNTERS, GAUGES, ProcessReporter, ReportCollector
from cofactor_server.metrics import Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "cofactor.yaml").read_text()))
ADDED_BY_PROMETHEUS = {"instance", "job", "le"}


def known_metrics() -> dict[str, set[str]]:
    """Every sample name that a server exposes, with its labels."""
    metrics = Metrics()
    metrics.record("Recommend", "OK", 0.0, 0.0, 0.0)
    metrics.record_batch(1)
    metrics.record_shadow("x", "x", 0.0, 1.0)
    for name in COUNTERS:
        metrics.count(name, "x")
    gauges = {name: [(dict.fromkeys(labels, "x"), 1.0)] for name, (labels, _) in GAUGES.items()}
    reporter = ProcessReporter(metrics, lambda: gauges)
    return {
        sample.name: set(sample.labels)
        for metric in ReportCollector(lambda: [reporter.report()]).collect()
        for sample in metric.samples
    }


def expressions() -> list[tuple[str, str]]:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    found = [(rule["alert"], rule["expr"]) for group in rules["groups"] for rule in group["rules"]]
    dashboard = json.loads((DEPLOY / "grafana" / "cofactor.json").read_text())
    return found + [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]


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


def test_every_metric_is_on_the_dashboard() -> None:
    dashboard = (DEPLOY / "grafana" / "cofactor.json").read_text()
    shown = set(re.findall(r"\bcofactor_\w+", dashboard))
    sizes = {"cofactor_model_load_timestamp_seconds"}  # the age of the training is what matters
    assert {name for name in GAUGES if name not in shown} <= sizes
    assert {f"{name}_total" for name in COUNTERS} <= shown


def flags_of(arguments: list[str]) -> object:
    return load_config(["--models", "/models", "--host", "0.0.0.0", *arguments], {})[0]


def test_the_flags_of_the_manifests_are_ones_that_the_server_has() -> None:
    deployment = next(each for each in KUBERNETES if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    config = flags_of(pod["containers"][0]["args"])
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert ports == {"grpc": config.port, "metrics": config.metrics_port}
    assert pod["terminationGracePeriodSeconds"] > config.drain_delay_s + config.grace_s + 5
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    assert flags_of(compose["services"]["cofactor"]["command"]).metrics_port == config.metrics_port
    scrape = yaml.safe_load((DEPLOY / "compose" / "prometheus.yaml").read_text())
    assert scrape["scrape_configs"][0]["static_configs"][0]["targets"] == [f"cofactor:{config.metrics_port}"]


def test_the_manifests_select_what_they_deploy() -> None:
    kinds = {each["kind"]: each for each in KUBERNETES}
    assert kinds.keys() >= {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert kinds["Service"]["spec"]["selector"] == labels
    assert kinds["Service"]["spec"]["clusterIP"] == "None"
    assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == kinds["Deployment"]["metadata"]["name"]
