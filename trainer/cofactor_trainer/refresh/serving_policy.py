"""Read and change the serving policy of a model, serving.json (docs/operations.md).

The server's administrators and people write the file, too. So it is changed as JSON, not through a message: keys that
this release does not know stay. The lock is the one that the server takes.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cofactor_trainer.errors import InputError
from cofactor_trainer.export.atomic_directory import replace_text
from cofactor_trainer.export.manifest import MANIFEST_FILE, VERSION

POLICY_FILE = "serving.json"
STABLE = "stable"
_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Other spelling of a key, which ProtoJSON reads as well.
_CAMEL = {"canary_percent": "canaryPercent", "previous_labels": "previousLabels"}
_ROUNDING = 1e-6
_LOCK_WAIT_S = 10.0
_PAUSE_S = 0.02

Policy = dict[str, Any]


def check_label(label: str) -> None:
    """Raise `InputError` if a label cannot be put on a canary."""
    if not _LABEL.fullmatch(label) or label == STABLE:
        raise InputError(
            f"--label is {label!r}: use 1 to 64 of the characters a-z, 0-9, '.', '_', '-', and not {STABLE}, which "
            "serves everyone"
        )


def read_policy(model_dir: Path) -> Policy:
    """Read the policy of a model; without a file it is empty.

    Raises:
        InputError: the file cannot be read or is not a policy.
    """
    path = model_dir / POLICY_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"is not a serving policy ({error}): mend it or remove it", path) from None
    maps = (
        [_map_of(content, key) for key in ("labels", "canary_percent", "previous_labels")] if _is_map(content) else []
    )
    if not maps or not all(map(_is_map, maps)):
        raise InputError("is not a serving policy: mend it or remove it", path)
    if not all(isinstance(share, int | float) for share in maps[1].values()):
        raise InputError("is not a serving policy, because a canary_percent is not a number: mend it", path)
    return dict(content)


def running_version(model_dir: Path, policy: Policy) -> str:
    """Return the version that a server answers with by default: the stable one, or else the newest.

    Raises:
        InputError: there is no such version.
    """
    stable = _map_of(policy, "labels").get(STABLE)
    if stable is not None:
        if not (model_dir / str(stable) / MANIFEST_FILE).is_file():
            raise InputError(
                f"{POLICY_FILE} says that version {stable} is stable, but the repository lacks it: promote another one",
                model_dir,
            )
        return str(stable)
    versions = [
        path.parent.name for path in model_dir.glob(f"*/{MANIFEST_FILE}") if VERSION.fullmatch(path.parent.name)
    ]
    if not versions:
        raise InputError(
            "the model has no version yet: publish a first one with cofactor-train --output and --name", model_dir
        )
    return max(versions, key=_version_order)


def check_share(policy: Policy, label: str, percent: float) -> None:
    """Raise `InputError` if a canary cannot have this share of the users beside the others."""
    if not (math.isfinite(percent) and 0 <= percent <= 100):
        raise InputError(f"--canary-percent is {percent:g}: it must be 0 to 100")
    others = math.fsum(share for name, share in _map_of(policy, "canary_percent").items() if name != label)
    if others + percent > 100 + _ROUNDING:
        raise InputError(
            f"--canary-percent is {percent:g}, but other canaries have {others:g} % of the users already: lower one of "
            "them"
        )


def pin_stable(model_dir: Path, version: str) -> None:
    """Label the running version stable, if no version is: else the next one that is published would serve everyone."""

    def change(policy: Policy) -> Policy:
        labels = _map_of(policy, "labels")
        return _with(policy, "labels", {STABLE: version, **labels})

    _update(model_dir, change)


def label_canary(model_dir: Path, label: str, version: str, percent: float) -> None:
    """Put a label on a version and give it a share of the users; remember the version that had the label before."""

    def change(policy: Policy) -> Policy:
        check_share(policy, label, percent)
        labels, previous = _map_of(policy, "labels"), _map_of(policy, "previous_labels")
        if label in labels and labels[label] != version:
            policy = _with(policy, "previous_labels", {**previous, label: labels[label]})
        policy = _with(policy, "labels", {**labels, label: version})
        return _with(policy, "canary_percent", {**_map_of(policy, "canary_percent"), label: percent})

    _update(model_dir, change)


def _update(model_dir: Path, change: Callable[[Policy], Policy]) -> None:
    """Replace the file in one step, while this process holds the lock that servers take for it."""
    with _locked(model_dir):
        policy = read_policy(model_dir)
        changed = change(policy)
        if changed != policy:
            replace_text(model_dir / POLICY_FILE, json.dumps(changed, indent=2, sort_keys=True) + "\n")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder, waiting a while for another holder; some file systems have no locks."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while not _try_lock(lock):
            if time.monotonic() >= deadline:
                raise InputError(f"another process is changing {POLICY_FILE}: try again", folder)
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN)
    return True


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping)


def _key(policy: Policy, key: str) -> str:
    """Return the spelling of a key that a policy has."""
    camel = _CAMEL.get(key, key)
    return camel if camel in policy else key


def _map_of(policy: Policy, key: str) -> dict[str, Any]:
    value: dict[str, Any] = policy.get(_key(policy, key)) or {}
    return value


def _with(policy: Policy, key: str, value: dict[str, Any]) -> Policy:
    return {**policy, _key(policy, key): value}


def _version_order(version: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return the sort key by which servers find the newest version: runs of digits compare as numbers."""
    parts = re.findall(r"\d+|\D+", version)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts], version
