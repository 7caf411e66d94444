"""Download MovieLens archives from GroupLens and check them before they are used."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from cofactor_trainer.errors import InputError

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
# SHA-256 of the zip files; each contains one directory of the same name.
ARCHIVES = {
    "ml-100k": "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    "ml-1m": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    "ml-20m": "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
    "ml-25m": "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
}
_TIMEOUT_SECONDS = 60
_READ_BYTES = 1 << 20


def fetch(name: str, cache: Path | None = None, *, site: str = GROUPLENS) -> Path:
    """Return the unpacked directory of an archive; download it if the cache does not have it yet.

    The directory appears in the cache by one rename, so an interrupted download leaves nothing behind.

    Args:
        name: a key of ARCHIVES.
        cache: directory of downloads; None for cofactor in the user's cache.
        site: address of the directory that has the zip file.

    Raises:
        InputError: the download failed, or the downloaded file is not the archive.
    """
    import pooch  # imported late: it takes 0.3 s, and few runs download anything

    cache = cache or pooch.os_cache("cofactor")
    target = cache / name
    try:
        if target.is_dir():
            return target
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}): pass another directory with --data-dir", cache) from None
    url, sha256 = f"{site}/{name}.zip", ARCHIVES[name]
    pooch.get_logger().setLevel(logging.WARNING)
    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS, chunk_size=_READ_BYTES)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # pooch unpacks in place, so an interruption would leave half of the files: unpack somewhere else, then rename.
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=cache) as work:
            pooch.retrieve(url, f"sha256:{sha256}", "archive.zip", work, pooch.Unzip(extract_dir="."), downloader)
            (Path(work) / name).rename(target)
    except OSError as error:
        raise InputError(
            f"{url} could not be downloaded ({error}): download and unpack it yourself, and pass its directory with "
            "--dataset"
        ) from None
    except ValueError:
        raise InputError(
            f"the SHA-256 of {url} is not {sha256}: the file is damaged or was changed; download it yourself, check "
            "it, and pass its directory with --dataset"
        ) from None
    return target
