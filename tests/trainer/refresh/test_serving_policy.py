"""serving.json belongs to the server and to people: the trainer changes only what it must."""

import json

import pytest

from cofactor_server.repository.locked_folder import lock_folder
from cofactor_server.repository.serving_policy import newest_first, parse_policy
from cofactor_trainer.errors import InputError
from cofactor_trainer.refresh import serving_policy
from cofactor_trainer.refresh.serving_policy import (
    POLICY_FILE,
    check_label,
    check_share,
    label_canary,
    pin_stable,
    read_policy,
    running_version,
)


@pytest.fixture
def model_dir(tmp_path):
    for version in ("2", "10", "9"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "manifest.json").touch()
    (tmp_path / ".11.abc.tmp").mkdir()
    (tmp_path / "11").mkdir()  # without a manifest it is no version
    return tmp_path


def write(model_dir, policy):
    (model_dir / POLICY_FILE).write_text(json.dumps(policy), encoding="utf-8")


def test_the_running_version_is_the_stable_one_or_else_the_one_that_servers_take_for_the_newest(model_dir):
    assert running_version(model_dir, {}) == newest_first(["2", "10", "9"])[0] == "10"
    assert running_version(model_dir, {"labels": {"stable": "9"}}) == "9"
    with pytest.raises(InputError, match="version 3 is stable, but the repository lacks it"):
        running_version(model_dir, {"labels": {"stable": "3"}})


def test_a_canary_keeps_what_others_wrote_and_remembers_its_last_version(model_dir):
    shared = {"latest": 2, "pinned": ["2"], "shadow_percent": {"shadow": 20}, "of a later release": [1]}
    write(model_dir, {**shared, "labels": {"stable": "9", "canary": "2", "shadow": "9"}, "canary_percent": {"beta": 3}})
    pin_stable(model_dir, "10")
    label_canary(model_dir, "canary", "10", 5)
    assert read_policy(model_dir) == {
        **shared,
        "labels": {"stable": "9", "canary": "10", "shadow": "9"},
        "canary_percent": {"beta": 3, "canary": 5},
        "previous_labels": {"canary": "2"},
    }


def test_the_server_reads_what_the_trainer_writes(model_dir):
    pin_stable(model_dir, "9")
    label_canary(model_dir, "canary", "10", 2.5)
    policy = parse_policy((model_dir / POLICY_FILE).read_text(encoding="utf-8"))
    assert dict(policy.labels) == {"stable": "9", "canary": "10"}
    assert dict(policy.canary_percent) == {"canary": 2.5}
    assert dict(policy.previous_labels) == {}


def test_keys_in_the_other_spelling_of_protojson_are_not_doubled(model_dir):
    write(model_dir, {"labels": {"stable": "9", "b": "2"}, "canaryPercent": {"b": 96}})
    with pytest.raises(InputError, match="other canaries have 96 % of the users already"):
        label_canary(model_dir, "canary", "10", 5)
    label_canary(model_dir, "canary", "10", 4)
    assert read_policy(model_dir)["canaryPercent"] == {"b": 96, "canary": 4}
    parse_policy((model_dir / POLICY_FILE).read_text(encoding="utf-8"))


def test_the_lock_is_that_of_the_server(model_dir, monkeypatch):
    monkeypatch.setattr(serving_policy, "_LOCK_WAIT_S", 0.05)
    with lock_folder(model_dir, 1), pytest.raises(InputError, match=r"another process is changing serving\.json"):
        label_canary(model_dir, "canary", "10", 4)
    assert not (model_dir / POLICY_FILE).exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"labels": 3}', '{"canary_percent": {"a": "much"}}'])
def test_a_file_that_is_no_policy_is_not_replaced(model_dir, text):
    (model_dir / POLICY_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="is not a serving policy"):
        label_canary(model_dir, "canary", "10", 4)
    assert (model_dir / POLICY_FILE).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("label", ["", "Canary", "stable", "a/b"])
def test_labels_that_a_canary_cannot_have_are_refused(label):
    with pytest.raises(InputError, match="--label is"):
        check_label(label)


@pytest.mark.parametrize("percent", [-1, 101, float("nan")])
def test_shares_that_are_none_are_refused(percent):
    with pytest.raises(InputError, match="it must be 0 to 100"):
        check_share({}, "canary", percent)
