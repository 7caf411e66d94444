"""Build the images of the Dockerfile with buildah, and look into them.

IMAGE_BASE names another base image: one with Python 3.11 or later and its module venv. Where buildah needs them, set
BUILDAH_ISOLATION and STORAGE_DRIVER too. With IMAGES_BUILT=1 an image that is there already is not built again.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_BASE = "docker.io/library/python:3.12-slim"


@dataclass(frozen=True)
class Variant:
    """An image that the Dockerfile can build.

    Attributes:
        target: the stage.
        requirements: the lock that the server's stage installs; empty for its default.
    """

    target: str
    requirements: str = ""


VARIANTS = {
    "server": Variant("server"),
    "server-approximate": Variant("server", "requirements/server-approximate.txt"),
    "server-cuda": Variant("server", "requirements/server-cuda.txt"),
    "web": Variant("web"),
    "trainer": Variant("trainer"),
}


def buildah(*arguments: object) -> str:
    """Run buildah and return what it printed; raises AssertionError with its messages."""
    done = subprocess.run(["buildah", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"buildah {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout.strip()


def base_image() -> str:
    """Return the image that all others start from."""
    return os.environ.get("IMAGE_BASE") or DEFAULT_BASE


def is_built(tag: str) -> bool:
    """Return True if there is an image with this tag, and it may be used."""
    wanted = os.environ.get("IMAGES_BUILT")
    return (
        bool(wanted) and subprocess.run(["buildah", "inspect", tag], capture_output=True, check=False).returncode == 0
    )


def build(name: str, checkout: Path) -> str:
    """Build a variant from a checkout; return its tag."""
    variant, tag = VARIANTS[name], f"localhost/cofactor-{name}"
    if is_built(tag):
        return tag
    given = {"BASE": base_image(), **({"REQUIREMENTS": variant.requirements} if variant.requirements else {})}
    flags = [f"--build-arg={argument}={value}" for argument, value in given.items()]
    # Images in OCI's own format have no health check.
    buildah("bud", "--format=docker", "--network=host", *flags, f"--target={variant.target}", f"--tag={tag}", checkout)
    return tag


@contextmanager
def container_of(tag: str) -> Iterator[str]:
    """Make a container of an image; yield its name and remove it."""
    name = buildah("from", "--pull-never", tag)
    try:
        yield name
    finally:
        buildah("rm", name)


def settings(tag: str) -> dict[str, Any]:
    """Return the configuration of an image: Entrypoint, User, Healthcheck and so on."""
    config: dict[str, Any] = json.loads(buildah("inspect", "--type=image", tag))["Docker"]["config"]
    return config


def clone(folder: Path) -> Path:
    """Clone this repository into a folder, so that what is only in the working folder cannot get into an image."""
    root = Path(__file__).resolve().parents[2]
    subprocess.run(["git", "clone", "--quiet", root, folder], check=True)
    return folder
