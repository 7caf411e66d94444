"""Serving policy of a model (serving.json): which versions are loaded, and which of them serves a request."""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf import json_format

from cofactor.admin.v1.admin_pb2 import ServingPolicy

STABLE = "stable"
_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Users are hashed into this many equal slices, so a share of the users is exact to a hundredth of a percent.
_SLICES = 10_000
# Three shares such as 33.3, 33.3 and 33.4 add up to a little more than 100.
_ROUNDING = 1e-6


class PolicyError(ValueError):
    """A serving.json or rules.json that is invalid or not a plain file; str() is one sentence for the operator."""


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Return the sort key of a version: runs of digits compare as numbers, so 2 comes before 10."""
    parts = re.findall(r"\d+|\D+", version)
    return tuple((1, int(part), "") if part.isascii() and part.isdigit() else (0, 0, part) for part in parts)


def newest_first(versions: Iterable[str]) -> list[str]:
    """Sort versions, newest first; "01" and "1" are the same number, and always come in the order of their text."""
    return sorted(versions, key=lambda version: (version_order(version), version), reverse=True)


def parse_policy(text: str) -> ServingPolicy:
    """Parse serving.json. Raises PolicyError naming the invalid field."""
    if not text.lstrip().startswith("{"):  # the protobuf parser accepts an empty list as an empty message
        raise PolicyError("serving.json is not a serving policy: it must be a JSON object")
    try:
        policy = json_format.Parse(text, ServingPolicy())
    except json_format.ParseError as error:
        raise PolicyError(f"serving.json is not a serving policy: {error}") from None
    check_policy(policy)
    return policy


def format_policy(policy: ServingPolicy) -> str:
    """Return the policy as the text of serving.json."""
    return json_format.MessageToJson(policy, preserving_proto_field_name=True, sort_keys=True) + "\n"


def check_policy(policy: ServingPolicy) -> None:
    """Raise PolicyError unless labels are well-formed, every label in use is defined, and shares are percentages."""
    if policy.latest < 0:
        raise PolicyError(f"serving.json: latest must be at least 0, not {policy.latest}")
    for label in policy.labels:
        if not _LABEL.fullmatch(label):
            raise PolicyError(
                "serving.json: labels: a label must have 1 to 64 of the characters a-z, 0-9, '.', '_', '-'"
            )
    for field, percent in (("canary_percent", policy.canary_percent), ("shadow_percent", policy.shadow_percent)):
        for label in percent:
            if label not in policy.labels:
                raise PolicyError(f"serving.json: {field}: the label {label} is on no version; add it to labels")
        if not all(math.isfinite(share) and 0 <= share <= 100 for share in percent.values()):
            raise PolicyError(f"serving.json: {field}: every share must be between 0 and 100")
        if math.fsum(percent.values()) > 100 + _ROUNDING:
            raise PolicyError(f"serving.json: {field}: the shares must not add up to more than 100")


def versions_to_serve(policy: ServingPolicy, available: Collection[str], loaded: Collection[str]) -> list[str]:
    """Return the versions that the policy asks for, newest first.

    available: the versions in the repository that were not refused. A version that the policy names stays while it is
    loaded, even if it is no longer in the repository.
    """
    named = {*policy.pinned, *policy.labels.values()} & {*available, *loaded}
    return newest_first(named.union(newest_first(available)[: policy.latest or 1]))


# (first slice, end slice, version) for each share of the users.
UserShares: TypeAlias = tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Routing:
    """Decides which version serves a request that names none. Immutable; every swap makes a new one.

    Attributes:
        current: the version that serves users outside all canary shares, and requests without a user id.
        canaries: shares of the users that other versions serve.
        labels: label -> version.
        shadows: shares of the users whose requests other versions run as well.
    """

    current: str
    canaries: UserShares
    labels: dict[str, str]
    shadows: UserShares = ()

    @property
    def has_canaries(self) -> bool:
        """Return True if some users get another version than the current one."""
        return any(start < end and version != self.current for start, end, version in self.canaries)

    def version_for(self, user_id: str) -> str:
        """Return the version that serves this user; it stays the same as long as the policy does."""
        if self.canaries and user_id:
            return _version_at(self.canaries, zlib.crc32(user_id.encode()) % _SLICES) or self.current
        return self.current

    def shadow_for(self, user_id: str) -> str | None:
        """Return the version that also runs this user's requests, or None.

        The hash differs from that of the canaries, or the users of a canary would be the first to be shadowed.
        """
        if not (self.shadows and user_id):
            return None
        digest = hashlib.blake2b(user_id.encode(), digest_size=8).digest()
        return _version_at(self.shadows, int.from_bytes(digest, "little") % _SLICES)


def _version_at(shares: UserShares, user_slice: int) -> str | None:
    return next((version for start, end, version in shares if start <= user_slice < end), None)


def make_routing(policy: ServingPolicy, loaded: Collection[str], previous: str | None = None) -> Routing | None:
    """Return the routing among the loaded versions, or None if no version is loaded.

    Labels on versions that are not loaded (because they were refused) are ignored. The current version is the one
    labelled "stable". If that one is not loaded, the `previous` current version stays; without one, or without the
    label, the newest loaded version is current.
    """
    if not loaded:
        return None
    labels = {label: version for label, version in sorted(policy.labels.items()) if version in loaded}
    newest = newest_first(loaded)[0]
    fallback = previous if STABLE in policy.labels and previous in loaded else None
    current = labels.get(STABLE) or fallback or newest
    return Routing(
        current, _user_shares(policy.canary_percent, labels), labels, _user_shares(policy.shadow_percent, labels)
    )


def _user_shares(percent: Mapping[str, float], labels: dict[str, str]) -> UserShares:
    shares, start = [], 0
    for label, share in sorted(percent.items()):
        end = start + round(share * _SLICES / 100)
        if label in labels:
            shares.append((start, end, labels[label]))
        start = end
    return tuple(shares)


def promote(policy: ServingPolicy, label: str, version: str) -> ServingPolicy:
    """Return a copy of the policy with the label moved to this version and its previous version remembered."""
    changed = ServingPolicy()
    changed.CopyFrom(policy)
    previous = policy.labels.get(label, "")
    if previous and previous != version:
        changed.previous_labels[label] = previous
    changed.labels[label] = version
    check_policy(changed)
    return changed


def roll_back(policy: ServingPolicy, label: str) -> ServingPolicy:
    """Return a copy of the policy with the label back on its previous version; a second rollback undoes the first.

    Raises PolicyError if the label has never been moved.
    """
    if label not in policy.previous_labels:
        raise PolicyError(f"the label {label} has never been moved, so there is nothing to roll back to")
    return promote(policy, label, policy.previous_labels[label])
