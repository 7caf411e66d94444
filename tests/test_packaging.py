"""The wheel holds the five packages and nothing else, and the base install has few dependencies."""

import math
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import onnx
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"cofactor", "cofactor_client", "cofactor_server", "cofactor_trainer", "cofactor_web"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_five_packages_with_their_type_information(wheel):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {"cofactor/v1/recommender.proto", "cofactor_web/openapi.json", "cofactor_web/page/index.html"} <= names


def test_the_wheel_holds_no_data(wheel):
    suffixes = {".csv", ".data", ".item", ".user", ".onnx", ".npz", ".bin"}
    found = {name for name in wheel.namelist() if Path(name).suffix in suffixes}
    # The templates of graphs have no tables.
    templates = {name for name in found if name.startswith("cofactor_trainer/graphs/templates/")}
    assert found == templates
    assert templates
    for name in templates:
        assert max((math.prod(tensor.dims) for tensor in tensors_of(wheel.read(name))), default=0) <= 64, name


def tensors_of(graph):
    """Return all constants of a graph: initializers and the attributes of nodes."""
    graph = onnx.load_from_string(graph).graph
    attributes = [attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t")]
    return [*graph.initializer, *attributes]


def test_the_base_install_has_only_the_dependencies_of_the_client(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    requirements = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist")
    base = {line.split(">=")[0].strip() for line in requirements if "extra ==" not in line}
    assert base == {"grpcio", "protobuf", "googleapis-common-protos", "rich"}


def test_image_and_lock_files_name_no_package_index():
    for path in [*(ROOT / "requirements").iterdir(), ROOT / "Dockerfile", ROOT / "pyproject.toml"]:
        text = path.read_text(encoding="utf-8")
        assert "index-url" not in text.replace("--no-emit-index-url", ""), path
        assert "files." not in text, path
