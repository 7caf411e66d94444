"""Errors in compressed and delimited text: one line names the file, the place and the remedy."""

import gzip

import pytest

from cofactor_trainer.__main__ import main

FEW = "user_id,item_id,rating\nann,film,4\nann,book,3\nbob,film,5\n"
MANY = "user_id,item_id,rating\n" + "".join(f"u{n * n % 9973},i{n % 997},{n % 5}\n" for n in range(200_000))
COMPRESSED = {kind: gzip.compress(text.encode(), 1, mtime=0) for kind, text in (("few", FEW), ("many", MANY))}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (FEW.encode(), "Not a gzipped file"),
        (COMPRESSED["few"][:-12], "ended before the end-of-stream marker"),
        (COMPRESSED["many"][:-12], "ended before the end-of-stream marker"),
        (COMPRESSED["few"][:10] + b"\x07" + COMPRESSED["few"][11:], "invalid block type"),
        (COMPRESSED["many"][:-8] + bytes(8), "CRC check failed"),
        (COMPRESSED["many"] + b"more", "Not a gzipped file"),
    ],
    ids=["not compressed", "cut", "large and cut", "damaged", "large and damaged", "trailing bytes"],
)
def test_a_broken_gzip_file_is_refused(content, reason, tmp_path, capsys):
    path = tmp_path / "ratings.csv.gz"
    path.write_bytes(content)
    assert main(["train", "--dataset", str(path), "--output", str(tmp_path / "models")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith(f"error: {path}: the file cannot be decompressed (")
    assert reason in message


@pytest.mark.parametrize("line", [1, 3, 150_000])
def test_an_unpaired_quote_in_a_large_file_is_located(line, tmp_path, capsys):
    lines = MANY.splitlines(keepends=True)
    lines[line] = '"' + lines[line]
    path = tmp_path / "ratings.csv"
    path.write_text("".join(lines), encoding="utf-8")
    assert main(["train", "--dataset", str(path), "--output", str(tmp_path / "models")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith(f"error: {path}, line {line + 1}: field larger than field limit")
    assert "remove the unpaired double quote" in message
