"""Training with --recency finds out how much the latest events of a new user count."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.export.version_reader import read_version
from tests.support import shop

SIZES = ("--epochs", "30", "--factors", "8", "--learning-rate", "0.03", "--batch-size", "64", "--device", "cpu")


def write_changing_tastes(path):
    """Write customers who take items of one kind, then of the other: only the latest items tell what comes next."""
    random = np.random.default_rng(11)
    lines = ["user_id,item_id,timestamp"]
    for customer in range(80):
        kinds = (shop.TEA, shop.TOOLS) if customer % 2 else (shop.TOOLS, shop.TEA)
        early, late = random.choice(20, 9, replace=False), random.choice(20, 4, replace=False)
        items = [kinds[0][row] for row in early] + [kinds[1][row] for row in late]
        lines += [f"c{customer:02},{item},{shop.START + place}" for place, item in enumerate(items)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def train(tmp_path, events, *flags):
    names = ("--output", str(tmp_path), "--name", "shop", "--version", "1")
    code = main(["train", "--dataset", str(events), *flags, *SIZES, *names, "--recency"])
    return code, tmp_path / "shop" / "1"


def test_recency_is_used_where_the_latest_items_tell_what_comes_next(tmp_path, capsys):
    code, version = train(tmp_path, write_changing_tastes(tmp_path / "events.csv"))
    assert code == 0
    events = read_version(version).manifest.events
    assert events.recency_boost >= 4
    assert 0.5 <= events.recency_decay <= 0.9
    assert "recency: the latest item of a new user counts" in capsys.readouterr().out


def test_recency_is_not_used_where_the_order_tells_nothing(tmp_path, capsys):
    code, version = train(tmp_path, shop.write_events(tmp_path / "events.csv"), *shop.EVENT_FLAGS)
    assert code == 0
    assert read_version(version).manifest.events.recency_boost == 0
    assert "recency: not used, because the latest events tell no more than others" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "flags", "message"),
    [
        ("user_id,item_id\na,x\na,y\nb,x\nb,y\n", ("--validation-fraction", "0"), "--recency needs times"),
        ("user_id,item_id,rating\na,x,1\na,y,5\nb,x,3\nb,y,2\n", (), "--recency does not apply to the ratings"),
    ],
)
def test_recency_is_refused_without_events_or_times(tmp_path, capsys, table, flags, message):
    path = tmp_path / "table.csv"
    path.write_text(table, encoding="utf-8")
    assert train(tmp_path, path, *flags)[0] == 2
    assert message in capsys.readouterr().err
