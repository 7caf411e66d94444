"""A version directory is as docs/model-format.md describes it, and appears complete or not at all."""

import hashlib
import itertools
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format

from cofactor.v1 import manifest_pb2
from cofactor_trainer.export import version_graphs, version_writer
from cofactor_trainer.export.manifest import VERSION
from cofactor_trainer.export.verification.parity import ParityError
from cofactor_trainer.export.version_writer import export_version
from tests.support.synthetic import make_dataset, make_model


@pytest.fixture(scope="module", params=["dot_version", "net_version", "hybrid_version", "profile_version"])
def version(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def manifest(version):
    return json_format.Parse((version / "manifest.json").read_text(encoding="utf-8"), manifest_pb2.Manifest())


def table(version, manifest, name):
    entry = next(entry for entry in manifest.tables if entry.name == name)
    return np.memmap(version / "tables.bin", entry.dtype, "r", entry.offset, tuple(entry.shape))


def test_every_file_is_listed_with_its_size_and_checksum(version, manifest):
    listed = {file.path: (file.size, file.sha256) for file in manifest.files}
    found = {
        path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in version.iterdir()
        if path.name not in ("manifest.json", "manifest.sha256")
    }
    assert listed == found


def test_tables_are_aligned_and_do_not_overlap(version, manifest):
    end = 0
    for entry in manifest.tables:
        assert entry.offset % 4096 == 0
        assert entry.offset >= end
        end = entry.offset + int(np.prod(entry.shape)) * np.dtype(entry.dtype).itemsize
    assert (version / "tables.bin").stat().st_size >= end


PACKAGE = Path(version_graphs.__file__).parents[1]


def test_no_path_of_this_machine_is_in_any_file(version):
    for path in version.iterdir():
        assert str(PACKAGE).encode() not in path.read_bytes(), path.name


def test_no_path_of_this_machine_is_in_a_graph_with_branches(tmp_path):
    options = {"metrics": {}, "hyperparameters": {}, "quantize_to": "int8"}
    version = export_version(make_model(), make_dataset(), tmp_path, "m", "1", **options)
    assert str(PACKAGE).encode() not in (version / "recommend.onnx").read_bytes()


def test_ids_are_stored_in_order(version, manifest):
    dataset = make_dataset()
    text, offsets = table(version, manifest, "item_ids.bytes"), table(version, manifest, "item_ids.offsets")
    ids = [bytes(text[a:b]).decode() for a, b in itertools.pairwise(offsets)]
    assert ids == list(dataset.catalogue.item_ids)


def test_rated_items_of_a_user_are_stored_in_ascending_order(version, manifest):
    dataset = make_dataset()
    offsets, rows = table(version, manifest, "rated.offsets"), table(version, manifest, "rated.item_rows")
    ratings = table(version, manifest, "rated.ratings")
    for user in range(dataset.n_users):
        mask = dataset.user_rows == user
        wanted = sorted(zip(dataset.item_rows[mask], dataset.ratings[mask], strict=True))
        span = slice(offsets[user], offsets[user + 1])
        assert list(zip(rows[span], ratings[span], strict=True)) == wanted


def test_an_existing_version_is_never_changed(dot_version, models_dir):
    before = {path.name: path.read_bytes() for path in dot_version.iterdir()}
    with pytest.raises(FileExistsError, match="version 1 of model dot exists"):
        export_version(make_model(seed=8), make_dataset(), models_dir, "dot", "1", metrics={}, hyperparameters={})
    assert {path.name: path.read_bytes() for path in dot_version.iterdir()} == before


def test_a_killed_export_does_not_block_the_next(tmp_path, monkeypatch):
    """In a container both processes have id 1."""

    def fail(*_, **__):
        raise KeyboardInterrupt

    def attempt():
        return export_version(make_model(), make_dataset(), tmp_path, "m", "1", metrics={}, hyperparameters={})

    with monkeypatch.context() as patched:
        patched.setattr(version_writer, "_write_files", fail)
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process removes nothing
        with pytest.raises(KeyboardInterrupt):
            attempt()
    (left,) = (tmp_path / "m").iterdir()
    assert not VERSION.fullmatch(left.name), "a server would take it for a version"
    monkeypatch.setattr(version_writer, "_write_files", lambda directory, *_: (directory / "written").touch())
    assert (attempt() / "written").is_file()


def test_a_version_that_differs_from_torch_is_not_published(tmp_path, monkeypatch):
    class Wrong(version_graphs.Scorer):
        def ratings(self, logits):
            return super().ratings(logits) + 2e-5

    monkeypatch.setattr(version_graphs, "Scorer", Wrong)
    with pytest.raises(ParityError, match=r"predict\.onnx, case 0: differs from torch by"):
        export_version(make_model(), make_dataset(), tmp_path, "m", "1", metrics={}, hyperparameters={})
    assert not list(tmp_path.glob("m/*"))


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("Über", "1", "model name 'Über'"),
        ("a/b", "1", "model name 'a/b'"),
        ("m", "..", "version '..'"),
        ("m", "a b", "version"),
    ],
)
def test_a_name_that_is_not_a_plain_folder_name_is_refused(tmp_path, name, version, message):
    with pytest.raises(ValueError, match=message):
        export_version(make_model(), make_dataset(), tmp_path, name, version, metrics={}, hyperparameters={})
    assert not list(tmp_path.iterdir())


def test_a_model_that_diverged_is_refused(tmp_path):
    model = make_model()
    model.item_factors[3, 1] = np.nan
    with pytest.raises(ValueError, match="item_factors has values that are not finite"):
        export_version(model, make_dataset(), tmp_path, "m", "1", metrics={}, hyperparameters={})


def test_a_model_of_another_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="item_factors has 121 rows; the data set synthetic needs 51"):
        export_version(make_model(), make_dataset(n_items=50), tmp_path, "m", "1", metrics={}, hyperparameters={})


def test_trainings_that_end_in_the_same_second_get_versions_of_their_own(tmp_path):
    moment = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert version_writer.version_of_time(tmp_path, moment) == "20261231T235959Z"
    (tmp_path / "20261231T235959Z").mkdir()
    assert version_writer.version_of_time(tmp_path, moment) == "20270101T000000Z"
