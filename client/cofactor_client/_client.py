"""The synchronous client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Unpack

from cofactor_client import _bulk, _request_messages, _response_parsing
from cofactor_client._request_messages import ModelLike, RecommendLike
from cofactor_client._request_types import ItemFilter, RecommendOptions, UserLike
from cofactor_client._response_types import (
    EntryError,
    Explanation,
    NewUser,
    Predictions,
    Recommendations,
    ScoredItem,
    SimilarItems,
)
from cofactor_client._transport import over_pages

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


from cofactor_client._catalog_client import CatalogClient


class Client(CatalogClient):
    """Calls a Cofactor server. Safe to share between threads; make one per process and keep it.

    Every method raises a `cofactor_client.errors.RpcError` when its call fails, and takes `timeout` in seconds
    in place of the client's own. Calls that fail because a server is going or gone are tried three times, on
    another server where there is one.

    >>> with Client("localhost:50051") as client:
    ...     print(client.search_items("toy story").items[0].title)
    Toy Story

    Args:
        address: "host:port" (a name that resolves to several servers is balanced over all of them), a list of
            "ip:port", or a gRPC target such as "unix:/run/cofactor.sock". The port defaults to 50051.
        model: which model answers where a call names none; None: the server's default.
        timeout: seconds for a call that names none, or None for no limit. Streams have none of their own.
        tls: None for plain text; Tls() trusts the authorities that come with gRPC.
        token: sent as a bearer token; a function is asked before every call. Needs TLS unless the server is local.
        max_message_bytes: the largest message sent or received.
        channel_options: further gRPC channel arguments.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def predict(
        self,
        user: UserLike,
        item_ids: Iterable[str],
        *,
        allow_partial_success: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> Predictions:
        """Predicted ratings of one user for many items, in their order.

        With allow_partial_success an unknown item becomes NaN and an entry of `errors`; otherwise it fails the call.

        >>> all(0.5 <= rating <= 5 for rating in client.predict("1", ["1", "10"]))
        True
        """
        request = _request_messages.predict(
            self._ref(model), user, item_ids, allow_partial_success=allow_partial_success
        )
        return _response_parsing.predictions(
            self._transport.call(self._transport.recommender.Predict, request, timeout)
        )

    def predict_pairs(
        self,
        user_ids: Iterable[str],
        item_ids: Iterable[str],
        *,
        allow_partial_success: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> Predictions:
        """Predicted ratings of pairs, in one call: the n-th user for the n-th item. For columns: predict_arrays.

        >>> len(client.predict_pairs(["1", "2"], ["10", "10"]))
        2
        """
        request = _request_messages.predict_pairs(
            self._ref(model), user_ids, item_ids, allow_partial_success=allow_partial_success
        )
        return _response_parsing.predictions(
            self._transport.call(self._transport.recommender.Predict, request, timeout)
        )

    def predict_arrays(
        self,
        user_ids: _bulk.IdColumn,
        item_ids: _bulk.IdColumn,
        *,
        allow_partial_success: bool = False,
        progress: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Predicted ratings of any number of pairs, (n_pairs,), over several concurrent calls. Needs numpy.

        Args:
            user_ids: (n_pairs,) strings or integers; a list, an array or a Series.
            item_ids: (n_pairs,) likewise.
            allow_partial_success: an unknown id becomes NaN; otherwise it fails the whole.
            progress: draw a progress bar on standard error.
            model: which model answers.
            timeout: seconds for each call.

        >>> client.predict_arrays(["1"] * 3, ["1", "10", "100"]).shape
        (3,)
        """
        size = self._serving_limits().max_items_per_request
        chunks = _bulk.PairChunks(user_ids, item_ids, size, self._ref(model), allow_partial_success)
        ratings = chunks.empty()
        with _bulk.progress_bar("predicting", len(ratings), shown=progress) as advance:
            for start, response in self._transport.calls(self._transport.recommender.Predict, chunks, timeout):
                ratings[start : start + len(response.ratings)] = response.ratings
                advance(len(response.ratings))
        return ratings

    def predict_frame(
        self,
        frame: pd.DataFrame,
        *,
        user_column: str = "user_id",
        item_column: str = "item_id",
        allow_partial_success: bool = False,
        progress: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> pd.Series[float]:
        """Predicted rating of every row, float32, with the frame's index. Needs pandas; see predict_arrays.

        >>> import pandas as pd
        >>> pairs = pd.DataFrame({"user_id": ["1", "2"], "item_id": ["10", "10"]})
        >>> pairs.assign(predicted=client.predict_frame(pairs)).columns.tolist()
        ['user_id', 'item_id', 'predicted']
        """
        import pandas as pd

        ratings = self.predict_arrays(
            _bulk.frame_column(frame, user_column),
            _bulk.frame_column(frame, item_column),
            allow_partial_success=allow_partial_success,
            progress=progress,
            model=model,
            timeout=timeout,
        )
        return pd.Series(ratings, index=frame.index, name="predicted_rating")

    def recommend(
        self,
        user: UserLike,
        k: int = 10,
        *,
        page_token: str = "",
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> Recommendations:
        """The best k items for one user, without those the user has rated. `options`: RecommendOptions.

        >>> page = client.recommend("1", k=3, filter=ItemFilter(any_genres=("Comedy",), min_rating_count=5))
        >>> [("Comedy" in film.item.genres, film.item.rating_count >= 5) for film in page]
        [(True, True), (True, True), (True, True)]
        """
        request = _request_messages.recommend(self._ref(model), user, k, page_token, options)
        return _response_parsing.recommendations(
            self._transport.call(self._transport.recommender.Recommend, request, timeout)
        )

    def iter_recommendations(
        self,
        user: UserLike,
        *,
        page_size: int = 100,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> Iterator[ScoredItem]:
        """Every recommendation for one user, best first, page after page as they are needed.

        >>> from itertools import islice
        >>> len(list(islice(client.iter_recommendations("1", page_size=5), 12)))
        12
        """
        return over_pages(
            lambda token: self.recommend(user, page_size, page_token=token, model=model, timeout=timeout, **options)
        )

    def batch_recommend(
        self,
        users: Iterable[RecommendLike],
        k: int = 10,
        *,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> list[Recommendations | EntryError]:
        """Recommendations for several users in one call; each succeeds or fails alone, in the order given.

        An entry is a user, or a `recommend_request(...)` where its k or options differ from the others'.

        >>> [type(answer).__name__ for answer in client.batch_recommend(["1", "no such user"], k=2)]
        ['Recommendations', 'EntryError']
        """
        request = _request_messages.batch_recommend(self._ref(model), users, k, options)
        return _response_parsing.batch(
            self._transport.call(self._transport.recommender.BatchRecommend, request, timeout)
        )

    def stream_recommend(
        self,
        users: Iterable[RecommendLike],
        k: int = 10,
        *,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> Iterator[tuple[int, Recommendations | EntryError]]:
        """Recommendations for any number of users over one stream: (position of the user, answer) as they arrive.

        Answers may overtake each other. `users` is read as answers come in, so it may be endless; `timeout` is for
        the whole stream and defaults to none. Stop early by closing the iterator.

        >>> sorted(index for index, answer in client.stream_recommend(["1", "2", "3"]))
        [0, 1, 2]
        """
        ref = self._ref(model)
        requests = (
            _request_messages.stream_recommend(ref, index, user, k, options) for index, user in enumerate(users)
        )
        for response in self._transport.stream(requests, timeout):
            yield _response_parsing.streamed(response)

    def recommend_frame(
        self,
        user_ids: _bulk.IdColumn,
        k: int = 10,
        *,
        progress: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> pd.DataFrame:
        """The best k items of many users, over one stream; needs pandas.

        One row per user and item: user_id, rank (from 1), item_id, title, score, predicted_rating. An unknown
        user raises UserNotFoundError; unknown_user="popular" answers with the average user's instead.

        >>> client.recommend_frame(["1", "2"], k=3)["rank"].tolist()
        [1, 2, 3, 1, 2, 3]
        """
        users = _bulk.id_list("user ids", user_ids)
        with _bulk.progress_bar("recommending", len(users), shown=progress) as advance:
            answers = []
            for answer in self.stream_recommend(users, k, model=model, timeout=timeout, **options):
                answers.append(answer)
                advance(1)
        return _bulk.recommendation_frame(users, answers)

    def similar_items(
        self,
        item_ids: str | Iterable[str],
        k: int = 10,
        *,
        page_token: str = "",
        filter: ItemFilter | None = None,
        return_items: bool = True,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> SimilarItems:
        """The k items nearest to one item, or to the average of several.

        >>> all(-1.001 <= film.score <= 1.001 for film in client.similar_items("1"))
        True
        """
        request = _request_messages.similar_items(
            self._ref(model), item_ids, k, page_token, filter=filter, return_items=return_items
        )
        return _response_parsing.similar_items(
            self._transport.call(self._transport.recommender.SimilarItems, request, timeout)
        )

    def iter_similar_items(
        self,
        item_ids: str | Iterable[str],
        *,
        page_size: int = 100,
        filter: ItemFilter | None = None,
        return_items: bool = True,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> Iterator[ScoredItem]:
        """Every other item, nearest first, page after page as they are needed."""
        ids = item_ids if isinstance(item_ids, str) else list(item_ids)
        return over_pages(
            lambda token: self.similar_items(
                ids,
                page_size,
                page_token=token,
                filter=filter,
                return_items=return_items,
                model=model,
                timeout=timeout,
            )
        )

    def embed_new_user(
        self,
        ratings: Mapping[str, float],
        *,
        profile: Mapping[str, str] | None = None,
        skip_unknown_items: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> NewUser:
        """Turns a new user's ratings (item id to rating) into an embedding, without training.

        The embedding stands for the user in any other call; the server keeps nothing.

        >>> newcomer = client.embed_new_user({"1": 5.0, "10": 2.0})
        >>> len(client.recommend(newcomer.embedding, k=5))
        5
        """
        request = _request_messages.embed_new_user(
            self._ref(model), ratings, profile or {}, skip_unknown_items=skip_unknown_items
        )
        return _response_parsing.new_user(
            self._transport.call(self._transport.recommender.EmbedNewUser, request, timeout)
        )

    def explain(
        self,
        user: UserLike,
        item_id: str,
        *,
        max_contributions: int = 5,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> Explanation:
        """Which rated items pushed a prediction up or down. The user: an id or a history, not an embedding.

        >>> e = client.explain("1", "10")
        >>> abs(e.global_bias + e.user_bias + e.item_bias + e.interaction - e.score) < 1e-4
        True
        """
        request = _request_messages.explain(self._ref(model), user, item_id, max_contributions)
        return _response_parsing.explanation(
            self._transport.call(self._transport.recommender.Explain, request, timeout)
        )
