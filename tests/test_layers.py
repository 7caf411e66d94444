"""Which package may import which: the rule drawn in docs/architecture.md."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "trainer/cofactor_trainer": {"cofactor_server", "cofactor_client"},
    "server/cofactor_server": {"cofactor_trainer", "cofactor_client", "torch", "pandas", "onnx"},
    "client/cofactor_client": {"cofactor_trainer", "cofactor_server", "torch", "onnxruntime"},
}


def imported_packages(source: str) -> set[str]:
    """Top-level names of every import in a module, at whatever depth it stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_no_other_room(package):
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    for module in modules:
        assert not imported_packages(module.read_text(encoding="utf-8")) & FORBIDDEN[package], module


@pytest.mark.parametrize(
    ("package", "absent"),
    [
        ("cofactor_server.__main__", {"torch", "pandas", "cofactor_trainer", "cofactor_client"}),
        ("cofactor_client", {"numpy", "pandas", "torch", "onnxruntime", "cofactor_server"}),
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
