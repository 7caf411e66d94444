"""Run benchmarks/cuda_machine.py from end to end, with the CPU in the place of a device where there is none."""

from __future__ import annotations

import time

import pytest

from benchmarks import cuda_machine
from benchmarks.cuda.run import Run, cell, find_device
from benchmarks.cuda.targets import targets


def run_until(deadline, versions):
    return Run(find_device(), versions, is_small=True, deadline=deadline)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the text of a page that a small run has written, and the page."""
    folder = tmp_path_factory.mktemp("cuda")
    page = cuda_machine.Page(folder / "cuda.md")
    cuda_machine.measure(run_until(time.monotonic() + 600, folder / "versions"), page, "the command")
    return (folder / "cuda.md").read_text("utf-8"), page


def test_every_part_of_the_benchmark_runs(page):
    text, written = page
    assert written.n_failed == 0
    assert "failed" not in text.lower()
    for part in cuda_machine.PARTS:
        assert f"\n## {part}\n" in text
    for line in (
        "| 1,682 | 1 |",
        "| 6,000 | 32 |",
        "| 1,682 | recommend | 1 |",
        "| dot-product, with a ranking part |",
    ):
        assert line in text
    assert "met" in text.partition("## Targets")[2]


def test_a_part_that_fails_is_reported_and_the_others_run(tmp_path, monkeypatch, capsys):
    def fails(_):
        yield "| a row that was measured |"
        raise RuntimeError("no room\non the device")

    monkeypatch.setattr(cuda_machine, "PARTS", {"First": fails, "Second": lambda _: iter(["| another row |"])})
    page = cuda_machine.Page(tmp_path / "cuda.md")
    cuda_machine.measure(run_until(time.monotonic() + 60, tmp_path), page, "the command")
    text = (tmp_path / "cuda.md").read_text("utf-8")
    assert text in capsys.readouterr().out
    assert "| a row that was measured |" in text
    assert "**FAILED**: RuntimeError: no room on the device" in text
    assert "| another row |" in text
    assert page.n_failed == 1


def test_no_part_begins_after_the_time(tmp_path):
    page = cuda_machine.Page(tmp_path / "cuda.md")
    cuda_machine.measure(run_until(time.monotonic() - 1, tmp_path / "versions"), page, "the command")
    text = (tmp_path / "cuda.md").read_text("utf-8")
    assert text.count("Left out: no time left.") == len(cuda_machine.PARTS)
    assert not (tmp_path / "versions").exists()


def test_a_cell_that_fails_leaves_the_other_cells_alone():
    def fails():
        raise RuntimeError("a | b\nc")

    assert cell(fails) == ("failed: RuntimeError: a / b c", None)
    assert cell(lambda: 1.5) == ("1.500", 1.5)


def test_a_target_is_met_missed_or_not_measured(tmp_path):
    run = run_until(0, tmp_path)
    run.figures.update({"served 1000000 1": 0.2, "read 1000000": 0.1, "torch 1000000 1": 0.1, "difference 1 1": 2e-6})
    lines = "\n".join(targets(run))
    assert "| <= 2.5 | 2.00 | met |" in lines
    assert "| <= 1 | 2.00 | **missed** |" in lines
    assert "| >= 10 |  | not measured |" in lines
    assert "| <= 1e-05 | 2e-06 | met |" in lines
