"""Files that cannot be unpacked or parsed: one line that says which file, where, and what to do."""

import gzip

import pytest

from cofactor_trainer.__main__ import main

FEW = "user_id,item_id,rating\nann,film,4\nann,book,3\nbob,film,5\n"
MANY = "user_id,item_id,rating\n" + "".join(f"u{n * n % 9973},i{n % 997},{n % 5}\n" for n in range(200_000))
PACKED = {kind: gzip.compress(text.encode(), 1, mtime=0) for kind, text in (("few", FEW), ("many", MANY))}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (FEW.encode(), "Not a gzipped file"),
        (PACKED["few"][:-12], "ended before the end-of-stream marker"),
        (PACKED["many"][:-12], "ended before the end-of-stream marker"),
        (PACKED["few"][:10] + b"\x07" + PACKED["few"][11:], "invalid block type"),
        (PACKED["many"][:-8] + bytes(8), "CRC check failed"),
        (PACKED["many"] + b"more", "Not a gzipped file"),
    ],
    ids=["not packed", "cut", "large and cut", "damaged", "large and damaged", "something behind it"],
)
def test_what_is_no_gzip_file_is_named(content, reason, tmp_path, capsys):
    path = tmp_path / "ratings.csv.gz"
    path.write_bytes(content)
    assert main(["train", "--dataset", str(path), "--output", str(tmp_path / "models")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"error: {path}: cannot be unpacked (")
    assert reason in said


@pytest.mark.parametrize("place", [1, 3, 150_000])
def test_a_quote_that_stands_alone_in_a_large_file_is_named(place, tmp_path, capsys):
    lines = MANY.splitlines(keepends=True)
    lines[place] = '"' + lines[place]
    path = tmp_path / "ratings.csv"
    path.write_text("".join(lines), encoding="utf-8")
    assert main(["train", "--dataset", str(path), "--output", str(tmp_path / "models")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"error: {path}, line {place + 1}: field larger than field limit")
    assert "a double quote that stands alone" in said
