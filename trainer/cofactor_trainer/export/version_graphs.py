"""Which module each graph of a version is, and what torch says it has to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy.typing as npt
import torch

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.export.verification.golden_cases import Case, CaseMaker
from cofactor_trainer.export.verification.parity import CheckedGraph
from cofactor_trainer.export.verification.recall import RECALL_K, recall
from cofactor_trainer.export.verification.reference import Reference
from cofactor_trainer.export.verification.settled_histories import settled_history
from cofactor_trainer.graphs.exact_top_k import TWO_STAGE_ITEMS
from cofactor_trainer.graphs.fold_in import EmbedRankingUser, EmbedUser
from cofactor_trainer.graphs.graph_sources import (
    embed_user_source,
    predict_source,
    recommend_source,
    similar_items_source,
    similarity_source,
)
from cofactor_trainer.graphs.item_columns import RecommendOne
from cofactor_trainer.graphs.modules import Recommend, Scorer
from cofactor_trainer.graphs.recommend_candidates import RecommendCandidates
from cofactor_trainer.graphs.recommend_large import RecommendMany
from cofactor_trainer.graphs.recommend_quantized import RecommendQuantized
from cofactor_trainer.graphs.user_prior import UserPrior
from cofactor_trainer.scoring.trained_model import TrainedModel

# What only graphs of large or quantized catalogues read.
LARGE_TABLES = ("item_columns", "item_codes", "item_code_basis", "item_code_steps")


def version_graphs(
    model: TrainedModel, dataset: RatingsDataset, prior: UserPrior, arrays: Mapping[str, npt.NDArray[Any]]
) -> dict[str, CheckedGraph]:
    """Every graph of a version, by name; Recommend from 8-bit codes where arrays has them."""
    item_log_popularity = torch.from_numpy(arrays["item_log_popularity"])
    inverse_norms = torch.from_numpy(arrays["item_inverse_norms"])
    columns = torch.from_numpy(arrays["item_columns"]) if "item_columns" in arrays else None
    scorer, maker = Scorer(model), CaseMaker(model)
    reference, cases = Reference(model, item_log_popularity), maker.cases()
    graphs = {
        "predict": CheckedGraph(predict_source(scorer), cases["predict"], reference.predict),
        "recommend": _recommend(model, scorer, reference, cases["recommend"], arrays),
        "similar_items": CheckedGraph(
            similar_items_source(scorer, inverse_norms, columns),
            cases["similar_items"],
            reference.similar_items,
            reference.of_similar,
        ),
        "similarity": CheckedGraph(similarity_source(scorer, inverse_norms), cases["similarity"], reference.similarity),
    }
    fold_in = EmbedUser(scorer, prior) if model.objective == "rating" else EmbedRankingUser(scorer, prior)
    embed_cases = maker.embed_user_cases(dataset, prior.profile)
    if scorer.network is not None:
        embed_cases = [settled_history(case, fold_in, scorer.n_items) for case in embed_cases]
    graphs["embed_user"] = CheckedGraph(embed_user_source(fold_in), embed_cases, fold_in)
    return graphs


def _recommend(
    model: TrainedModel,
    scorer: Scorer,
    reference: Reference,
    cases: Sequence[Case],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> CheckedGraph:
    """The Recommend that suits the architecture, the size of the catalogue and the tables."""
    popularity, large = reference.item_log_popularity, scorer.n_items >= TWO_STAGE_ITEMS
    if large and scorer.network is not None:
        module: Recommend = RecommendCandidates(scorer, popularity)
        return CheckedGraph(
            recommend_source(scorer, module),
            cases,
            # It may miss an item, in torch as in ONNX; the scores of what it finds are compared with the plain ones.
            module,
            reference.of_recommended,
            recall=(f"candidate_recall@{RECALL_K}", partial(recall, model=model, reference=reference, n_users=100)),
        )
    tables = {name: torch.from_numpy(arrays[name]) for name in LARGE_TABLES if name in arrays}
    one: Recommend | None = None
    if "item_codes" in tables:
        one = RecommendQuantized(scorer, popularity, tables)
    elif "item_columns" in tables:
        one = RecommendOne(scorer, popularity, tables["item_columns"])
    module = RecommendMany(scorer, popularity) if large else Recommend(scorer, popularity)
    measure = partial(recall, model=model, reference=reference, n_users=1000)
    return CheckedGraph(
        recommend_source(scorer, module, one),
        cases,
        reference.recommend,
        reference.of_recommended,
        recall=(f"int8_recall@{RECALL_K}", measure) if "item_codes" in tables else None,
    )
