"""Write the report page: one HTML file that needs no other file and no network."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import jinja2
from plotly.offline import get_plotlyjs

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.atomic_directory import replace_text
from cofactor_trainer.export.version_reader import ExportedVersion
from cofactor_trainer.report.sections import build_sections


def write_report(version: ExportedVersion, validation: RatingsDataset | None, path: Path) -> None:
    """Write the report of a version.

    Args:
        version: version to report on.
        validation: held-out ratings, in the rows of the version; None to leave out the sections that need them. A
            version that was trained again on all ratings is never judged on them.
        path: HTML file to write.

    Raises:
        InputError: the ratings do not belong to this version, or the file cannot be written.
    """
    if version.manifest.refitted:
        validation = None
    if validation is not None:
        _check_rows(version, validation)
    template = jinja2.Environment(autoescape=True).from_string(
        resources.files("cofactor_trainer.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    html = template.render(
        manifest=version.manifest,
        trained=version.manifest.train_time.ToDatetime().strftime("%Y-%m-%d %H:%M UTC"),
        sections=build_sections(version, validation),
        plotly=get_plotlyjs(),
    )
    try:
        replace_text(path, html)
    except OSError as error:
        raise InputError(f"the report cannot be written: {error.strerror}", path) from error


def _check_rows(version: ExportedVersion, validation: RatingsDataset) -> None:
    if version.strings("item_ids") != list(validation.catalogue.item_ids) or version.strings("user_ids") != list(
        validation.user_ids
    ):
        raise InputError(
            f"version {version.manifest.version} of {version.manifest.name} was not trained on this split of "
            f"{validation.name}: give the --dataset, --validation-fraction and --split-seed it was trained with"
        )
