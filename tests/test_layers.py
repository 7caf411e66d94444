"""Check which package may import which: the lists are those of docs/architecture.md."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SERVER, TRAINER, CLIENT = "server/cofactor_server", "trainer/cofactor_trainer", "client/cofactor_client"
WEB = "client/web/cofactor_web"
# Top-level packages that a package never imports.
FORBIDDEN = {
    TRAINER: {"cofactor_server", "cofactor_client"},
    SERVER: {"cofactor_trainer", "cofactor_client", "torch", "pandas", "onnx"},
    CLIENT: {"cofactor_trainer", "cofactor_server", "cofactor_web", "torch", "onnxruntime"},
    WEB: {"cofactor_trainer", "cofactor_server", "torch", "pandas", "numpy", "onnxruntime"},
}
# From the top: a module imports its own package and the layers below. Packages in one line do not import each other. A
# module at the root of a package is a layer by its own name.
LAYERS = {
    SERVER: (
        ("__main__",),
        ("runtime",),
        ("server", "batch"),
        ("services", "admin"),
        ("transport",),
        ("serving",),
        ("inference",),
        ("ranking",),
        ("feedback",),
        ("repository",),
        ("security", "observability"),
        ("config", "scheduling"),
        ("errors", "arrays", "__init__"),
    ),
    TRAINER: (
        ("__main__",),
        ("commands",),
        ("report", "refresh"),
        ("export",),
        ("graphs",),
        ("training",),
        ("architectures", "evaluation"),
        ("scoring",),
        ("data",),
        ("errors", "interruption", "memory", "__init__"),
    ),
    WEB: (
        ("__main__",),
        ("http_server",),
        ("app",),
        ("page_routes", "rpc_endpoint"),
        ("grpc_server", "http_messages", "server_metrics", "api_docs"),
        ("problems", "rpcs"),
        ("json_decoding",),
        ("json_encoding", "settings"),
        ("__init__",),
    ),
}
# Where more is known than the order of the layers: package -> top-level packages that nothing in it imports.
PURE = {
    f"{SERVER}/ranking": {"grpc", "onnxruntime"},
    f"{TRAINER}/scoring": {"torch", "onnx", "onnxruntime"},
}
# The modules that read grpcio's private names; docs/decisions/0008 says why.
GRPC_INTERNALS = [f"{SERVER}/transport/early_bodies.py", f"{SERVER}/transport/unthreaded_stream.py"]
MOST_MODULES = 20


def modules_of(package: str, root: Path = ROOT) -> list[Path]:
    files = (root / package).rglob("*.py")
    found = sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts))
    assert found
    return found


def imports(source: str) -> Iterator[str]:
    """Yield the dotted name of every import, wherever it stands; `from a import b` yields a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_level(source: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(source)}


def module_name(path: Path, top: Path) -> str:
    """Return the dotted name of a file, cofactor_server.ranking.filters."""
    parts = path.relative_to(top).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def import_graph(package: str, root: Path = ROOT) -> dict[str, set[str]]:
    """Return the imports of each module of a package, among themselves."""
    top = (root / package).parent
    names = {module_name(path, top): path for path in modules_of(package, root)}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        # What `from a.b import c` names is the module a.b.c or, failing that, a name in the module a.b.
        targets = {n if n in names else n.rpartition(".")[0] for n in imports(path.read_text("utf-8"))}
        graph[name] = {target for target in targets if target in names and target != name}
    return graph


def upward_imports(package: str, root: Path = ROOT) -> list[str]:
    """Return each import that goes up, or across to another member of the same layer."""
    rank = {name: number for number, layer in enumerate(LAYERS[package]) for name in layer}

    def layer_of(module: str) -> str:
        parts = module.split(".")
        return parts[1] if len(parts) > 1 else "__init__"

    found = []
    for module, targets in import_graph(package, root).items():
        own = layer_of(module)
        for target in sorted(targets):
            other = layer_of(target)
            if own != other and rank[other] <= rank[own]:
                found.append(f"{module} imports {target}")
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_none_of_the_other_packages(package):
    for module in modules_of(package):
        assert not top_level(module.read_text("utf-8")) & FORBIDDEN[package], module


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_down_the_layers(package):
    assert upward_imports(package) == []


@pytest.mark.parametrize("package", LAYERS)
def test_every_folder_and_module_has_a_layer(package):
    members = {
        path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert members == {name for layer in LAYERS[package] for name in layer}


@pytest.mark.parametrize(
    ("package", "module", "statement"),
    [
        (SERVER, "ranking/filters.py", "from cofactor_server.services import recommend"),
        (SERVER, "repository/sources.py", "import cofactor_server.inference.engine"),
        (SERVER, "security/tls.py", "from cofactor_server.observability.logs import call_ids"),
        (TRAINER, "data/splits.py", "from cofactor_trainer.training.train import train"),
    ],
)
def test_a_planted_upward_import_is_found(package, module, statement, tmp_path):
    for path in modules_of(package):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text("utf-8"), "utf-8")
    planted = tmp_path / package / module
    assert upward_imports(package, tmp_path) == []
    planted.write_text(f"{planted.read_text('utf-8')}\n\ndef planted():\n    {statement}\n", "utf-8")
    assert len(upward_imports(package, tmp_path)) == 1


@pytest.mark.parametrize("package", [SERVER, TRAINER, CLIENT, WEB])
def test_no_modules_import_each_other_in_a_circle(package):
    try:
        TopologicalSorter(import_graph(package)).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_imports_only_what_it_may(package):
    for module in modules_of(package):
        assert not top_level(module.read_text("utf-8")) & PURE[package], module


def test_two_modules_read_the_private_names_of_grpcio():
    private = re.compile(r"\bgrpc(\.\w+)?\._[a-z]|from grpc import _|import_module\(\"grpc")
    users = [module for module in modules_of(SERVER) if private.search(module.read_text("utf-8"))]
    assert users == [ROOT / name for name in GRPC_INTERNALS]


@pytest.mark.parametrize("package", [SERVER, TRAINER, CLIENT, WEB, "benchmarks", "tests", "examples"])
def test_no_folder_is_crowded(package):
    folders = {path.parent for path in modules_of(package)}
    crowded = {str(f.relative_to(ROOT)): n for f in folders if (n := len(list(f.glob("*.py")))) > MOST_MODULES + 1}
    assert crowded == {}  # __init__.py comes on top


@pytest.mark.parametrize(
    ("package", "absent"),
    [
        ("cofactor_server.__main__", {"torch", "pandas", "cofactor_trainer", "cofactor_client"}),
        ("cofactor_client", {"numpy", "pandas", "torch", "onnxruntime", "cofactor_server"}),
        ("cofactor_web.app", {"numpy", "pandas", "torch", "onnxruntime", "cofactor_server"}),
    ],
)
def test_importing_a_package_loads_nothing_it_does_not_need(package, absent):
    code = f"import sys, {package}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert package.partition(".")[0] in loaded
    assert not absent & set(loaded)


@pytest.mark.parametrize("package", ["cofactor_server", "cofactor_trainer"])
def test_onnx_runtime_reports_nothing_to_its_maker(package):
    code = f"import {package}, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "1"
