"""Which versions of a model are loaded, and which of them answers a request: serving.json in the model's folder."""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from google.protobuf import json_format

from cofactor.admin.v1.admin_pb2 import ServingPolicy

STABLE = "stable"
_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Users are dealt into this many equal parts: a share is exact to a hundredth of a percent.
_PARTS = 10_000


class PolicyError(ValueError):
    """A serving.json that contradicts itself; str() is one sentence for the operator."""


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key of a version: runs of digits compare as numbers, so that 2 comes before 10."""
    parts = re.findall(r"\d+|\D+", version)
    return tuple((1, int(part), "") if part.isascii() and part.isdigit() else (0, 0, part) for part in parts)


def newest_first(versions: Iterable[str]) -> list[str]:
    """Order versions, the newest first."""
    return sorted(versions, key=version_order, reverse=True)


def parse_policy(text: str) -> ServingPolicy:
    """Read serving.json. Raises PolicyError naming the field at fault."""
    if not text.lstrip().startswith("{"):  # the parser takes an empty list for an empty message
        raise PolicyError("serving.json is not a serving policy: a JSON object is expected")
    try:
        policy = json_format.Parse(text, ServingPolicy())
    except json_format.ParseError as error:
        raise PolicyError(f"serving.json is not a serving policy: {error}") from None
    check_policy(policy)
    return policy


def format_policy(policy: ServingPolicy) -> str:
    """Write serving.json."""
    return json_format.MessageToJson(policy, preserving_proto_field_name=True, sort_keys=True) + "\n"


def check_policy(policy: ServingPolicy) -> None:
    """Raise PolicyError unless every label that is used is defined and the shares are percentages."""
    if policy.latest < 0:
        raise PolicyError(f"serving.json: latest must be at least 0, not {policy.latest}")
    for label in policy.labels:
        if not _LABEL.fullmatch(label):
            raise PolicyError("serving.json: labels: a label is 1 to 64 of a-z, 0-9, '.', '_' and '-'")
    for field, percent in (("canary_percent", policy.canary_percent), ("shadow_percent", policy.shadow_percent)):
        for label in percent:
            if label not in policy.labels:
                raise PolicyError(f"serving.json: the label {label} is used, and on no version; add it to labels")
        if not all(math.isfinite(share) and 0 <= share <= 100 for share in percent.values()):
            raise PolicyError(f"serving.json: {field} must lie between 0 and 100")
        if sum(percent.values()) > 100:
            raise PolicyError(f"serving.json: {field} must not add up to more than 100")


def wanted_versions(policy: ServingPolicy, available: Collection[str], loaded: Collection[str]) -> list[str]:
    """Versions to serve, the newest first.

    available: those that the repository holds and that are not refused. A version that the policy names stays as long
    as it is loaded, even when the repository has lost it.
    """
    named = {*policy.pinned, *policy.labels.values()} & {*available, *loaded}
    return newest_first(named.union(newest_first(available)[: policy.latest or 1]))


# (first part, first part beyond, version) of each share of the users.
Shares = tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Routing:
    """Who answers requests that name no version; immutable, made anew by each swap.

    current: version of most requests. canaries: shares answered by others. labels: label -> version. shadows: shares
    that others are tried with.
    """

    current: str
    canaries: Shares
    labels: dict[str, str]
    shadows: Shares = ()

    def version_for(self, user_id: str) -> str:
        """Version that answers this user; always the same one while the policy stays."""
        if self.canaries and user_id:
            return _version_of(self.canaries, zlib.crc32(user_id.encode()) % _PARTS) or self.current
        return self.current

    def shadow_for(self, user_id: str) -> str | None:
        """Version that this user's requests are tried with besides.

        Dealt by another hash than the canaries', or the users of a canary would be the first to be shadowed.
        """
        if not (self.shadows and user_id):
            return None
        digest = hashlib.blake2b(user_id.encode(), digest_size=8).digest()
        return _version_of(self.shadows, int.from_bytes(digest, "little") % _PARTS)


def _version_of(shares: Shares, part: int) -> str | None:
    return next((version for low, high, version in shares if low <= part < high), None)


def make_routing(policy: ServingPolicy, ready: Collection[str], before: str | None = None) -> Routing | None:
    """Route among the versions that are loaded (ready); None where there is none.

    A label on a version that is not loaded, because it was refused, does not count: where "stable" is on one, the
    version that was current `before` stays it, or else the newest is.
    """
    if not ready:
        return None
    labels = {label: version for label, version in sorted(policy.labels.items()) if version in ready}
    newest = newest_first(ready)[0]
    held = before if STABLE in policy.labels and before in ready else None
    current = labels.get(STABLE) or held or newest
    return Routing(current, _shares(policy.canary_percent, labels), labels, _shares(policy.shadow_percent, labels))


def _shares(percent: Mapping[str, float], labels: dict[str, str]) -> Shares:
    shares, low = [], 0
    for label, share in sorted(percent.items()):
        high = low + round(share * _PARTS / 100)
        if label in labels:
            shares.append((low, high, labels[label]))
        low = high
    return tuple(shares)


def promoted(policy: ServingPolicy, label: str, version: str) -> ServingPolicy:
    """Return the policy with the label on this version, remembering where it was."""
    changed = ServingPolicy()
    changed.CopyFrom(policy)
    before = policy.labels.get(label, "")
    if before and before != version:
        changed.previous_labels[label] = before
    changed.labels[label] = version
    check_policy(changed)
    return changed


def rolled_back(policy: ServingPolicy, label: str) -> ServingPolicy:
    """Return the policy with the label where it was before; a second rollback undoes the first.

    Raises PolicyError where the label was never moved.
    """
    if label not in policy.previous_labels:
        raise PolicyError(f"the label {label} has not been moved, so there is nothing to roll back to")
    return promoted(policy, label, policy.previous_labels[label])
