"""Build the images from a clean checkout with buildah, and run what is in them.

IMAGE_BASE names another base image: one with Python 3.11 or later and its module venv. Where buildah needs them, set
BUILDAH_ISOLATION and STORAGE_DRIVER too.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from tests.support.waiting import until

pytestmark = [pytest.mark.images, pytest.mark.timeout(3600)]
ROOT = Path(__file__).resolve().parents[2]
RATINGS = "user,item,rating\n" + "".join(f"u{n % 40},i{n * n % 31},{n % 5 + 1}\n" for n in range(1200))


def buildah(*arguments: object) -> str:
    done = subprocess.run(["buildah", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"buildah {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """Return a clone, so that what is only in the working folder cannot get into an image."""
    folder = tmp_path_factory.mktemp("checkout")
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def container(checkout) -> Iterator:
    """Build a stage of the Dockerfile; return the name of a container of it."""
    base, containers, images = os.environ.get("IMAGE_BASE"), [], []

    def build(target: str, **arguments: str) -> str:
        tag = f"localhost/cofactor-test-{target}-{len(images)}"
        given = {**({"BASE": base} if base else {}), **arguments}
        flags = [f"--build-arg={name}={value}" for name, value in given.items()]
        buildah("bud", "--network=host", *flags, f"--target={target}", f"--tag={tag}", checkout)
        images.append(tag)
        containers.append(buildah("from", tag))
        return containers[-1]

    yield build
    for name in containers:
        buildah("rm", name)
    for tag in images:
        buildah("rmi", tag)


@pytest.fixture(scope="module")
def server(container) -> str:
    return container("server")


def run(container: str, *command: object, volumes: tuple[str, ...] = ()) -> str:
    return buildah("run", "--network=host", *(f"--volume={volume}" for volume in volumes), container, "--", *command)


def imports(container: str, *modules: str) -> None:
    run(container, "python3", "-c", f"import {', '.join(modules)}")


def entry_point(container: str) -> list[str]:
    return json.loads(buildah("inspect", container))["OCIv1"]["config"]["Entrypoint"]


def test_the_server_answers_as_an_unprivileged_user_and_stops_when_asked(server, dot_version, tmp_path) -> None:
    command = [*entry_point(server), "--insecure-plaintext", "--port", "0"]
    volume = f"--volume={dot_version.parents[1]}:/models:ro"
    for folder in [dot_version, *dot_version.parents][:4]:
        folder.chmod(0o755)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["buildah", "run", "--network=host", volume, server, "--", *command], stdout=log, stderr=log
        )
    try:
        found: list[str] = []

        def listening() -> bool:
            text = (tmp_path / "log").read_text(encoding="utf-8")
            assert process.poll() is None, text
            found[:] = re.findall(r"listening on \S+ port (\d+)", text)
            return bool(found)

        until(listening, 120)
        inside = psutil.Process(process.pid).children(recursive=True)[-1]
        assert inside.uids().real == 10001
        with grpc.insecure_channel(f"127.0.0.1:{found[0]}") as channel:
            stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
            user = recommender_pb2.User(history=recommender_pb2.RatingHistory())
            assert stub.Recommend(recommender_pb2.RecommendRequest(user=user), timeout=20).results
        inside.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (tmp_path / "log").read_text(encoding="utf-8")
    finally:
        process.kill()


def test_the_server_has_what_the_docs_offer_and_no_installer(server) -> None:
    imports(server, "jwt", "s3fs", "model_signing", "opentelemetry.sdk")
    found = run(server, "sh", "-c", "ls / /work 2>&1; command -v pip pip3 gcc cc; python3 -m pip 2>&1; true")
    assert "No module named pip" in found
    assert not re.search(r"/(pip3?|gcc|cc)$", found, re.MULTILINE)


def test_the_server_can_have_the_approximate_index(container) -> None:
    imports(container("server", REQUIREMENTS="requirements/server-approximate.txt"), "faiss", "cofactor_server")


def test_the_trainer_trains_and_exports_a_version(container, tmp_path) -> None:
    trainer = container("trainer")
    (tmp_path / "ratings.csv").write_text(RATINGS, encoding="utf-8")
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(0o777)
    command = [*entry_point(trainer), "--dataset", "ratings.csv", "--name", "shop", "--epochs", "1"]
    run(trainer, *command, volumes=(f"{tmp_path}:/work",))
    (manifest,) = (tmp_path / "models" / "shop").glob("*/manifest.json")
    assert manifest.stat().st_uid == 10001
