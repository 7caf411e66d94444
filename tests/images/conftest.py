"""The images of the Dockerfile, built with buildah from a clean checkout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.images import ReadOnlyRoot, build, buildah, clone, container_of, is_built, read_only_root


@pytest.fixture(scope="session")
def image(tmp_path_factory) -> Iterator[Callable[[str], str]]:
    """Return a function that builds a variant, once, and returns its tag. Images that were there before stay."""
    tags: dict[str, str] = {}
    checkout = clone(tmp_path_factory.mktemp("images") / "checkout")
    kept = {
        name for name in ("server", "server-approximate", "web", "trainer") if is_built(f"localhost/cofactor-{name}")
    }

    def build_once(name: str) -> str:
        if name not in tags:
            tags[name] = build(name, checkout)
        return tags[name]

    yield build_once
    for name, tag in tags.items():
        if name not in kept:
            buildah("rmi", tag)


@pytest.fixture(scope="session")
def container(image) -> Iterator[Callable[[str], str]]:
    """Return a function that makes a container of a variant, for `buildah run`."""
    names: dict[str, str] = {}
    with ExitStack() as stack:

        def make(name: str) -> str:
            if name not in names:
                names[name] = stack.enter_context(container_of(image(name)))
            return names[name]

        yield make


@pytest.fixture(scope="session")
def read_only(image) -> Iterator[Callable[[str], ReadOnlyRoot]]:
    """Return a function that makes a container of a variant with a read-only root; skips the test unless root."""
    made: dict[str, ReadOnlyRoot] = {}
    with ExitStack() as stack:

        def make(name: str) -> ReadOnlyRoot:
            if os.geteuid():
                pytest.skip("only root can mount a file system read-only")
            if name not in made:
                made[name] = stack.enter_context(read_only_root(image(name)))
            return made[name]

        yield make


@pytest.fixture(scope="session")
def models(dot_version):
    """Return a model repository that every user may read."""
    for folder in [dot_version, *dot_version.parents][:4]:
        folder.chmod(0o755)
    return dot_version.parents[1]
