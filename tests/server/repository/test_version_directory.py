"""A version with any damage is refused with one sentence that names the problem."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest

from cofactor.v1.manifest_pb2 import EventFeedback, EventType
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ModelRefused
from cofactor_server.repository.version_directory import open_version_directory, verify_manifest_checksum
from cofactor_server.server import create_server


@pytest.fixture
def version(dot_version, tmp_path, versions):
    return versions.copy(dot_version, tmp_path / "models")


def refusal(version):
    """Return the message with which a server refuses to start on this version."""
    with pytest.raises(ModelRefused) as caught:
        create_server(ServerConfig(models=version.parents[1], port=0, provider="cpu"))
    message = str(caught.value)
    assert message.startswith(f"model {version.parent.name}/{version.name} refused: ")
    assert str(version) not in message
    assert "\n" not in message
    return message


def test_an_intact_version_opens_with_read_only_tables(version):
    directory = open_version_directory(version)
    assert directory.tables["user_factors"].shape == (41, 8)
    assert directory.strings("item_ids")[7] == "i007"
    assert directory.strings("item_titles").strings()[7] == "The Film of 7"
    with pytest.raises(ValueError, match="read-only"):
        directory.tables["user_bias"][0] = 1


def verify(version):
    verify_manifest_checksum(version)
    return open_version_directory(version)


def test_every_flipped_bit_is_refused(version):
    rng = random.Random(11)
    files = sorted(version.iterdir())
    assert {"manifest.json", "tables.bin", "golden.npz", "recommend.onnx"} <= {path.name for path in files}
    for _ in range(60):
        path = rng.choice(files)
        content = bytearray(path.read_bytes())
        position, bit = rng.randrange(len(content)), 1 << rng.randrange(8)
        content[position] ^= bit
        path.write_bytes(content)
        with pytest.raises(ModelRefused, match="does not match"):
            verify(version)
        content[position] ^= bit
        path.write_bytes(content)
    verify(version)


@pytest.mark.parametrize("kind", ["empty", "half", "one byte less", "one byte more", "missing"])
@pytest.mark.parametrize("name", ["manifest.json", "tables.bin", "golden.npz", "recommend.onnx"])
def test_every_truncation_is_refused(version, name, kind):
    path = version / name
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    else:
        size = len(content)
        end = {"empty": 0, "half": size // 2, "one byte less": size - 1, "one byte more": size}[kind]
        path.write_bytes(content[:end] + (b"}" if kind == "one byte more" else b""))
    with pytest.raises(ModelRefused) as caught:
        verify(version)
    assert name in str(caught.value)


def edit(version, versions, change):
    manifest = versions.read(version)
    change(manifest)
    versions.write(version, manifest)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: setattr(m, "format_version", 4), "its format version is 4, and this server reads 1, 2 and 3"),
        (lambda m: setattr(m, "format_version", 3), "has format 3, and does not predict ratings and rank by events"),
        (lambda m: setattr(m, "name", "other"), "its manifest is that of other/1"),
        (lambda m: setattr(m, "version", "2"), "its manifest is that of dot/2"),
        (lambda m: setattr(m.tables[0], "offset", 2**40), "does not lie within tables.bin"),
        (lambda m: setattr(m.tables[0], "offset", 4095), "does not lie within tables.bin"),
        (lambda m: setattr(m.tables[0], "offset", -4096), "does not lie within tables.bin"),
        (lambda m: setattr(m.tables[0], "dtype", "object"), "unknown element type object"),
        (lambda m: m.tables[0].shape.__setitem__(0, 40), "shape"),
        (lambda m: m.tables[0].shape.__setitem__(0, -41), "does not lie within tables.bin"),
        (lambda m: m.tables.pop(0), "is missing"),
        (lambda m: m.graphs.pop(0), "predict, recommend, similar_items, similarity are required"),
        (lambda m: setattr(m.graphs[0], "path", "absent.onnx"), "no checksum of absent.onnx"),
        (lambda m: setattr(m, "user_count", 0), "has no number of users"),
    ],
)
def test_a_manifest_that_contradicts_the_files_is_refused(version, versions, change, reason):
    edit(version, versions, change)
    assert reason in refusal(version)


def add_events(manifest, *types, fold_in_scale=1, **fields):
    """Make a manifest say that its version learnt from events."""
    manifest.events.MergeFrom(EventFeedback(types=types, fold_in_scale=fold_in_scale, **fields))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: setattr(m, "rating_min", np.nan), "the number nan in rating_min"),
        (lambda m: setattr(m, "rating_max", np.inf), "the number inf in rating_max"),
        (lambda m: setattr(m, "rating_min", 9), "a rating_min above its rating_max"),
        (lambda m: setattr(m, "global_bias", 1e30), "the number 1e+30 in global_bias"),
        (lambda m: setattr(m, "default_popularity_weight", -np.inf), "-inf in default_popularity_weight"),
        (lambda m: setattr(m.rating_range, "high", m.rating_range.low), "low is not below its high"),
        (lambda m: setattr(m.rating_range, "high", np.nan), "the number nan in rating_range"),
        (lambda m: m.profile_features.add(key="age").numeric.__init__(mean=np.nan), "nan in profile_features age"),
        (
            lambda m: m.profile_features.add(key="age").numeric.__init__(lowest=2, highest=1),
            "profile_features age with a lowest above its highest",
        ),
        (lambda m: setattr(m, "rating_count", -1), "a negative rating_count"),
        (lambda m: m.events.types.add(weight=1), "no events.fold_in_scale above 0"),
        (lambda m: add_events(m, EventType(weight=0)), "the weight 0 in events.types"),
        (lambda m: add_events(m, EventType(weight=np.inf)), "the number inf in events.types"),
        (lambda m: add_events(m, EventType(name="return", negative=True)), "no type of events that is not negative"),
        (lambda m: add_events(m, EventType(weight=1), EventType(weight=2)), "names a type of events twice"),
        (lambda m: add_events(m, EventType(weight=1), half_life_seconds=-1), "a negative events.half_life_seconds"),
        (lambda m: add_events(m, EventType(weight=1), weight_cap=np.nan), "the number nan in events.weight_cap"),
        (lambda m: add_events(m, EventType(weight=1)), "has events and the objective 'rating'"),
        (lambda m: m.tables[0].shape.__setitem__(0, 2**62), "does not lie within tables.bin"),
        (lambda m: setattr(m, "user_count", 2**62), "has shape"),
    ],
)
def test_a_manifest_with_numbers_that_make_no_sense_is_refused(version, versions, change, reason):
    edit(version, versions, change)
    with pytest.raises(ModelRefused) as refused:
        verify(version)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("table", "value", "reason"),
    [
        ("rated.ratings", np.nan, "rated.ratings holds a number that is not finite"),
        ("item_inverse_norms", np.inf, "item_inverse_norms holds a number that is not finite"),
        ("user_prior_mean", np.nan, "user_prior_mean holds a number that is not finite"),
        ("item_rating_counts", -5, "item_rating_counts holds a negative number"),
    ],
)
def test_a_table_with_numbers_that_make_no_sense_is_refused(version, versions, table, value, reason):
    rewrite_table(version, versions, table, lambda array: array.__setitem__(0, value))
    with pytest.raises(ModelRefused) as refused:
        verify(version)
    assert reason in str(refused.value)


def test_a_file_outside_the_directory_is_refused(version, versions):
    (version.parents[2] / "secret").write_text("x")
    manifest = versions.read(version)
    versions.write(version, manifest, extra_files=["../../../secret"])
    assert "names a file outside the directory" in refusal(version)


def rewrite_table(version, versions, name, change):
    """Change a table and update the checksums."""
    manifest = versions.read(version)
    table = next(table for table in manifest.tables if table.name == name)
    raw = bytearray((version / "tables.bin").read_bytes())
    array = np.frombuffer(raw, table.dtype, int(np.prod(table.shape)), table.offset)
    change(array)
    (version / "tables.bin").write_bytes(raw)
    versions.write(version, manifest)


@pytest.mark.parametrize(
    ("table", "position", "value", "reason"),
    [
        ("rated.item_rows", 3, 120, "rated holds an index outside its range"),
        ("rated.item_rows", 3, -1, "rated holds an index outside its range"),
        ("item_genres.indices", 0, 4, "item_genres holds an index outside its range"),
        ("rated.offsets", 1, 10**9, "rated.offsets does not fit"),
        ("item_ids.offsets", 1, 10**9, "string offsets do not fit"),
        ("user_factors", 0, np.nan, "user_factors holds a number that is not finite"),
        ("item_bias", 5, np.inf, "item_bias holds a number that is not finite"),
        ("item_map.rows", 3, 120, "item_map.rows does not hold different rows of items"),
        ("item_map.rows", slice(0, 2), 7, "item_map.rows does not hold different rows of items"),
        ("starter_items.rows", 0, -1, "starter_items.rows does not hold different rows of items"),
        ("item_map", 1, np.inf, "item_map holds a number that is not finite"),
        ("item_bias", 5, 0.125, "golden case"),  # plausible, but not the value of the trained model
    ],
)
def test_tables_with_wrong_contents_are_refused(version, versions, table, position, value, reason):
    rewrite_table(version, versions, table, lambda array: array.__setitem__(position, value))
    assert reason in refusal(version)


def test_repeated_ids_are_refused(version, versions):
    def repeat(array):
        array[4:8] = array[0:4]

    rewrite_table(version, versions, "item_ids.bytes", repeat)
    assert "ids are repeated" in refusal(version)


def test_graphs_that_do_not_load_or_have_no_golden_cases_are_refused(version, versions):
    manifest = versions.read(version)
    (version / "embed_user.onnx").write_bytes(b"no graph")
    versions.write(version, manifest)
    assert "graph embed_user does not load" in refusal(version)
    (number,) = (n for n, graph in enumerate(manifest.graphs) if graph.name == "embed_user")
    del manifest.graphs[number]
    versions.write(version, manifest)
    assert "do not match in embed_user" in refusal(version)


def test_the_command_reports_a_refused_version_in_one_line_and_exits_with_2(version):
    (version / "predict.onnx").write_bytes(b"x")
    command = [sys.executable, "-m", "cofactor_server", "--models", str(version.parents[1]), "--port", "0"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("error: model dot/1 refused: predict.onnx has 1 bytes")
    assert "Traceback" not in result.stderr
