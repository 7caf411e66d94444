"""Ctrl-C and SIGTERM at any moment, and I/O errors anywhere: one line, the right exit code, nothing half written."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.data.download import fetch
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.atomic_directory import replace_text
from cofactor_trainer.training.checkpoints import Checkpoint, write_checkpoint
from tests.support.waiting import files_below, until

COMMAND = (sys.executable, "-m", "cofactor_trainer")
MANY_EPOCHS = ("--epochs", "1000000")


@pytest.fixture
def ratings(tmp_path):
    path = tmp_path / "ratings.csv"
    rows = "".join(f"u{n % 40},i{n * n % 31},{n % 5}\n" for n in range(400))
    path.write_text("user_id,item_id,rating\n" + rows, encoding="utf-8")
    return path


def hear_ctrl_c():
    """Undo what the shell does to programs in the background: they ignore SIGINT, and so do the programs they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_importing(process, output):
    return "libtorch_cpu" in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")


def is_training(process, output):
    return "epoch" in output.with_name("log").read_text(encoding="utf-8")


def is_exporting(process, output):
    return any(path.suffix == ".onnx" and path.parent.suffix == ".tmp" for path in files_below(output))


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize(
    ("moment", "epochs"), [(is_importing, MANY_EPOCHS), (is_training, MANY_EPOCHS), (is_exporting, ("--epochs", "1"))]
)
def test_a_signal_ends_with_one_line_and_leaves_only_a_finished_training(
    moment, epochs, number, status, word, ratings, tmp_path
):
    output = tmp_path / "models"
    command = [*COMMAND, "train", "--dataset", str(ratings), "--output", str(output)]
    with (tmp_path / "log").open("wb") as log:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        command += ["--device", "cpu", *epochs]
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=hear_ctrl_c
        )
    try:
        until(lambda: moment(process, output), 180)
        process.send_signal(number)
        errors = process.communicate(timeout=180)[1]
    finally:
        process.kill()
    assert process.returncode == status
    assert "Traceback" not in errors
    last_line, left = errors.splitlines()[-1], files_below(output)
    if moment is is_exporting:
        (saved,) = left
        assert last_line == (
            f"{word}: the trained model is kept, and `cofactor-train export {saved}` repeats the export"
        )
    else:
        assert (last_line, left) == (word, [])


def test_a_closed_output_is_one_line(ratings):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, "evaluate", "--json", "--dataset", str(ratings), "--epochs", "1", "--device", "cpu"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: the output was closed"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EIO, "Input/output error", "r.csv"), "error: r.csv: Input/output error\n"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device\n"),
        (OSError("odd\nthing"), "error: odd\n"),
        (MemoryError("12 GB"), "error: there is not enough memory (12 GB)\n"),
    ],
)
def test_an_error_that_nobody_expected_is_one_line(error, line, ratings, monkeypatch, capsys):
    def fail(*args):
        raise error

    monkeypatch.setattr("cofactor_trainer.commands.evaluate.load_dataset", fail)
    assert main(["evaluate", "--dataset", str(ratings), "--device", "cpu"]) == 2
    assert capsys.readouterr().err == line


def test_a_name_that_no_file_can_have_is_refused(capsys):
    assert main(["evaluate", "--dataset", "x" * 5000, "--device", "cpu"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "name too long" in message


def test_a_cache_that_cannot_be_read_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"too long.*--data-dir"):
        fetch("ml-100k", tmp_path / ("x" * 5000))


def test_an_interrupted_file_is_not_left_half_written(tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_text(path, "new")
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(Checkpoint("run", {}, {}, [], None), tmp_path / "run.pt")
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("page.html", "old")]
