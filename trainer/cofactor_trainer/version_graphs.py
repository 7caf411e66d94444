"""Which module each graph of a version is, and what torch says it has to answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch

from cofactor_trainer.dataset import RatingsDataset
from cofactor_trainer.fold_in import EmbedRankingUser, EmbedUser
from cofactor_trainer.golden import CaseMaker
from cofactor_trainer.graph_sources import (
    embed_user_source,
    predict_source,
    recommend_source,
    similar_items_source,
    similarity_source,
)
from cofactor_trainer.graphs import Recommend, Scorer
from cofactor_trainer.large_catalogue import RecommendInParts
from cofactor_trainer.parity import CheckedGraph
from cofactor_trainer.prior import UserPrior
from cofactor_trainer.quantized import RecommendQuantized
from cofactor_trainer.reference import Reference
from cofactor_trainer.top_k import TWO_STAGE_ITEMS
from cofactor_trainer.trained import TrainedModel


def version_graphs(
    model: TrainedModel, dataset: RatingsDataset, prior: UserPrior, arrays: Mapping[str, npt.NDArray[Any]]
) -> dict[str, CheckedGraph]:
    """Every graph of a version, by name; Recommend from 8-bit codes where arrays has them."""
    item_log_popularity = torch.from_numpy(arrays["item_log_popularity"])
    inverse_norms = torch.from_numpy(arrays["item_inverse_norms"])
    scorer, maker = Scorer(model), CaseMaker(model)
    reference, cases = Reference(model, item_log_popularity), maker.cases()
    quantized = "item_codes" in arrays
    if quantized:
        codes, scales = (torch.from_numpy(arrays[name]) for name in ("item_codes", "item_scales"))
        recommend: Recommend = RecommendQuantized(scorer, item_log_popularity, codes, scales)
    elif scorer.network is None and scorer.n_items >= TWO_STAGE_ITEMS:
        recommend = RecommendInParts(scorer, item_log_popularity)
    else:
        recommend = Recommend(scorer, item_log_popularity)
    graphs = {
        "predict": CheckedGraph(predict_source(scorer), cases["predict"], reference.predict),
        "recommend": CheckedGraph(
            recommend_source(scorer, recommend),
            cases["recommend"],
            reference.recommend,
            reference.scores_of_recommended,
            prepacked=quantized,
        ),
        "similar_items": CheckedGraph(
            similar_items_source(scorer, inverse_norms),
            cases["similar_items"],
            reference.similar_items,
            reference.scores_of_similar,
        ),
        "similarity": CheckedGraph(similarity_source(scorer, inverse_norms), cases["similarity"], reference.similarity),
    }
    fold_in = EmbedUser(scorer, prior) if model.objective == "rating" else EmbedRankingUser(scorer, prior)
    embed_cases = maker.embed_user_cases(dataset, prior.profile)
    graphs["embed_user"] = CheckedGraph(embed_user_source(fold_in), embed_cases, fold_in)
    return graphs
