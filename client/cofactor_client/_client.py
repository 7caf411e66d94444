"""The synchronous client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Unpack

from cofactor_client import _bulk
from cofactor_client import _feedback as feedback
from cofactor_client import _new_items as new_items
from cofactor_client import _request_messages as build
from cofactor_client import _response_parsing as parse
from cofactor_client._catalog_client import CatalogClient
from cofactor_client._feedback import FeedbackEvent, RecordedEvents
from cofactor_client._filter_types import ItemFilter
from cofactor_client._new_items import AttributeLike, ItemEvent, NewItem
from cofactor_client._request_types import (
    Event,
    ModelLike,
    Ranking,
    RecommendOptions,
    UserLike,
    UserOrRequest,
)
from cofactor_client._response_types import (
    EntryError,
    Explanation,
    NewUser,
    Predictions,
    Recommendations,
    ScoredItem,
    SimilarItems,
)
from cofactor_client._transport import iterate_pages

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


class Client(CatalogClient):
    """Client of a Cofactor server. Safe to share between threads: make one per process and reuse it.

    Every method raises a `cofactor_client.errors.RpcError` if its call fails, and takes a `timeout` in seconds that
    overrides the client's own. A call that fails because a server has stopped or is stopping is tried up to three
    times, on another server if there is one.

    >>> with Client("localhost:50051") as client:
    ...     print(client.search_items("toy story").items[0].title)
    Toy Story

    Args:
        address: "host:port", where the host may resolve to several servers, which then share the calls; or a list of
            "ip:port"; or a gRPC target such as "unix:/run/cofactor.sock". The default port is 50051.
        model: the model to call by default; None for the server's default.
        timeout: default deadline of a call in seconds, or None for no limit. It does not apply to streams.
        tls: TLS settings; None for plain text. Tls() trusts the authorities that come with gRPC.
        token: bearer token; a function is called before every RPC. Requires TLS, unless the server is on this machine.
        max_message_bytes: size limit of a message sent or received.
        channel_options: more gRPC channel arguments.

    Raises:
        ValueError: an argument is out of range; the message names it.
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
        """Predict the ratings of one user for many items, in the order of the items.

        An unknown item fails the call. With allow_partial_success it gives NaN and an entry of `errors` instead.

        >>> all(0.5 <= rating <= 5 for rating in client.predict("1", ["1", "10"]))
        True
        """
        request = build.predict(self._resolve_model(model), user, item_ids, allow_partial_success=allow_partial_success)
        return parse.predictions(self._transport.call(self._transport.recommender.Predict, request, timeout))

    def predict_pairs(
        self,
        user_ids: Iterable[str],
        item_ids: Iterable[str],
        *,
        allow_partial_success: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> Predictions:
        """Predict the ratings of pairs, the n-th user for the n-th item, in one call. For more, see predict_arrays.

        >>> len(client.predict_pairs(["1", "2"], ["10", "10"]))
        2
        """
        request = build.predict_pairs(
            self._resolve_model(model), user_ids, item_ids, allow_partial_success=allow_partial_success
        )
        return parse.predictions(self._transport.call(self._transport.recommender.Predict, request, timeout))

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
        """Predict the ratings of any number of pairs, (n_pairs,), with several calls at once. Needs numpy.

        Args:
            user_ids: (n_pairs,) strings or integers; a list, an array or a Series.
            item_ids: (n_pairs,) strings or integers, likewise.
            allow_partial_success: True to get NaN for an unknown id instead of an error.
            progress: True to draw a progress bar on standard error.
            model: the model to call.
            timeout: deadline of each call in seconds.

        >>> client.predict_arrays(["1"] * 3, ["1", "10", "100"]).shape
        (3,)
        """
        size = self._serving_limits().max_items_per_request
        chunks = _bulk.PairChunks(user_ids, item_ids, size, self._resolve_model(model), allow_partial_success)
        ratings = chunks.empty_ratings()
        with _bulk.progress_bar("predicting", len(ratings), shown=progress) as advance:
            responses = self._transport.call_many(self._transport.recommender.Predict, chunks, timeout)
            for start, response in responses:
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
        """Predict the rating of every row. Returns a float32 Series with the frame's index. Needs pandas.

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
        """Recommend the best k items to one user, without those the user has rated. `options`: RecommendOptions.

        >>> page = client.recommend("1", k=3, filter=ItemFilter(any_genres=("Comedy",), min_rating_count=5))
        >>> [("Comedy" in film.item.genres, film.item.rating_count >= 5) for film in page]
        [(True, True), (True, True), (True, True)]
        """
        request = build.recommend(self._resolve_model(model), user, k, page_token, options)
        return parse.recommendations(self._transport.call(self._transport.recommender.Recommend, request, timeout))

    def iter_recommendations(
        self,
        user: UserLike,
        *,
        page_size: int = 100,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> Iterator[ScoredItem]:
        """Iterate over all recommendations for one user, best first. Fetches a page when it is needed.

        >>> from itertools import islice
        >>> len(list(islice(client.iter_recommendations("1", page_size=5), 12)))
        12
        """
        return iterate_pages(
            lambda token: self.recommend(user, page_size, page_token=token, model=model, timeout=timeout, **options)
        )

    def batch_recommend(
        self,
        users: Iterable[UserOrRequest],
        k: int = 10,
        *,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> list[Recommendations | EntryError]:
        """Recommend items to several users in one call. An entry that fails does not fail the others.

        Returns the results in the order of `users`. An entry of `users` is a user, or a `recommend_request(...)` with a
        k and options of its own.

        >>> [type(result).__name__ for result in client.batch_recommend(["1", "no such user"], k=2)]
        ['Recommendations', 'EntryError']
        """
        request = build.batch_recommend(self._resolve_model(model), users, k, options)
        return parse.batch_entries(self._transport.call(self._transport.recommender.BatchRecommend, request, timeout))

    def stream_recommend(
        self,
        users: Iterable[UserOrRequest],
        k: int = 10,
        *,
        model: ModelLike = None,
        timeout: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> Iterator[tuple[int, Recommendations | EntryError]]:
        """Recommend items to any number of users over one stream. Yields (index of the user, result) pairs.

        The pairs arrive in any order. `users` may be endless: it is read only a little ahead of the results.
        `timeout` is the deadline of the whole stream; by default it has none. Close the iterator to stop early.

        >>> sorted(index for index, result in client.stream_recommend(["1", "2", "3"]))
        [0, 1, 2]
        """
        build.check_options(options)
        build.check_users(users)
        ref = self._resolve_model(model)
        requests = (build.stream_recommend(ref, index, user, k, options) for index, user in enumerate(users))
        for response in self._transport.stream_recommend(requests, timeout):
            yield parse.stream_entry(response)

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
        """Recommend the best k items to many users, over one stream. Needs pandas.

        Returns one row per user and item, with user_id, rank (from 1), item_id, title, score and predicted_rating.
        Raises UserNotFoundError for an unknown user; unknown_user="popular" recommends for the average user instead.

        >>> client.recommend_frame(["1", "2"], k=3)["rank"].tolist()
        [1, 2, 3, 1, 2, 3]
        """
        users = _bulk.id_list("user ids", user_ids)
        with _bulk.progress_bar("recommending", len(users), shown=progress) as advance:
            entries = []
            for entry in self.stream_recommend(users, k, model=model, timeout=timeout, **options):
                entries.append(entry)
                advance(1)
        return _bulk.recommendation_frame(users, entries)

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
        """Find the k items most similar to one item, or to the average of several.

        >>> all(-1.001 <= film.score <= 1.001 for film in client.similar_items("1"))
        True
        """
        request = build.similar_items(
            self._resolve_model(model), item_ids, k, page_token, filter=filter, return_items=return_items
        )
        return parse.similar_items(self._transport.call(self._transport.recommender.SimilarItems, request, timeout))

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
        """Iterate over all other items, most similar first. Fetches a page when it is needed."""
        ids = item_ids if isinstance(item_ids, str) else list(item_ids)
        return iterate_pages(
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
        ratings: Mapping[str, float] | None = None,
        *,
        events: Iterable[str | Event] = (),
        profile: Mapping[str, str] | None = None,
        skip_unknown_items: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> NewUser:
        """Turn a new user's ratings (item id to rating) into an embedding, without training.

        For a model that learnt from events, pass `events` instead: item ids or `Event` objects. A model that learnt
        from both takes both.
        Pass the embedding as the user of any other call except `explain`. The server does not store it.

        >>> newcomer = client.embed_new_user({"1": 5.0, "10": 2.0})
        >>> len(client.recommend(newcomer.embedding, k=5))
        5
        """
        request = build.embed_new_user(
            self._resolve_model(model), ratings, events, profile, skip_unknown_items=skip_unknown_items
        )
        return parse.new_user(self._transport.call(self._transport.recommender.EmbedNewUser, request, timeout))

    def embed_new_item(
        self,
        ratings: Mapping[str, float] | None = None,
        *,
        genres: Iterable[str] = (),
        release_year: int = 0,
        attributes: Mapping[str, AttributeLike] | None = None,
        events: Iterable[str | ItemEvent] = (),
        skip_unknown_users: bool = False,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> NewItem:
        """Compute the row of an item that the model was not trained on, from its attributes and first ratings.

        ratings are by user id. For a model that learnt from events, pass `events` instead: user ids or `ItemEvent`
        objects. A model that learnt from both takes both.

        >>> arrival = client.embed_new_item({"1": 5.0, "10": 2.0}, genres=["Drama"])
        >>> arrival.embedding.rating_count
        2
        """
        item = new_items.described_item(genres, release_year, attributes)
        request = new_items.embed_new_item(
            self._resolve_model(model), ratings, item, events, skip_unknown_users=skip_unknown_users
        )
        return new_items.new_item(self._transport.call(self._transport.recommender.EmbedNewItem, request, timeout))

    def explain(
        self,
        user: UserLike,
        item_id: str,
        *,
        max_contributions: int = 5,
        ranking: Ranking | None = None,
        popularity_penalty: float = 0.0,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> Explanation:
        """Explain which rated items raised or lowered a prediction, and the item's place in the list.

        `user` is an id or a history, not an embedding. `ranking` and `popularity_penalty` are those of the `recommend`
        whose list is explained. `max_contributions` is also the largest number of reasons.

        >>> e = client.explain("1", "10")
        >>> abs(e.global_bias + e.user_bias + e.item_bias + e.interaction - e.score) < 1e-4
        True
        """
        request = build.explain(
            self._resolve_model(model),
            user,
            item_id,
            max_contributions,
            ranking=ranking,
            popularity_penalty=popularity_penalty,
        )
        return parse.explanation(self._transport.call(self._transport.recommender.Explain, request, timeout))

    def record_events(
        self, events: Iterable[FeedbackEvent], *, model: ModelLike = None, timeout: float | None = None
    ) -> RecordedEvents:
        """Record what users did, for the next training. Needs a server with a feedback log.

        When it returns, the events are on the server's disk. Either all of them are recorded or none. After an error,
        call it again with the same objects: what was recorded does not count twice.
        """
        request = feedback.record_events(self._resolve_model(model), events)
        return feedback.recorded_events(self._transport.call(self._transport.feedback.RecordEvents, request, timeout))
