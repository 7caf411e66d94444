"""The completion script of the command cofactor-train."""

import subprocess

import pytest

from cofactor_trainer.__main__ import main


@pytest.fixture
def complete(capsys, tmp_path):
    """Return a function that completes the last of some words in bash, in a directory with the file ratings.csv."""
    (tmp_path / "ratings.csv").touch()
    with pytest.raises(SystemExit) as stopped:
        main(["--print-completion", "bash"])
    assert stopped.value.code == 0
    script = capsys.readouterr().out

    def words(*typed):
        array = " ".join(f"'{word}'" for word in ("cofactor-train", *typed))
        call = f"COMP_WORDS=({array}); COMP_CWORD={len(typed)}; _shtab_cofactor_train; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(
            ["bash", "-c", f"{script}\n{call}"], capture_output=True, text=True, cwd=tmp_path, check=True
        )
        return done.stdout.split()

    return words


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (("ev",), ["evaluate"]),
        (("train", "--split-"), ["--split-seed", "--split-column", "--split-name"]),
        (("evaluate", "--objective", "ra"), ["rating", "ranking"]),
        (("train", "--items", "ra"), ["ratings.csv"]),
    ],
)
def test_bash_completes_commands_flags_choices_and_files(complete, typed, expected):
    assert complete(*typed) == expected
