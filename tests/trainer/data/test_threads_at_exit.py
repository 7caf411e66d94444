"""No thread of a reader outlives an error: the process ends with code 2, and neither aborts nor hangs."""

import subprocess
import sys

import pytest

# Reading ahead from a Python stream takes a while here, so that a thread that still does it at exit would be caught.
SLOW_READER = """
import io, sys, time
from pathlib import Path
from cofactor_trainer.data import table_files
from cofactor_trainer.data.rating_files import read_ratings
from cofactor_trainer.errors import InputError

class SlowFile(io.FileIO):
    def readinto(self, buffer):
        time.sleep(0.05)
        return super().readinto(buffer)

table_files._BYTES_PER_TEXT_BATCH = 1 << 16
Path.open = lambda path, mode: io.BufferedReader(SlowFile(path), 1 << 16)
try:
    read_ratings(Path(sys.argv[1]))
except InputError as error:
    sys.exit(2)
"""


@pytest.mark.parametrize("header", ["user;item;mark", "user_id;item_id;rating"])
def test_a_refused_file_leaves_no_thread_that_aborts_the_process(header, tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text(header + "\nann;film;bad\n" + "bob;book;4\n" * 100_000, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", SLOW_READER, str(path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "")
