"""The manifests of KServe fit its own schemas and the server's flags; those of Envoy and Linkerd fit Kubernetes'."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from cofactor_server.config import load_config
from tests.deploy.test_rendered_manifests import DEPLOY, KUBERNETES_VERSION, output_of

pytestmark = pytest.mark.deploy
KSERVE = "github.com/kserve/kserve@v0.15.2"  # its Go module has the schemas
MANIFESTS = [
    document
    for path in sorted((DEPLOY / "kserve").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text("utf-8"))
]


@pytest.fixture(scope="module")
def schemas(tmp_path_factory) -> dict[tuple[str, str], dict[str, Any]]:
    """Return (apiVersion, kind) -> schema of KServe's own resources, from the Go module proxy."""
    assert shutil.which("go"), "go is not on the PATH"
    command = ["go", "mod", "download", "-json", KSERVE]
    folder = tmp_path_factory.mktemp("module")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found = {}
    for path in (Path(json.loads(done.stdout)["Dir"]) / "config" / "crd" / "full").glob("serving.*.yaml"):
        definition = yaml.safe_load(path.read_text("utf-8"))["spec"]
        for version in definition["versions"]:
            key = f"{definition['group']}/{version['name']}", definition["names"]["kind"]
            found[key] = strict(version["schema"]["openAPIV3Schema"])
    return found


def strict(schema: Any) -> Any:
    """Return a schema that refuses fields that it does not know, as the API server warns of them."""
    if isinstance(schema, list):
        return [strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {name: strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        copy.setdefault("additionalProperties", False)
    return copy


def problems(schemas: dict, document: dict[str, Any]) -> list[str]:
    schema = dict(schemas[document["apiVersion"], document["kind"]])
    schema["properties"] = {**schema["properties"], "metadata": {"type": "object"}}
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]


@pytest.mark.parametrize("document", MANIFESTS, ids=lambda document: f"{document['kind']}")
def test_a_manifest_of_kserve_fits_the_schema(schemas, document) -> None:
    assert problems(schemas, document) == []


def test_the_check_finds_a_misspelt_field(schemas) -> None:
    service = json.loads(json.dumps(next(one for one in MANIFESTS if one["kind"] == "InferenceService")))
    service["spec"]["predictor"]["minReplica"] = 2
    assert problems(schemas, service)


def test_the_server_understands_the_arguments() -> None:
    pods = [document["spec"].get("predictor", document["spec"]) for document in MANIFESTS]
    containers = [container for pod in pods for container in pod.get("containers", [])]
    assert len(containers) == 2
    for container in containers:
        config, _ = load_config(["--models", "/models", "--host", "0.0.0.0", *container["args"]], {})
        assert config.oip
        assert container["ports"] == [{"name": "h2c", "containerPort": config.port, "protocol": "TCP"}]


@pytest.mark.parametrize("component", ["envoy", "linkerd"])
def test_the_overlay_cpu_with_a_component_is_valid(component, tmp_path) -> None:
    shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes" / "overlays" / "tried"
    overlay.mkdir()
    parts = {"resources": ["../cpu"], "components": [f"../../components/{component}"]}
    header = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump({**header, **parts}), "utf-8")
    documents = list(yaml.safe_load_all(output_of("kustomize", "build", overlay)))
    logging.getLogger("kubernetes_validate").setLevel(logging.ERROR)
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    assert f"cofactor-{component}" in {document["metadata"]["name"] for document in documents}
