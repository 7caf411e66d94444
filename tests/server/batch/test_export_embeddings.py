"""The inner products of exported vectors order items as Recommend does."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from cofactor.v1.recommender_pb2 import EmbedNewUserRequest, Rating, RecommendRequest, User


def vectors_of(path, *, key):
    table = pq.read_table(path)
    vectors = np.array(table["vector"].to_pylist(), dtype=np.float32)
    return table[key].to_pylist(), vectors, table


@pytest.mark.parametrize("fixture", ["dot_version", "two_part_version"])
def test_inner_products_give_the_order_and_the_scores_of_recommend(
    fixture, request, versions, serve, job, tmp_path
) -> None:
    version = versions.copy(request.getfixturevalue(fixture), tmp_path / "models")
    done = job("export-embeddings", version, "--users", tmp_path / "users.parquet")
    assert done.code == 0
    item_ids, items, item_table = vectors_of(done.path, key="item_id")
    user_ids, users, user_table = vectors_of(tmp_path / "users.parquet", key="user_id")
    assert items.shape[1] == users.shape[1] == pq.read_schema(done.path).field("vector").type.list_size
    api = serve(tmp_path / "models", poll_interval_s=0)
    offsets = user_table["offset"].to_numpy()
    for row, user_id in enumerate(user_ids):
        scores = items @ users[row] + offsets[row]
        response = api.recommender.Recommend(
            RecommendRequest(user=User(user_id=user_id), page_size=20, include_rated=True), timeout=60
        )
        best = np.argsort(-scores, kind="stable")[:20]
        assert [entry.item_id for entry in response.results] == [item_ids[index] for index in best]
        np.testing.assert_allclose([entry.score for entry in response.results], scores[best], atol=2e-5)
    counts = item_table["rating_count"].to_pylist()
    assert counts == api.server.repository.versions[version.parent.name][0].tables["item_rating_counts"].tolist()


def test_the_metadata_says_how_to_search_for_a_new_user(two_part_version, versions, serve, job, tmp_path) -> None:
    version = versions.copy(two_part_version, tmp_path / "models")
    item_ids, items, table = vectors_of(job("export-embeddings", version).path, key="item_id")
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    order, n_factors = json.loads(metadata["cofactor.order_of_new_users"]), int(metadata["cofactor.factor_count"])
    n_ranking = int(metadata["cofactor.ranking_factor_count"])
    api = serve(tmp_path / "models", poll_interval_s=0)
    ratings = [Rating(item_id="i003", rating=5), Rating(item_id="i010", rating=1)]
    embedding = api.recommender.EmbedNewUser(EmbedNewUserRequest(ratings=ratings), timeout=60).embedding
    assert metadata["cofactor.embedding_space"] == embedding.embedding_space
    factors = np.array(embedding.factors, dtype=np.float32)
    weights = np.repeat([order["rating_weight"], order["ranking_weight"]], [n_factors - n_ranking, n_ranking])
    query = np.concatenate([factors * weights, [order["rating_weight"], order["popularity_weight"]]])
    response = api.recommender.Recommend(
        RecommendRequest(user=User(embedding=embedding), page_size=10, include_rated=True), timeout=60
    )
    best = np.argsort(-(items @ query), kind="stable")[:10]
    assert [entry.item_id for entry in response.results] == [item_ids[index] for index in best]


@pytest.mark.parametrize("fixture", ["net_version", "hybrid_version"])
def test_a_network_is_refused(fixture, request, job) -> None:
    done = job("export-embeddings", request.getfixturevalue(fixture))
    assert done.code == 2
    assert "not that of an inner product" in done.err
    assert not done.path.exists()


def test_a_file_that_cannot_be_written_is_named(dot_version, job, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    done = job("export-embeddings", dot_version, output=tmp_path / "file" / "items.parquet")
    assert done.code == 2
    assert "cannot write" in done.err
