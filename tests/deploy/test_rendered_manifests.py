"""Render deploy/ with kustomize and helm: both results are valid Kubernetes and agree object by object."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cofactor_server.config import load_config

pytestmark = pytest.mark.deploy
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
OVERLAYS = sorted(path.name for path in (DEPLOY / "kubernetes" / "overlays").iterdir())
KUBERNETES_VERSION = "1.33"
Objects = dict[tuple[str, str], dict[str, Any]]


def output_of(tool: str, *arguments: object) -> str:
    assert shutil.which(tool), f"{tool} is not on the PATH; `make test-deploy` installs it"
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects_in(text: str) -> Objects:
    documents = [document for document in yaml.safe_load_all(text) if document]
    found = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    assert len(found) == len(documents)
    return found


@cache
def kustomized(overlay: str) -> Objects:
    return objects_in(output_of("kustomize", "build", DEPLOY / "kubernetes" / "overlays" / overlay))


@cache
def templated(*options: object) -> Objects:
    chart = DEPLOY / "helm" / "cofactor"
    return objects_in(output_of("helm", "template", "cofactor", chart, "--kube-version", KUBERNETES_VERSION, *options))


def values_of(overlay: str) -> list[object]:
    path = DEPLOY / "helm" / "values" / f"{overlay}.yaml"
    return ["--values", path] if overlay != "cpu" else []


def problems(document: dict[str, Any]) -> list[str]:
    """Return what Kubernetes' own schema says against a document; unknown fields count."""
    try:
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [str(error)]
    return []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_of_an_overlay_is_valid(overlay) -> None:
    objects = kustomized(overlay)
    logging.getLogger("kubernetes_validate").setLevel(logging.ERROR)  # it knows no schema of a ServiceMonitor
    built_in = [document for (kind, _), document in objects.items() if kind != "ServiceMonitor"]
    assert len(built_in) >= 4
    assert [problem for document in built_in for problem in problems(document)] == []


def test_the_check_finds_a_misspelt_field() -> None:
    deployment = json.loads(json.dumps(kustomized("cpu")["Deployment", "cofactor"]))
    deployment["spec"]["template"]["spec"]["containers"][0]["readinessprobe"] = {}
    assert problems(deployment)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_helm_makes_the_same_objects_as_kustomize(overlay) -> None:
    assert templated(*values_of(overlay)) == kustomized(overlay)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_server_understands_the_arguments_and_ends_within_its_grace(overlay) -> None:
    for (kind, _), document in kustomized(overlay).items():
        if kind != "Deployment" or document["spec"]["template"]["spec"]["containers"][0]["name"] != "server":
            continue
        pod = document["spec"]["template"]["spec"]
        config, _ = load_config(["--models", "/models", "--host", "0.0.0.0", *pod["containers"][0]["args"]], {})
        assert pod["terminationGracePeriodSeconds"] > config.drain_delay_s + config.grace_s + 5
        assert bool(config.tls_certificate) != config.insecure_plaintext
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
        assert ("models" in mounts) == (config.models == "/models")


def test_no_two_deployments_select_the_same_pods() -> None:
    objects = kustomized("canary")
    stable, canary = objects["Deployment", "cofactor"], objects["Deployment", "cofactor-canary"]
    labels = [document["spec"]["template"]["metadata"]["labels"] for document in (stable, canary)]
    selectors = [document["spec"]["selector"]["matchLabels"] for document in (stable, canary)]
    assert labels == selectors
    assert labels[0]["cofactor-track"] != labels[1]["cofactor-track"]
    service = objects["Service", "cofactor"]["spec"]["selector"].items()
    assert all(service <= pod.items() for pod in labels)
    images = [document["spec"]["template"]["spec"]["containers"][0]["image"] for document in (stable, canary)]
    assert images == ["cofactor-server:0.2.0", "cofactor-server:canary"]


def test_each_replica_of_the_gpu_overlay_has_a_gpu_and_one_process() -> None:
    (container,) = kustomized("gpu")["Deployment", "cofactor"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    config, _ = load_config(["--models", "/models", "--host", "0.0.0.0", *container["args"]], {})
    assert (config.provider, config.workers) == ("cuda", 1)


def test_an_autoscaled_deployment_names_no_count_of_replicas() -> None:
    for overlay in OVERLAYS:
        scaled = ("HorizontalPodAutoscaler", "cofactor") in kustomized(overlay)
        assert ("replicas" in kustomized(overlay)["Deployment", "cofactor"]["spec"]) != scaled


def test_helm_refuses_a_misspelt_value() -> None:
    chart = DEPLOY / "helm" / "cofactor"
    command = ["helm", "template", "cofactor", chart, "--kube-version", KUBERNETES_VERSION, "--set", "replica=3"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "replica" in refused.stderr
