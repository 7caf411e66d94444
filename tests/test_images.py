"""The Dockerfile, the extras of pyproject.toml, the locks in requirements/ and the Makefile fit together."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# What docs/ offer for every image of the server: --jwt-keys, s3:// repositories, --require-signature, --tracing.
OFFERED = ("jwt", "s3", "signing", "telemetry")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def packages_of(*extras: str) -> set[str]:
    """Return the packages that the project asks for with these extras, without versions and markers."""
    found = set()
    for requirement in [*PROJECT["dependencies"], *(entry for extra in extras for entry in EXTRAS[extra])]:
        name, bracketed = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", requirement).groups()
        if name == "cofactor":
            found |= packages_of(*bracketed.split(","))
        elif "platform_machine != 'x86_64'" not in requirement:
            found.add(normalised(name))
    return found


def locked(file: str) -> set[str]:
    """Return the packages in a lock that are installed on Linux x86-64."""
    lines = re.findall(r"^([\w.-]+)(?:\[\S+\])?==\S+(.*)$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    return {normalised(name) for name, rest in lines if "platform_machine != 'x86_64'" not in rest}


SERVER_LOCKS = {
    "requirements/server.txt": ("server-cpu",),
    "requirements/server-approximate.txt": ("server-cpu", "approximate"),
    "requirements/server-cuda.txt": ("server", "cuda"),
}


@pytest.mark.parametrize("lock", SERVER_LOCKS)
def test_every_image_of_the_server_has_what_the_docs_offer(lock) -> None:
    assert packages_of(*SERVER_LOCKS[lock], *OFFERED) <= locked(lock)


def test_the_default_image_has_no_cuda_and_no_training_library() -> None:
    packages = locked("requirements/server.txt")
    assert "onnxruntime" in packages
    assert not {name for name in packages if name in ("torch", "pandas", "onnxruntime-gpu") or "nvidia" in name}


def test_the_image_of_the_trainer_can_train_report_search_publish_and_sign() -> None:
    assert packages_of("trainer", "report", "s3", "search", "signing", "tracking") <= locked("requirements/trainer.txt")


def test_the_image_of_the_gateway_has_what_it_needs_and_no_model_library() -> None:
    assert packages_of("web") <= locked("requirements/web.txt")
    assert not {"numpy", "onnxruntime", "torch"} & locked("requirements/web.txt")


def test_server_cpu_is_the_server_with_the_plain_onnxruntime() -> None:
    assert packages_of("server-cpu") ^ packages_of("server") == {"onnxruntime", "onnxruntime-gpu"}


def test_make_lock_writes_every_lock_that_the_dockerfile_and_the_docs_name() -> None:
    written = set(re.findall(r"--output-file (requirements/\S+)", MAKEFILE)) | {"requirements/dev.txt"}
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "requirements").glob("*.txt")} == written
    texts = [DOCKERFILE, *(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/**/*.md"))]
    named = {lock for text in texts for lock in re.findall(r"requirements/[\w-]+\.txt", text)}
    assert {*SERVER_LOCKS, "requirements/trainer.txt", "requirements/web.txt"} <= named <= written


def test_the_server_is_the_default_stage_and_every_stage_that_runs_is_not_root() -> None:
    stages = re.findall(r"^FROM \S+ AS ([\w-]+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.DOTALL | re.MULTILINE)
    assert stages[-1][0] == "server", "docker builds the last stage unless --target names another"
    entry_points = {name: text for name, text in stages if "ENTRYPOINT" in text}
    assert entry_points.keys() == {"trainer", "web", "server"}
    for name, text in entry_points.items():
        assert "USER 10001" in text
        assert f"COPY --from={name}-environment /opt/cofactor /opt/cofactor" in text
    assert set(re.findall(r"--from=([\w-]+)", DOCKERFILE)) <= {name for name, _ in stages}


def test_make_help_lists_every_target() -> None:
    makefiles = MAKEFILE + (ROOT / "client" / "clients.mk").read_text(encoding="utf-8")
    targets = {
        target
        for declared in re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefiles, re.MULTILINE)
        for target in declared.replace("\\\n", " ").split()
    }
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == {line.split()[0] for line in listed.splitlines()}
    assert targets >= {"lock", "client-go", "stubs-java"}
