"""A failed export never loses a training: it is saved first, and `cofactor-train export` repeats the export."""

import shlex
from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.data.dataset import AppliedErasures
from cofactor_trainer.data.events.from_ratings import events_from_ratings
from cofactor_trainer.data.events.weights import weigh_events, with_dismissed
from cofactor_trainer.errors import ExportError, InputError
from cofactor_trainer.export.finished_training import (
    FinishedTraining,
    kept_until_exported,
    read_training,
    save_training,
)
from cofactor_trainer.export.verification import parity
from cofactor_trainer.export.version_reader import read_version
from cofactor_trainer.training.epochs import EpochResult
from tests.support.synthetic import make_dataset, make_model, with_attributes, with_profiles


@pytest.fixture
def training():
    metrics = {"mse": np.float32(0.8), "train_loss": float("nan")}
    history = (EpochResult(1, 0.9, None, 1.5), EpochResult(2, 0.7, 0.8, 1.4))
    dataset = replace(
        with_attributes(with_profiles(make_dataset())),
        timestamps=np.arange(468, dtype=np.int64),
        erasures=AppliedErasures(2, "ab" * 32, 1.5, 7),
    )
    return FinishedTraining(make_model("hybrid"), dataset, "m", "1", metrics, {"seed": "7"}, history, approximate=True)


def test_a_saved_training_is_read_back_whole(training, tmp_path):
    save_training(training, tmp_path / "m" / "1.trained.npz")
    read = read_training(tmp_path / "m" / "1.trained.npz")
    for side in ("model", "dataset"):
        ours, theirs = vars(getattr(read, side)), vars(getattr(training, side))
        for name in theirs.keys() - {"layers", "catalogue", "profiles"}:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
            assert getattr(ours[name], "dtype", None) == getattr(theirs[name], "dtype", None), name
    for ours, theirs in zip(read.model.layers, training.model.layers, strict=True):
        np.testing.assert_array_equal(ours.weight, theirs.weight)
        np.testing.assert_array_equal(ours.bias, theirs.bias)
    catalogue = vars(training.dataset.catalogue)
    for name in catalogue.keys() - {"attributes"}:
        assert list(vars(read.dataset.catalogue)[name]) == list(catalogue[name]), name
    for ours, theirs in zip(read.dataset.catalogue.attributes.columns, catalogue["attributes"].columns, strict=True):
        assert (ours.name, ours.type, ours.texts) == (theirs.name, theirs.type, theirs.texts)
        np.testing.assert_array_equal(ours.values, theirs.values)
        np.testing.assert_array_equal(ours.offsets, theirs.offsets)
    assert read.dataset.profiles.equals(training.dataset.profiles)
    assert read.metrics["mse"] == training.metrics["mse"]
    assert (read.history, read.hyperparameters, read.approximate) == (training.history, {"seed": "7"}, True)
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["1.trained.npz"]


def test_a_saved_training_on_events_keeps_what_they_are(tmp_path):
    pairs = weigh_events(events_from_ratings(make_dataset(), 4))
    training = FinishedTraining(make_model(objective="ranking"), pairs, "m", "1", {}, {}, rated=with_dismissed(pairs))
    save_training(training, tmp_path / "1.trained.npz")
    read = read_training(tmp_path / "1.trained.npz")
    assert read.dataset.events == pairs.events
    assert (read.rated.ratings == 0).sum() == len(pairs.dismissed.user_rows) > 0


def test_a_failed_export_keeps_the_training_and_the_command_repeats_it(tmp_path, monkeypatch, capsys):
    ratings = tmp_path / "ratings.csv"
    lines = [f"{user},{item},{1 + (user * item) % 5}" for user in range(30) for item in range(user % 3, 20, 2)]
    ratings.write_text("user_id,item_id,rating\n" + "\n".join(lines))
    output = tmp_path / "my models"
    flags = ["--dataset", str(ratings), "--output", str(output), "--name", "m", "--version", "1", "--device", "cpu"]
    flags += ["--recipe", "fast", "--factors", "4", "--epochs", "1"]
    with monkeypatch.context() as patched:
        patched.setattr(parity, "TOLERANCE", -1.0)
        patched.setattr(parity, "LARGEST_TOLERANCE", -1.0)
        assert main(flags) == 2
    error = capsys.readouterr().err
    saved = output / "m" / "1.trained.npz"
    assert "predict.onnx, case 0: differs from torch by" in error
    assert f"cofactor-train export {shlex.quote(str(saved))}" in error
    trained = read_training(saved)
    assert [path.name for path in (output / "m").iterdir()] == ["1.trained.npz"]

    assert main(["export", str(saved)]) == 0
    assert capsys.readouterr().out == f"exported: {output / 'm' / '1'}\n"
    assert not saved.exists()
    version = read_version(output / "m" / "1")
    np.testing.assert_array_equal(version.tables["item_factors"], trained.model.item_factors)
    assert version.manifest.metrics["mse"] == pytest.approx(trained.metrics["mse"])
    assert version.manifest.hyperparameters["n_factors"] == "4"


def test_every_kind_of_failure_keeps_the_file_and_says_where_it_is(tmp_path):
    path = tmp_path / "1.trained.npz"
    path.touch()
    for error, raised in ((ValueError("x"), ExportError), (OSError(28, "disk full"), ExportError)):
        with pytest.raises(raised, match="cofactor-train export"), kept_until_exported(path):
            raise error
    with pytest.raises(KeyboardInterrupt, match="cofactor-train export"), kept_until_exported(path):
        raise KeyboardInterrupt
    with pytest.raises(MemoryError) as caught, kept_until_exported(path):
        raise MemoryError
    assert "cofactor-train export" in caught.value.__notes__[0]
    assert path.exists()
    with kept_until_exported(path):
        pass
    assert not path.exists()


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_saved_training_is_refused(tmp_path, content):
    path = tmp_path / "1.trained.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"1\.trained\.npz: .*saved training"):
        read_training(path)


def test_a_truncated_training_is_refused(training, tmp_path):
    path = tmp_path / "1.trained.npz"
    save_training(training, path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="a damaged one"):
        read_training(path)
