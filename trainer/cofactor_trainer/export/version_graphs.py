"""Choose the module of every graph of a version, and how to verify it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from cofactor_trainer.data.attribute_columns.features import item_frame
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.export.verification.golden_inputs import GoldenInputSampler, GraphInputs
from cofactor_trainer.export.verification.parity import GraphCheck
from cofactor_trainer.export.verification.recall import RECALL_K, measure_recall
from cofactor_trainer.export.verification.reference import Reference
from cofactor_trainer.export.verification.stable_histories import find_stable_history
from cofactor_trainer.export.verification.tolerances import output_units
from cofactor_trainer.graphs.graph_specs import (
    embed_user_spec,
    predict_spec,
    recommend_spec,
    similar_items_spec,
    similarity_spec,
)
from cofactor_trainer.graphs.item_columns import RecommendColumnwise
from cofactor_trainer.graphs.new_items.exchange import exchange_dataset, exchange_model
from cofactor_trainer.graphs.new_items.fold_in import (
    INPUT_NAMES,
    ItemFoldIn,
    build_item_fold_in,
    embed_item_spec,
)
from cofactor_trainer.graphs.new_items.priors import ItemPriors
from cofactor_trainer.graphs.ranking_fold_in import FoldIn, build_fold_in
from cofactor_trainer.graphs.recommend import Recommend
from cofactor_trainer.graphs.recommend_blockwise import RecommendBlockwise
from cofactor_trainer.graphs.recommend_candidates import RecommendFromCandidates
from cofactor_trainer.graphs.recommend_quantized import RecommendQuantized
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.graphs.top_k import LARGE_CATALOGUE_ITEMS
from cofactor_trainer.graphs.user_prior import UserPriors
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.threads import one_thread

# Tables that only graphs of large or quantized catalogues read.
LARGE_TABLES = ("item_columns", "item_codes", "item_code_basis", "item_code_steps")


def build_graphs(
    model: TrainedModel,
    dataset: RatingsDataset,
    priors: UserPriors,
    item_priors: ItemPriors | None,
    arrays: Mapping[str, npt.NDArray[Any]],
) -> dict[str, GraphCheck]:
    """Build every graph of a version, by name; Recommend reads item_codes or item_columns if arrays has them."""
    item_log_popularity = torch.from_numpy(arrays["item_log_popularity"])
    inverse_norms = torch.from_numpy(arrays["item_inverse_norms"])
    columns = torch.from_numpy(arrays["item_columns"]) if "item_columns" in arrays else None
    scorer, sampler = Scorer(model), GoldenInputSampler(model)
    reference, inputs = Reference(model, item_log_popularity), sampler.sample()
    exact = _Exact(model, item_log_popularity)
    graphs = {
        "predict": GraphCheck(
            predict_spec(scorer), inputs["predict"], reference.predict, compute_exactly=exact.predict
        ),
        "recommend": replace(
            _recommend(model, scorer, reference, inputs["recommend"], arrays),
            compute_exactly=exact.recommend_for_rows,
        ),
        "similar_items": GraphCheck(
            similar_items_spec(scorer, inverse_norms, columns),
            inputs["similar_items"],
            reference.similar_items,
            reference.similar_items_for_rows,
            exact.similar_items_for_rows,
        ),
        "similarity": GraphCheck(similarity_spec(scorer, inverse_norms), inputs["similarity"], reference.similarity),
    }
    rated = dataset.rated or dataset
    scale = rated.rating_min, rated.rating_max
    fold_in = build_fold_in(model, scorer, priors, scale, dataset.events)
    units = output_units(model, rated)
    histories = _stable_histories(
        fold_in, sampler.sample_embed_user(dataset, priors.main.profile), scorer.n_items, units
    )
    graphs["embed_user"] = GraphCheck(
        embed_user_spec(fold_in), histories, fold_in, compute_exactly=partial(_embed_exactly, fold_in)
    )
    if item_priors is not None:
        graphs["embed_item"] = _embed_item(model, dataset, item_priors, scale, units)
    return {name: replace(check, units=units) for name, check in graphs.items()}


def _embed_item(
    model: TrainedModel,
    dataset: RatingsDataset,
    priors: ItemPriors,
    scale: tuple[float, float],
    units: Mapping[str, float],
) -> GraphCheck:
    """Build graph embed_item; its golden inputs are those of embed_user with users and items exchanged."""
    fold_in = build_item_fold_in(model, priors, scale, dataset.events)
    attributes = item_frame(dataset.catalogue) if priors.features else None
    exchanged = exchange_dataset(dataset, attributes)
    sampled = GoldenInputSampler(exchange_model(model)).sample_embed_user(exchanged, priors.profile)
    # Half of them do: the modules are those of embed_user, and every case takes time.
    histories = _stable_histories(fold_in, [sampled[0], *sampled[3:5]], dataset.n_users, units)
    renamed = [{INPUT_NAMES.get(name, name): value for name, value in history.items()} for history in histories]

    def compute(module: ItemFoldIn, **history: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = module(*history.values())
        return outputs

    def compute_exactly(**history: Tensor) -> tuple[Tensor, ...]:
        return compute(copy.deepcopy(fold_in).double(), **_in_float64(history))

    return GraphCheck(embed_item_spec(fold_in), renamed, partial(compute, fold_in), compute_exactly=compute_exactly)


def _stable_histories(
    fold_in: FoldIn | ItemFoldIn, histories: Sequence[GraphInputs], n_rows: int, units: Mapping[str, float]
) -> list[GraphInputs]:
    with one_thread():
        return [find_stable_history(history, fold_in, n_rows, units) for history in histories]


class _Exact:
    """The reference in float64, made when it is first needed, because it copies the tables."""

    def __init__(self, model: TrainedModel, item_log_popularity: Tensor) -> None:
        self._model, self._item_log_popularity = model, item_log_popularity

    @cached_property
    def _reference(self) -> Reference:
        return Reference(self._model, self._item_log_popularity, torch.float64)

    def predict(self, **golden_input: Tensor) -> tuple[Tensor, ...]:
        return self._reference.predict(**golden_input)

    def recommend_for_rows(self, rows: Tensor, **golden_input: Tensor) -> tuple[Tensor, ...]:
        return self._reference.recommend_for_rows(rows, **golden_input)

    def similar_items_for_rows(self, rows: Tensor, **golden_input: Tensor) -> Tensor:
        return self._reference.similar_items_for_rows(rows, **golden_input)


def _embed_exactly(fold_in: FoldIn, **history: Tensor) -> tuple[Tensor, ...]:
    """Compute graph embed_user in float64."""
    exact: tuple[Tensor, ...] = copy.deepcopy(fold_in).double()(**_in_float64(history))
    return exact


def _in_float64(history: GraphInputs) -> dict[str, Tensor]:
    return {name: value.double() if value.is_floating_point() else value for name, value in history.items()}


def _recommend(
    model: TrainedModel,
    scorer: Scorer,
    reference: Reference,
    golden_inputs: Sequence[GraphInputs],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> GraphCheck:
    """Build the Recommend that suits the architecture, the size of the catalogue and the tables."""
    popularity, is_large = reference.item_log_popularity, scorer.n_items >= LARGE_CATALOGUE_ITEMS
    recall = partial(measure_recall, model=model, reference=reference)
    make = RecommendBlockwise if is_large else Recommend
    ranked: Recommend | None = None
    if scorer.network is not None and scorer.n_ranking:
        ranked = make(scorer, popularity, reads_network=False)
    if is_large and scorer.network is not None:
        module: Recommend = RecommendFromCandidates(scorer, popularity)
        return GraphCheck(
            recommend_spec(scorer, module, without_network=ranked),
            golden_inputs,
            # In torch as in ONNX it may miss an item. The scores of the items it finds are compared with the exact
            # ones.
            partial(_from_candidates, module, ranked),
            reference.recommend_for_rows,
            recalls={f"candidate_recall@{RECALL_K}": partial(recall, n_users=100)},
        )
    tables = {name: torch.from_numpy(arrays[name]) for name in LARGE_TABLES if name in arrays}
    single: Recommend | None = None
    if "item_codes" in tables:
        single = RecommendQuantized(scorer, popularity, tables)
    elif "item_columns" in tables:
        single = RecommendColumnwise(scorer, popularity, tables["item_columns"])
    module = make(scorer, popularity)
    return GraphCheck(
        recommend_spec(scorer, module, single, ranked),
        golden_inputs,
        reference.recommend,
        reference.recommend_for_rows,
        recalls={f"int8_recall@{RECALL_K}": partial(recall, n_users=1000)} if "item_codes" in tables else {},
    )


def _from_candidates(module: Recommend, ranked: Recommend | None, **golden_input: Tensor) -> tuple[Tensor, ...]:
    """Compute graph recommend of a large network, whose runs without a rating weight skip the network."""
    if ranked is not None and not golden_input["order_weights"][:, 0].any():
        module = ranked
    outputs: tuple[Tensor, ...] = module(**golden_input)
    return outputs
