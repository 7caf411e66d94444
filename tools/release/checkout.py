"""Check that a checkout can be released, and copy what is committed."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tools.release.errors import ReleaseError
from tools.release.versions import check_changelog, disagreements, project_version


@dataclass(frozen=True)
class Commit:
    """The commit that is released.

    Attributes:
        sha: its id.
        time: seconds since 1970; the time of every file in the release.
        version: version of the project.
    """

    sha: str
    time: int
    version: str


def git(root: Path, *arguments: str) -> bytes:
    """Return the output of a git command."""
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False)
    if done.returncode:
        raise ReleaseError(f"git {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def check_out(root: Path) -> Commit:
    """Return the commit to release.

    Raises ReleaseError for a dirty tree, a version that is tagged already, and places that name other versions.
    """
    if changed := git(root, "status", "--porcelain").decode().splitlines():
        raise ReleaseError(f"the tree has {len(changed)} uncommitted changes, such as {changed[0][3:]}; commit them")
    version = project_version(root)
    if tag := git(root, "tag", "--list", f"v{version}").decode().strip():
        raise ReleaseError(f"the tag {tag} exists: {version} was released; raise the version in pyproject.toml")
    if lines := disagreements(root):
        raise ReleaseError("\n".join([*lines, "change these places and commit"]))
    check_changelog(root)
    sha, time = git(root, "log", "-1", "--format=%H %ct").decode().split()
    return Commit(sha, int(time), version)


def export(root: Path, commit: Commit, folder: Path) -> None:
    """Write the committed files to an empty folder, so that nothing else gets into the release."""
    with tarfile.open(fileobj=io.BytesIO(git(root, "archive", commit.sha))) as archive:
        archive.extractall(folder, filter="data")
