"""A sub-command imports only what it needs: importing torch alone takes two seconds."""

import subprocess
import sys
from importlib import import_module

import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.commands.parsers import PARSERS

# What takes long to import, and what imports it.
SLOW = {"torch", "pandas", "pyarrow", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "sympy", "plotly", "optuna"}
RUN = """
import sys
from cofactor_trainer.__main__ import main
try:
    status = main(sys.argv[1:])
except SystemExit as stopped:
    status = stopped.code
print(*sorted({name.partition(".")[0] for name in sys.modules}))
sys.exit(status)
"""


def imported_by(*words):
    """Return the top-level names that a command has imported when it ends."""
    command = [sys.executable, "-c", RUN, *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["--print-completion", "bash"]])
def test_flags_are_declared_without_slow_imports(words):
    loaded = imported_by(*words)
    assert "argparse" in loaded
    assert loaded & SLOW == set()


def test_publishing_a_version_needs_no_slow_imports(dot_version, tmp_path):
    loaded = imported_by("publish", dot_version, tmp_path)
    assert (tmp_path / "dot" / "1" / "manifest.json").is_file()
    assert loaded & SLOW == set()


@pytest.mark.parametrize("command", PARSERS)
def test_every_sub_command_has_help_and_is_run_by_the_module_with_its_name(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: cofactor-train {command}" in capsys.readouterr().out
    assert callable(import_module(f"cofactor_trainer.commands.{command.replace('-', '_')}").run)


def test_a_library_that_is_not_installed_is_reported_in_one_line(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None; from cofactor_trainer.__main__ import main; "
        "sys.exit(main(['train', '--device', 'cpu']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: cofactor-train needs the package torch: pip install 'cofactor[trainer]' (in a checkout '.[trainer]')\n"
    )
