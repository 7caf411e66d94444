"""Training from events calibrates probabilities on what it holds out."""

from __future__ import annotations

import json

from cofactor_trainer.__main__ import main
from cofactor_trainer.export.finished_training import read_training
from cofactor_trainer.export.fitted.probabilities import calibration_of
from cofactor_trainer.export.version_reader import read_version
from tests.support import shop

SIZES = ("--epochs", "20", "--factors", "8", "--learning-rate", "0.03", "--batch-size", "64", "--device", "cpu")


def test_a_version_of_ratings_and_events_has_probabilities(mixed_version):
    manifest = read_version(mixed_version).manifest
    calibration = calibration_of(manifest)
    assert calibration is not None
    assert calibration.meaning.startswith("that the item is among the user's held-out events: ")
    assert calibration.meaning.endswith(" pairs of a user and an item, held out at random (seed 42)")
    # A better score must mean more events, for users of both kinds.
    assert min(calibration.known_users.share_weight, calibration.new_users.share_weight) > 0
    assert 0 < manifest.metrics["calibration_error@10"] < 0.1
    assert 0 < manifest.metrics["new_user_calibration_error@10"] < 0.1


def test_a_version_without_held_out_events_or_without_events_has_none(shop_version, dot_version):
    for version in (shop_version, dot_version):
        assert calibration_of(read_version(version).manifest) is None


def test_too_few_held_out_events_are_said(tmp_path, caplog):
    events = shop.write_events(tmp_path / "events.csv")
    flags = ("--dataset", str(events), *shop.EVENT_FLAGS, *SIZES, "--validation-fraction", "0.02")
    names = ("--output", str(tmp_path), "--name", "few", "--version", "1")
    assert main(["train", *flags, *names]) == 0
    assert calibration_of(read_version(tmp_path / "few" / "1").manifest) is None
    assert "has no probabilities of interaction" in caplog.text
    assert "--validation-fraction" in caplog.text


def test_a_failed_export_keeps_the_calibration(tmp_path, monkeypatch):
    """A later export of the saved training, and a warm start, have the probabilities of the first training."""
    events = shop.write_events(tmp_path / "events.csv")
    flags = ("--dataset", str(events), *shop.EVENT_FLAGS, *SIZES)
    names = ("--output", str(tmp_path), "--name", "shop", "--version", "1")

    def fail(*arguments, **options):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("cofactor_trainer.export.finished_training.export_version", fail)
        assert main(["train", *flags, *names]) != 0
    saved = next((tmp_path / "shop").glob("*.npz"))
    kept = read_training(saved).calibration
    assert kept is not None
    assert main(["export", str(saved)]) == 0
    first = tmp_path / "shop" / "1"
    assert calibration_of(read_version(first).manifest) == kept
    with events.open("a", encoding="utf-8") as file:
        file.write(f"c00,tool00,purchase,1,{shop.START + 366 * shop.DAY}\n")
    warm = ("--warm-start", str(first), "--output", str(tmp_path), "--version", "2", "--validation-fraction", "0")
    assert main(["train", "--dataset", str(events), *shop.EVENT_FLAGS, "--device", "cpu", *warm]) == 0
    assert calibration_of(read_version(tmp_path / "shop" / "2").manifest) == kept


def test_the_meaning_survives_the_manifest_as_json(mixed_version):
    manifest = json.loads((mixed_version / "manifest.json").read_text("utf-8"))
    assert set(manifest["calibration"]) == {"knownUsers", "newUsers", "meaning"}
