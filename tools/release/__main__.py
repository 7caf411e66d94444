"""Make a release in dist/: `make release`, or `python -m tools.release`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tools.release import artefacts, provenance, trial
from tools.release.checkout import Commit, check_out, export, git
from tools.release.errors import ReleaseError
from tools.release.versions import project_version

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 1 if it fails."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def write_api(_: argparse.Namespace) -> None:
    """Write the protoset of this version, with which later releases are compared."""
    path = ROOT / "proto" / "releases" / f"{project_version(ROOT)}.binpb"
    path.write_bytes(artefacts.protoset(ROOT))
    print(f"wrote {path.relative_to(ROOT)}")


def write_bills(options: argparse.Namespace) -> None:
    """Write the bills of materials of all images, of the locks as they are in the working tree."""
    options.dist.mkdir(parents=True, exist_ok=True)
    commit = Commit("", int(git(ROOT, "log", "-1", "--format=%ct")), project_version(ROOT))
    for lock in artefacts.LOCKS:
        print(f"wrote {artefacts.write_bill_of_materials(ROOT, commit, options.dist, lock, options.uv)}", flush=True)


def make_release(options: argparse.Namespace) -> None:
    """Make the release of this checkout."""
    make(ROOT, options)


def make(root: Path, options: argparse.Namespace) -> None:
    """Write all files of the release of a checkout to the folder --dist."""
    started, commit = datetime.now(UTC), check_out(root)
    _check(options, root)
    print(f"releasing {commit.version} from {commit.sha[:12]}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cofactor-release-") as name:
        source, built = Path(name) / "source", Path(name) / "dist"
        source.mkdir()
        built.mkdir()
        export(root, commit, source)
        files = _build(source, commit, built, options)
        builder = None if options.without_images else artefacts.image_builder()
        if builder is None:
            why = "--without-images was given" if options.without_images else "docker, podman or buildah is not here"
            print(f"images are left out: {why}")
        images = artefacts.build_images(source, commit, builder) if builder else {}
        content = provenance.statement(commit, source, files, images, options.builder_id, started)
        provenance.write_statement(content, built, commit)
        provenance.write_sums(built)
        if options.sign_key:
            provenance.sign(built, options.sign_key)
        else:
            print("the release is not signed: give --sign-key KEY.pem (make release SIGN_KEY=KEY.pem)")
        shutil.rmtree(options.dist, ignore_errors=True)
        shutil.copytree(built, options.dist)
    print(f"wrote {len(list(options.dist.iterdir()))} files to {options.dist}; tag it: git tag v{commit.version}")


def _check(options: argparse.Namespace, root: Path) -> None:
    """Raise ReleaseError for what would fail minutes later."""
    if options.dist != root / "dist" and options.dist.exists() and any(options.dist.iterdir()):
        raise ReleaseError(f"--dist: {options.dist} is not empty; name an empty folder")
    if options.sign_key and not options.sign_key.is_file():
        raise ReleaseError(f"--sign-key: the file {options.sign_key} does not exist; name a P-256 key in PEM")
    if shutil.which(options.uv) is None:
        raise ReleaseError(f"--uv: there is no command {options.uv}; `make release` installs it")


def _build(source: Path, commit: Commit, dist: Path, options: argparse.Namespace) -> list[Path]:
    """Build the files that the statement is about, and try out the wheel."""
    print("building the sdist, the wheel and the protoset", flush=True)
    files = artefacts.build_packages(source, commit, dist)
    files.append(artefacts.write_protoset(source, commit, dist))
    print("installing the wheel in a fresh environment, and calling a server there", flush=True)
    lock = source / "requirements" / "server.txt"
    commands = trial.install(files[1], lock, source.parent / "environment", options.uv)
    trial.try_out(commands, commit.version, source / trial.MODELS, source.parent)
    for name in artefacts.LOCKS:
        print(f"writing the bill of materials of requirements/{name}.txt", flush=True)
        files.append(artefacts.write_bill_of_materials(source, commit, dist, name, options.uv))
    return files


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("api", help=write_api.__doc__).set_defaults(run=write_api)
    bills = commands.add_parser("bills", help=write_bills.__doc__)
    bills.set_defaults(run=write_bills)
    release = commands.add_parser("make", help=make_release.__doc__)
    release.set_defaults(run=make_release)
    for command in (bills, release):
        command.add_argument("--dist", type=_absolute, default=ROOT / "dist", help="folder to write (default: dist)")
        command.add_argument("--uv", default="uv", help="the command uv (default: uv)")
    release.add_argument("--sign-key", type=_absolute, metavar="KEY.pem", help="P-256 key that signs all files")
    release.add_argument(
        "--builder-id",
        default=provenance.LOCAL_BUILDER,
        metavar="URI",
        help="who builds, for the provenance, such as the address of the CI workflow",
    )
    release.add_argument("--without-images", action="store_true", help="build no images")
    return parser


def _absolute(path: str) -> Path:
    return Path(path).absolute()


if __name__ == "__main__":
    sys.exit(main())
