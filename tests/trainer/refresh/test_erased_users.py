"""A warm start does not carry traces of erased users into a new version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cofactor.v1.manifest_pb2 import Manifest
from cofactor_trainer.commands.warm_training import refuse_unapplied_erasures
from cofactor_trainer.data.dataset import AppliedErasures
from cofactor_trainer.errors import InputError
from tests.support.synthetic import make_dataset

ERASED = replace(make_dataset(), erasures=AppliedErasures(1, "ab" * 32, 1.5, 7))


def version(records_sha256: str) -> Manifest:
    manifest = Manifest(version="7")
    manifest.erasures.records_sha256 = records_sha256
    return manifest


@pytest.mark.parametrize("manifest", [Manifest(version="7"), version("cd" * 32)], ids=["no list", "an older list"])
def test_a_version_that_may_know_erased_users_is_no_start(manifest) -> None:
    with pytest.raises(InputError, match=r"users were erased since version 7 was trained.*train in full"):
        refuse_unapplied_erasures(ERASED, manifest)


def test_a_version_that_was_trained_after_the_same_erasures_is_a_start() -> None:
    refuse_unapplied_erasures(ERASED, version("ab" * 32))
    refuse_unapplied_erasures(make_dataset(), Manifest())
    refuse_unapplied_erasures(replace(ERASED, erasures=AppliedErasures(0, "00" * 32, None, 0)), Manifest())
