"""Differences are judged by the scale of the output and by what float32 can decide."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cofactor_trainer.export.verification.parity import GraphCheck, ParityError, verify_graph
from cofactor_trainer.export.verification.reference import Reference
from cofactor_trainer.export.verification.tolerances import output_units
from cofactor_trainer.graphs.graph_specs import predict_spec
from cofactor_trainer.graphs.scorer import Scorer
from tests.support.exported_graphs import export_graph
from tests.support.synthetic import make_dataset, make_model

POPULARITY = np.zeros(121, np.float32)
WIDE_SCALE = replace(make_dataset(), rating_min=1, rating_max=1000)


def check_of(folder, model, dataset=WIDE_SCALE, **functions):
    """Export graph predict of a model, with a check on every item for one user."""
    scorer, reference = Scorer(model), Reference(model, torch.from_numpy(POPULARITY))
    spec = predict_spec(scorer)
    path = export_graph(folder, "predict", spec, model, POPULARITY)
    golden_input = {
        "user_factors": torch.from_numpy(model.user_factors[:1]),
        "user_bias": torch.from_numpy(model.user_bias[:1]),
        "item_rows": torch.arange(121),
    }
    units = output_units(model, dataset)
    return path, GraphCheck(spec, [golden_input], **{"compute": reference.predict, "units": units, **functions})


def off_by(logit, model):
    """Return a function that computes graph predict with every logit off by a number."""
    reference = Reference(replace(model, global_bias=model.global_bias + logit), torch.from_numpy(POPULARITY))
    return reference.predict


def test_ratings_of_a_wide_scale_are_judged_by_its_width(tmp_path):
    """A logit that is off by 4e-6 is rounding; at its steepest the sigmoid turns it into a rating off by 0.001."""
    model = make_model(rating_range=(-124.0, 1125.0))
    path, check = check_of(tmp_path, model, compute=off_by(4e-6, model))
    verify_graph(path, check)
    with pytest.raises(ParityError, match=r"output ratings\[\d+\] is -?[\d.]+ instead of"):
        verify_graph(path, replace(check, units={}))


def test_logits_without_a_sigmoid_are_judged_by_the_rating_scale(tmp_path):
    model = make_model(rating_range=None)
    wide = replace(
        model,
        user_factors=model.user_factors * 20,
        item_factors=model.item_factors * 20,
        user_bias=model.user_bias * 100,
        item_bias=model.item_bias * 200,
        global_bias=500.0,
    )
    path, check = check_of(tmp_path, wide, compute=off_by(1e-3, wide))
    verify_graph(path, check)
    with pytest.raises(ParityError):
        verify_graph(path, replace(check, units={}))


def test_a_wrong_rating_of_a_wide_scale_is_found(tmp_path):
    model = make_model(rating_range=(-124.0, 1125.0))
    path, check = check_of(tmp_path, model, compute=off_by(1e-3, model))
    with pytest.raises(ParityError, match=r"predict\.onnx, case 0: differs from torch by .*export again"):
        verify_graph(path, check)


def test_a_difference_that_float32_explains_is_admitted_up_to_half_of_what_servers_accept(tmp_path):
    model = make_model()
    path, check = check_of(tmp_path, model, compute=off_by(3e-5, model))
    exact = Reference(model, torch.from_numpy(POPULARITY), torch.float64).predict
    with pytest.raises(ParityError, match=r"at most 1\.0e-05"):
        verify_graph(path, check)
    verify_graph(path, replace(check, compute_exactly=exact))
    path, check = check_of(tmp_path, model, compute=off_by(8e-5, model), compute_exactly=exact)
    with pytest.raises(ParityError, match=r"at most 5\.0e-05"):
        verify_graph(path, check)


def test_a_difference_that_float32_does_not_explain_is_refused(tmp_path):
    model = make_model()
    wrong = off_by(3e-5, model)
    path, check = check_of(tmp_path, model, compute=wrong, compute_exactly=wrong)
    with pytest.raises(ParityError, match=r"at most 1\.0e-05"):
        verify_graph(path, check)
