"""Measure the size of the images that the Dockerfile builds.

    python -m benchmarks.images.sizes --output docs/benchmarks/images.md [--keep] [VARIANT ...]

It builds one variant after the other with buildah; tests/support/images.py says how to choose the base image. It
removes the images again, unless --keep is given. `IMAGES_BUILT=1 make test-images` tests images that were kept.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.images import VARIANTS, base_image, build, buildah, clone, container_of, is_built

MEGABYTE = 1e6
N_PACKAGES = 5


@dataclass(frozen=True)
class Size:
    """Sizes of an image in megabytes, unpacked.

    Attributes:
        name: its variant.
        total: all its files.
        packages: size of each folder of Python packages, the largest first.
        seconds: how long the build took.
    """

    name: str
    total: float
    packages: list[tuple[str, float]]
    seconds: float


def megabytes(*folders: Path) -> list[float]:
    """Return the size of the files below each folder."""
    if not folders:
        return []
    printed = subprocess.run(["du", "-s", "-B1", *folders], check=True, capture_output=True, text=True).stdout
    return [int(line.split()[0]) / MEGABYTE for line in printed.splitlines()]


def measure(name: str, tag: str, seconds: float) -> Size:
    """Return the sizes of an image."""
    with container_of(tag) as container:
        root = Path(buildah("mount", container))
        folders = sorted(path for path in root.glob("opt/cofactor/lib/python3*/site-packages/*") if path.is_dir())
        sizes = zip((folder.name for folder in folders), megabytes(*folders), strict=True)
        largest = sorted(sizes, key=lambda entry: -entry[1])[:N_PACKAGES]
        (total,) = megabytes(root)
        buildah("umount", container)
    return Size(name, total, largest, seconds)


def page(base: float, sizes: list[Size]) -> str:
    """Return the document."""
    rows = "\n".join(
        f"| `{size.name}` | {size.total:,.0f} MB | {size.total - base:,.0f} MB | "
        f"{', '.join(f'{name} {megabytes:,.0f}' for name, megabytes in size.packages)} |"
        for size in sizes
    )
    return f"""# Sizes of the images

Written by `python -m benchmarks.images.sizes`. Sizes are those of the unpacked files; what a registry stores is
compressed, and smaller. The base image here has {base:,.0f} MB ({base_image()}).

| image | in all | without the base | largest packages, MB |
|---|---|---|---|
{rows}

`server-approximate` and `server-cuda` are the server's image with another lock
([operations](../operations.md#kubernetes-and-compose)).
"""


def main() -> None:
    """Build and measure the variants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="FILE")
    parser.add_argument("--keep", action="store_true", help="leave the images")
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"default: {' '.join(VARIANTS)}")
    arguments = parser.parse_args()
    sizes = []
    with tempfile.TemporaryDirectory() as folder:
        checkout = clone(Path(folder) / "checkout")
        for name in arguments.variants or VARIANTS:
            was_built, started = is_built(f"localhost/cofactor-{name}"), time.perf_counter()
            tag = build(name, checkout)
            sizes.append(measure(name, tag, time.perf_counter() - started))
            print(f"{name}: {sizes[-1].total:,.0f} MB, built in {sizes[-1].seconds:.0f} s", flush=True)
            if not (was_built or arguments.keep):
                buildah("rmi", tag)
    with container_of(base_image()) as container:
        (base,) = megabytes(Path(buildah("mount", container)))
        buildah("umount", container)
    text = page(base, sizes)
    print(text) if arguments.output is None else arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
