"""TensorBoard receives every epoch of a training run."""

import sys
from dataclasses import replace

import pytest

from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.errors import InputError, MissingExtraError
from cofactor_trainer.training.observer import CompositeObserver
from cofactor_trainer.training.tensorboard import TensorBoardObserver
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset


def test_tensorboard_receives_every_epoch(tmp_path):
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the tracking extra is not installed"
    )
    split = random_split(make_dataset())
    log = TensorBoardObserver(tmp_path / "log", RECIPES["p7"], 3)
    history = train(split.train, split.validation, RECIPES["p7"], seed=3, observer=log).history
    events = reading.EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    for tag, expected in (
        ("loss/train", [epoch.train_loss for epoch in history]),
        ("loss/validation", [epoch.validation_loss for epoch in history]),
        ("rmse/validation", [epoch.rmse for epoch in history]),
    ):
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [1, 2, 3, 4, 5]
        assert [scalar.value for scalar in scalars] == pytest.approx(expected)
    text = events.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| weight_decay | 0.2 |" in text
    assert "| seed | 3 |" in text


def test_tensorboard_receives_the_validation_loss_of_a_ranking_model(tmp_path):
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the tracking extra is not installed"
    )
    split = random_split(make_dataset())
    recipe = replace(RECIPES["ranking"], n_factors=8, epochs=2)
    history = train(split.train, split.validation, recipe, observer=TensorBoardObserver(tmp_path, recipe, 42)).history
    events = reading.EventAccumulator(str(tmp_path))
    events.Reload()
    logged = [scalar.value for scalar in events.Scalars("loss/validation")]
    assert logged == pytest.approx([epoch.validation_loss for epoch in history])
    assert set(events.Tags()["scalars"]) == {"loss/train", "seconds", "loss/validation"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    pytest.importorskip("tensorboard", reason="the tracking extra is not installed")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"log: logs cannot be written there \(.+\): .*--tensorboard"):
        TensorBoardObserver(tmp_path / "file" / "log", RECIPES["p7"], 3)


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cofactor\[tracking\]'"):
        TensorBoardObserver(tmp_path, RECIPES["p7"], 3)


def test_a_composite_observer_forwards_to_every_observer():
    class Counter:
        progress = epochs = 0

        def on_progress(self, trained, total):
            self.progress += 1

        def on_epoch(self, result):
            self.epochs += 1

    counters = [Counter(), Counter()]
    train(make_dataset(), None, RECIPES["p7"], observer=CompositeObserver(counters))
    assert [counter.epochs for counter in counters] == [5, 5]
    assert counters[0].progress == counters[1].progress > 5
