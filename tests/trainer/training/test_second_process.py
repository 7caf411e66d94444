"""A function in a second process gives what it gives in this one, whatever happens to the process."""

import logging
import multiprocessing
import os
import signal

import pytest
import torch

from cofactor_trainer.errors import RecipeError
from cofactor_trainer.training.second_process import in_second_process
from tests.support.waiting import until


def test_the_result_and_the_process_are_those_of_another_process():
    tensor = torch.arange(4.0)
    with in_second_process(lambda: (os.getpid(), tensor.sum().item(), torch.get_num_threads())) as second:
        pid, total, n_threads = second.result()
    assert pid != os.getpid()
    assert (total, n_threads) == (6.0, 1)


def test_an_error_that_the_user_can_fix_is_raised_here():
    def fail():
        raise RecipeError("the rating range is empty")

    with in_second_process(fail) as second, pytest.raises(RecipeError, match="the rating range is empty"):
        second.result()


@pytest.mark.parametrize("fault", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0])
def test_the_work_of_a_process_that_fails_is_done_here(fault, caplog):
    here = os.getpid()

    def work():
        if os.getpid() != here:
            fault()
        return 7

    with caplog.at_level(logging.WARNING), in_second_process(work) as second:
        assert second.result() == 7
    assert "the second process failed" in caplog.text


def test_the_process_ends_with_the_block():
    with in_second_process(signal.pause):
        until(lambda: len(multiprocessing.active_children()) == 1, 10)
    assert multiprocessing.active_children() == []
