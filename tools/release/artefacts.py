"""Build the files of a release: sdist, wheel, protoset, bills of materials, images."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tools.release.checkout import Commit
from tools.release.errors import ReleaseError

# The locks of the images; each has a bill of materials.
LOCKS = ("server", "server-approximate", "server-cuda", "web", "trainer")
CYCLONEDX = "cyclonedx-bom==7.5.0"
# Image -> arguments of the build.
IMAGES: dict[str, tuple[str, ...]] = {
    "cofactor-server:{version}": ("--target=server",),
    "cofactor-web:{version}": ("--target=web",),
    "cofactor-trainer:{version}": ("--target=trainer",),
    "cofactor-server:{version}-cuda": ("--target=server", "--build-arg=REQUIREMENTS=requirements/server-cuda.txt"),
}


def run(command: list[object], folder: Path, time: int | None = None) -> str:
    """Run a command in a folder and return its output; `time` is what it takes for the time of all files."""
    words = [str(word) for word in command]
    dated = {} if time is None else {"SOURCE_DATE_EPOCH": str(time)}
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **dated})
    if done.returncode:
        raise ReleaseError(f"{' '.join(words[:6])} failed: {done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout


def build_packages(source: Path, commit: Commit, dist: Path) -> list[Path]:
    """Build the sdist from the committed files and the wheel from the sdist, with the hatchling of the lock.

    The same commit gives the same bytes.
    """
    build = [sys.executable, "-m", "hatchling", "build", "-d", dist]
    run([*build, "-t", "sdist"], source, commit.time)
    sdist = dist / f"cofactor-{commit.version}.tar.gz"
    with tarfile.open(sdist) as archive:
        archive.extractall(source.parent / "sdist", filter="data")
    run([*build, "-t", "wheel"], source.parent / "sdist" / f"cofactor-{commit.version}", commit.time)
    return [sdist, dist / f"cofactor-{commit.version}-py3-none-any.whl"]


def protoset(source: Path) -> bytes:
    """Return the API of the protos as a FileDescriptorSet."""
    # Next to the interpreter: buf is a package of the dev extra.
    buf = shutil.which("buf", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if buf is None:
        raise ReleaseError("buf is not installed; run `make release`, which installs the dev extra")
    command = [buf, "build", "--as-file-descriptor-set", "--exclude-source-info", "--output", "-#format=binpb"]
    done = subprocess.run(command, cwd=source, capture_output=True, check=False)
    if done.returncode:
        raise ReleaseError(f"buf build failed: {done.stderr.decode(errors='replace')}")
    return done.stdout


def write_protoset(source: Path, commit: Commit, dist: Path) -> Path:
    """Copy the committed protoset of this version, with which later releases are compared.

    Raises ReleaseError if there is none, or if the protos have changed since.
    """
    committed = source / "proto" / "releases" / f"{commit.version}.binpb"
    if not committed.is_file() or committed.read_bytes() != protoset(source):
        raise ReleaseError(
            f"proto/releases/{committed.name} is not the API of this commit; run `make release-api` and commit the file"
        )
    return Path(shutil.copyfile(committed, dist / f"cofactor-{commit.version}.binpb"))


def write_bill_of_materials(source: Path, commit: Commit, dist: Path, lock: str, uv: str) -> Path:
    """Write the packages of a lock as CycloneDX; the same commit gives the same bytes."""
    target = dist / f"cofactor-{commit.version}-{lock}.cdx.json"
    tool = [uv, "tool", "run", "--quiet", "--from", CYCLONEDX, "cyclonedx-py", "requirements"]
    options = ["--output-reproducible", "--pyproject", "pyproject.toml", "--output-file", target]
    run([*tool, *options, f"requirements/{lock}.txt"], source, commit.time)
    return target


def image_builder() -> str | None:
    """Return the program that builds images here: one that is installed and, for docker, whose daemon answers."""
    for name in ("docker", "podman", "buildah"):
        path = shutil.which(name)
        if path and subprocess.run([path, "info"], capture_output=True, check=False).returncode == 0:
            return path
    return None


def build_images(source: Path, commit: Commit, builder: str) -> dict[str, str]:
    """Build all images. Return their names with the digests of their configurations."""
    digests = {}
    base = [f"--build-arg=BASE={os.environ['IMAGE_BASE']}"] if os.environ.get("IMAGE_BASE") else []
    for pattern, arguments in IMAGES.items():
        name = pattern.format(version=commit.version)
        print(f"building the image {name}", flush=True)
        run([builder, "build", *base, *arguments, "--tag", name, "."], source, commit.time)
        inspect = [builder, "inspect", "--format", "{{.FromImageID}}" if "buildah" in builder else "{{.Id}}", name]
        digests[name] = run(inspect, source).strip().removeprefix("sha256:")
    return digests
