"""Compare the places that name the version of the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tools.release.errors import ReleaseError

# File -> patterns whose group is the version. Every pattern must be found.
PLACES = {
    "CHANGELOG.md": (r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$",),
    "SECURITY.md": (r"latest minor release \((\d+\.\d+) at present\)",),
    "deploy/helm/cofactor/Chart.yaml": (r"^version: (\S+)$", r"^appVersion: (\S+)$"),
    "deploy/helm/cofactor/values.yaml": (r"^image: cofactor-server:(\S+)$", r"^  image: cofactor-web:(\S+)$"),
    "deploy/helm/values/gpu.yaml": (r"^image: cofactor-server:(\S+)-cuda$",),
    "deploy/kserve/inference-service.yaml": (r"^ +image: cofactor-server:(\S+)$",),
    "deploy/kserve/serving-runtime.yaml": (r"^ +image: cofactor-server:(\S+)$",),
    "deploy/kubernetes/base/server/deployment.yaml": (r"^ +image: cofactor-server:(\S+)$",),
    "deploy/kubernetes/components/web/deployment.yaml": (r"^ +image: cofactor-web:(\S+)$",),
    "deploy/kubernetes/components/gpu/kustomization.yaml": (r"name: cofactor-server, newTag: (\S+)-cuda\}",),
}


def project_version(root: Path) -> str:
    """Return the version in pyproject.toml, which all other places follow."""
    return str(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def disagreements(root: Path) -> list[str]:
    """Return a line for every place whose version is not that of pyproject.toml."""
    version, found = project_version(root), []
    for name, patterns in PLACES.items():
        text = (root / name).read_text(encoding="utf-8")
        for pattern in patterns:
            match = re.search(pattern, text, re.MULTILINE)
            wanted = version.rpartition(".")[0] if name == "SECURITY.md" else version
            if match is None:
                found.append(f"{name}: no version where {pattern} should find {wanted}")
            elif match[1] != wanted:
                line = text.count("\n", 0, match.start(1)) + 1
                found.append(f"{name}:{line}: the version is {match[1]}, and pyproject.toml has {version}")
    return found


def check_changelog(root: Path) -> None:
    """Raise ReleaseError if entries wait under [Unreleased]: the release would leave them out."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if section and section[1].strip():
        raise ReleaseError(
            f"CHANGELOG.md has entries under [Unreleased]; move them under [{project_version(root)}] and commit"
        )
