"""The image of the trainer."""

from __future__ import annotations

import pytest

from tests.support.images import buildah, settings

pytestmark = [pytest.mark.images, pytest.mark.timeout(3600)]
RATINGS = "user,item,rating\n" + "".join(f"u{n % 40},i{n * n % 31},{n % 5 + 1}\n" for n in range(1200))


def test_the_trainer_trains_and_exports_a_version(image, container, tmp_path) -> None:
    (tmp_path / "ratings.csv").write_text(RATINGS, encoding="utf-8")
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(0o777)
    entry_point = settings(image("trainer"))["Entrypoint"]
    command = [*entry_point, "--dataset", "ratings.csv", "--name", "shop", "--epochs", "1"]
    buildah("run", f"--volume={tmp_path}:/work", container("trainer"), "--", *command)
    (manifest,) = (tmp_path / "models" / "shop").glob("*/manifest.json")
    assert manifest.stat().st_uid == 10001
