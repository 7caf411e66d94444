"""The prior of new users is estimated correctly whatever the number of factors and threads."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from cofactor_trainer.errors import TrainerError
from cofactor_trainer.graphs.prior_estimation import _invert, estimate_rating_prior
from tests.support.synthetic import make_dataset, make_model

_ON_FOUR_THREADS = """
import torch
from cofactor_trainer.graphs.prior_estimation import estimate_rating_prior
from tests.support.synthetic import make_dataset, make_model
torch.set_num_threads(1)
torch.set_num_threads(4)
prior = estimate_rating_prior(make_model(n_factors=150, n_users=65), make_dataset(n_users=65))
print(float(prior.covariance.trace()))
"""


def test_many_factors_on_several_threads_give_the_same_prior_as_on_one():
    """A batched torch.linalg.inv hangs here, prints errors of oneMKL, or returns wrong inverses."""
    run = subprocess.run(
        [sys.executable, "-c", _ON_FOUR_THREADS], capture_output=True, text=True, timeout=200, check=True
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        prior = estimate_rating_prior(make_model(n_factors=150, n_users=65), make_dataset(n_users=65))
    finally:
        torch.set_num_threads(threads)
    assert float(run.stdout) == pytest.approx(float(prior.covariance.trace()), rel=1e-5)
    assert "ERROR" not in run.stderr


def test_a_posterior_is_inverted_to_the_last_digits():
    half = np.random.default_rng(1).normal(size=(3, 40, 151)) * np.geomspace(1, 100, 151)
    precisions = torch.from_numpy(half.transpose(0, 2, 1) @ half + np.eye(151))
    np.testing.assert_allclose(_invert(precisions).numpy(), np.linalg.inv(precisions.numpy()), atol=1e-9)


@pytest.mark.parametrize("wrong", [np.nan, -5.0])
def test_a_posterior_that_cannot_be_inverted_is_an_error_with_a_remedy(wrong):
    precisions = torch.eye(3, dtype=torch.float64)[None] * torch.tensor([1.0, wrong, 1.0], dtype=torch.float64)
    with pytest.raises(TrainerError, match="lower --learning-rate"):
        _invert(precisions)
