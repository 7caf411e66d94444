"""serving.json: validation, the versions it asks for, and the version that serves each user."""

from __future__ import annotations

import json

import pytest

from cofactor.admin.v1.admin_pb2 import ServingPolicy
from cofactor_server.repository.serving_policy import (
    PolicyError,
    format_policy,
    make_routing,
    newest_first,
    parse_policy,
    promote,
    roll_back,
    versions_to_serve,
)


def test_digits_in_versions_compare_as_numbers() -> None:
    versions = ["2", "10", "20261121T203000Z", "1.10", "1.9", "1"]
    assert newest_first(versions) == ["20261121T203000Z", "10", "2", "1.10", "1.9", "1"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a serving policy"),
        ("[]", "is not a serving policy"),
        ('{"lables": {}}', "lables"),
        ('{"latest": -1}', "latest must be at least 0"),
        ('{"labels": {"A B": "1"}}', "a label must have 1 to 64"),
        ('{"canary_percent": {"x": 5}}', "the label x is on no version"),
        ('{"labels": {"c": "1"}, "canary_percent": {"c": 101}}', "between 0 and 100"),
        ('{"shadow_percent": {"x": 5}}', "the label x is on no version"),
        (
            '{"labels": {"c": "1"}, "shadow_percent": {"c": -1}}',
            "shadow_percent: every share must be between 0 and 100",
        ),
        (
            '{"labels": {"c": "1", "d": "2"}, "shadow_percent": {"c": 60, "d": 60}}',
            "shadow_percent: the shares must not add up",
        ),
        ('{"labels": {"c": "1"}, "canary_percent": {"c": "NaN"}}', "between 0 and 100"),
        ('{"labels": {"c": "1", "d": "2"}, "canary_percent": {"c": 60, "d": 60}}', "add up to more than 100"),
    ],
)
def test_an_invalid_policy_is_refused_with_the_field_at_fault(text: str, problem: str) -> None:
    with pytest.raises(PolicyError, match=problem):
        parse_policy(text)


def test_a_policy_stays_the_same_when_written_and_read() -> None:
    policy = ServingPolicy(latest=2, pinned=["1"], labels={"stable": "2"}, canary_percent={"stable": 5.5})
    assert parse_policy(format_policy(policy)) == policy


def test_versions_that_are_neither_available_nor_loaded_are_not_served() -> None:
    policy = ServingPolicy(latest=2, pinned=["1", "gone"], labels={"stable": "2", "old": "lost"})
    assert versions_to_serve(policy, ["1", "2", "3", "4", "5"], ["lost"]) == ["5", "4", "2", "1", "lost"]


def test_a_canary_serves_its_share_of_the_users_and_always_the_same_ones() -> None:
    policy = ServingPolicy(labels={"stable": "1", "canary": "2", "dark": "3"}, canary_percent={"canary": 5, "dark": 10})
    routing = make_routing(policy, ["1", "2", "3"])
    served_by = {str(user): routing.version_for(str(user)) for user in range(100_000)}
    shares = {version: sum(v == version for v in served_by.values()) / len(served_by) for version in "123"}
    assert shares == pytest.approx({"1": 0.85, "2": 0.05, "3": 0.10}, abs=0.005)
    assert all(routing.version_for(user) == version for user, version in served_by.items())
    assert routing.version_for("") == "1"


def test_a_canary_that_is_not_loaded_does_not_change_the_other_shares() -> None:
    policy = ServingPolicy(labels={"stable": "1", "a": "2", "b": "3"}, canary_percent={"a": 30, "b": 10})
    all_loaded, without_a = make_routing(policy, ["1", "2", "3"]), make_routing(policy, ["1", "3"])
    users = [str(user) for user in range(2_000)]
    users_of_b = {user for user in users if all_loaded.version_for(user) == "3"}
    assert users_of_b
    assert {user for user in users if without_a.version_for(user) == "3"} == users_of_b


def test_shadowed_users_are_chosen_independently_of_canary_users() -> None:
    labels = {"stable": "1", "canary": "2", "next": "3"}
    policy = ServingPolicy(labels=labels, canary_percent={"canary": 10}, shadow_percent={"next": 20})
    routing = make_routing(policy, ["1", "2", "3"])
    users = [str(user) for user in range(50_000)]
    shadowed = [user for user in users if routing.shadow_for(user) == "3"]
    assert len(shadowed) / len(users) == pytest.approx(0.20, abs=0.01)
    in_canary = sum(routing.version_for(user) == "2" for user in shadowed)
    assert in_canary / len(shadowed) == pytest.approx(0.10, abs=0.01)
    assert routing.shadow_for("") is None
    assert make_routing(policy, ["1", "2"]).shadow_for(shadowed[0]) is None


def test_rollback_undoes_promote_and_itself() -> None:
    policy = promote(promote(ServingPolicy(), "stable", "1"), "stable", "2")
    assert roll_back(policy, "stable").labels["stable"] == "1"
    assert roll_back(roll_back(policy, "stable"), "stable").labels["stable"] == "2"
    with pytest.raises(PolicyError, match="nothing to roll back"):
        roll_back(promote(ServingPolicy(), "stable", "1"), "stable")


def test_versions_with_the_same_number_have_the_same_order_in_every_process() -> None:
    """Workers have different hash seeds, and so their sets have different orders."""
    for versions in (["1", "01", "001"], ["001", "1", "01"], ["01", "001", "1"]):
        assert newest_first(versions) == ["1", "01", "001"]


def test_shares_of_100_percent_are_not_refused_for_their_rounding_error() -> None:
    shares = dict(zip("abcde", [19.7, 26.3, 6.7, 26.6, 20.7], strict=True))
    assert sum(shares.values()) > 100
    text = json.dumps({"labels": dict.fromkeys(shares, "1"), "canary_percent": shares})
    assert parse_policy(text).canary_percent == shares
