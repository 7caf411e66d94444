"""Compare SimilarItems on a real server with numpy on the same model."""

from __future__ import annotations

import numpy as np

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import SimilarItemsRequest
from tests.support import synthetic
from tests.support.expected import ARCHITECTURES, ITEM_IDS, N_ITEMS, ids_of


def test_similar_items_are_ordered_by_cosine(api, name):
    items = synthetic.make_model(ARCHITECTURES[name]).item_factors[:-1].astype(np.float64)
    units = items / np.linalg.norm(items, axis=1, keepdims=True)
    mean = units[[4, 9]].mean(0)
    cosines = units @ mean / np.linalg.norm(mean)
    request = SimilarItemsRequest(model=ModelRef(name=name), item_ids=["i004", "i009", "i004"], page_size=1000)
    response = api.recommender.SimilarItems(request)
    assert len(response.results) == N_ITEMS - 2
    assert not {"i004", "i009"} & set(ids_of(response))
    rows = [ITEM_IDS.index(item_id) for item_id in ids_of(response)]
    scores = np.array([result.score for result in response.results])
    assert np.all(np.diff(scores) <= 0)
    np.testing.assert_allclose(scores, cosines[rows], atol=1e-4)


def test_pages_of_similar_items_add_up_to_the_whole_list(api):
    whole = ids_of(api.recommender.SimilarItems(SimilarItemsRequest(item_ids=["i004"], page_size=1000)))
    request, pages = SimilarItemsRequest(item_ids=["i004"], page_size=11), []
    while True:
        response = api.recommender.SimilarItems(request)
        pages += ids_of(response)
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert pages == whole
