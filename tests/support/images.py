"""Build the images of the Dockerfile with buildah, and look into them.

IMAGE_BASE names another base image: one with Python 3.11 or later and its module venv. Where buildah needs them, set
BUILDAH_ISOLATION and STORAGE_DRIVER too. With IMAGES_BUILT=1 an image that is there already is not built again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.waiting import until

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


# Runs in a mount namespace of its own. $1: the root of the image. $2: a folder for its /models, or "".
_READ_ONLY = """
set -e
root=$1 models=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
mount -t tmpfs tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
if [ -n "$models" ]; then mount --bind "$models" "$root/models"; mount -o remount,ro,bind "$root/models"; fi
exec chroot --userspec=10001:10001 "$root" "$@"
"""


class ReadOnlyRoot:
    """A container whose commands run as the image's user, on a root file system that nobody can write to."""

    def __init__(self, tag: str, root: Path) -> None:
        """`root` is where the container is mounted."""
        config = settings(tag)
        assert config["User"] == "10001"
        self.entry_point: list[str] = config["Entrypoint"]
        self.health_command: list[str] = config.get("Healthcheck", {}).get("Test", [])[1:]
        self._root = root
        self._environment = dict(entry.split("=", 1) for entry in config["Env"])
        (root / "models").mkdir(exist_ok=True)

    def start(self, *command: str, log: Path, models: Path | str = "", **environment: str) -> subprocess.Popen[bytes]:
        """Start a command; the process is its own, so signals reach it. Its output goes to `log`."""
        argv = ["unshare", "--mount", "sh", "-c", _READ_ONLY, "sh", self._root, models, *command]
        with log.open("wb") as output:
            return subprocess.Popen(
                list(map(str, argv)), stdout=output, stderr=output, env={**self._environment, **environment}
            )

    def run(self, *command: str, log: Path, **environment: str) -> tuple[int, str]:
        """Run a command; return its exit status and its output."""
        status = self.start(*command, log=log, **environment).wait(120)
        return status, log.read_text(encoding="utf-8")


@contextmanager
def read_only_root(tag: str) -> Iterator[ReadOnlyRoot]:
    """Make a container of an image, to run it with a read-only root; needs root."""
    with container_of(tag) as container:
        root = Path(buildah("mount", container))
        try:
            yield ReadOnlyRoot(tag, root)
        finally:
            buildah("umount", container)


@contextmanager
def running_server(image: ReadOnlyRoot, models: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the server of an image without TLS; yield its process and its port."""
    process = image.start(*image.entry_point, "--insecure-plaintext", "--port", "0", log=log, models=models)
    try:
        found: list[str] = []

        def listening() -> bool:
            text = log.read_text(encoding="utf-8")
            assert process.poll() is None, text
            found[:] = re.findall(r"listening on \S+ port (\d+)", text)
            return bool(found)

        until(listening, 120)
        yield process, int(found[0])
    finally:
        process.kill()
        process.wait()
