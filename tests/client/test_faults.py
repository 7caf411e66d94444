"""Failures as the client handles them: retries, deadlines, exceptions, streams. The server fails as scripted."""

import asyncio
import itertools
import threading
from concurrent import futures

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc, model_pb2, recommender_pb2, recommender_pb2_grpc
from cofactor_client import Client, CofactorError, RpcError, errors
from cofactor_client.aio import AsyncClient


class Scripted(recommender_pb2_grpc.RecommenderServiceServicer, catalog_pb2_grpc.CatalogServiceServicer):
    """Service that runs the next step of a script for every call, then responds."""

    def __init__(self):
        self.steps = iter(())
        self.metadata = []
        self.deadlines = []
        self.streamed = 0
        self.predicted = 0

    def GetModel(self, request, context):  # noqa: N802
        self.metadata.append(dict(context.invocation_metadata()))
        self.deadlines.append(context.time_remaining())
        step = next(self.steps, None)
        if step is not None:
            step(context)
        return catalog_pb2.GetModelResponse(limits=model_pb2.ServingLimits(max_items_per_request=2))

    def Predict(self, request, context):  # noqa: N802
        self.predicted += 1
        step = next(self.steps, None)
        if step is not None:
            step(context)
        return recommender_pb2.PredictResponse(ratings=[float(item_id) for item_id in request.item_ids])

    def StreamRecommend(self, requests, context):  # noqa: N802
        for request in requests:
            self.streamed += 1
            yield recommender_pb2.StreamRecommendResponse(
                request_id=request.request_id, response=recommender_pb2.RecommendResponse()
            )


@pytest.fixture(scope="module")
def scripted():
    servicer = Scripted()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    recommender_pb2_grpc.add_RecommenderServiceServicer_to_server(servicer, server)
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(None)


@pytest.fixture(autouse=True)
def _forget(scripted):
    scripted.steps = iter(())
    scripted.metadata.clear()
    scripted.deadlines.clear()
    scripted.streamed = 0
    scripted.predicted = 0


def aborting(code):
    return lambda context: context.abort(code, "scripted")


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_a_call_is_tried_three_times(scripted, code):
    scripted.steps = iter([aborting(code)] * 2)
    with Client(scripted.address) as client:
        client.get_model()
    assert len(scripted.metadata) == 3


def test_the_third_failure_is_raised(scripted):
    scripted.steps = iter([aborting(grpc.StatusCode.UNAVAILABLE)] * 3)
    with Client(scripted.address) as client, pytest.raises(errors.UnavailableError, match="scripted"):
        client.get_model()
    assert len(scripted.metadata) == 3


def test_an_invalid_request_is_not_retried(scripted):
    scripted.steps = itertools.repeat(aborting(grpc.StatusCode.INVALID_ARGUMENT))
    with Client(scripted.address) as client, pytest.raises(errors.InvalidArgumentError):
        client.get_model()
    assert len(scripted.metadata) == 1


def test_the_token_is_sent_with_every_call(scripted):
    with Client(scripted.address, token="secret") as client:
        client.get_model()
    assert scripted.metadata[0]["authorization"] == "Bearer secret"
    assert scripted.metadata[0]["user-agent"].startswith("cofactor-python/")


def test_the_timeout_of_a_call_overrides_the_clients(scripted):
    with Client(scripted.address, timeout=7) as client:
        client.get_model()
        client.get_model(timeout=3)
    assert 5 < scripted.deadlines[0] < 7.5  # client and server measure at different moments
    assert 1 < scripted.deadlines[1] < 3.5


def test_a_late_response_raises_deadline_exceeded(scripted):
    released = threading.Event()
    scripted.steps = iter([lambda context: released.wait(5)])
    with Client(scripted.address) as client, pytest.raises(errors.DeadlineExceededError):
        client.get_model(timeout=0.1)
    released.set()


def details(*messages):
    packed = []
    for message in messages:
        packed.append(any_pb2.Any())
        packed[-1].Pack(message)
    return packed


def failing(code, *messages):
    """Return a step that fails with google.rpc details."""
    status = status_pb2.Status(code=code.value[0], message="one sentence", details=details(*messages))

    def step(context):
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, "one sentence")

    return step


CLASSES = [
    (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", errors.InvalidArgumentError),
    (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND", errors.UserNotFoundError),
    (grpc.StatusCode.NOT_FOUND, "ITEM_NOT_FOUND", errors.ItemNotFoundError),
    (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", errors.ModelNotFoundError),
    (grpc.StatusCode.NOT_FOUND, "SOMETHING_NEW", errors.NotFoundError),
    (grpc.StatusCode.FAILED_PRECONDITION, "EMBEDDING_SPACE_MISMATCH", errors.EmbeddingSpaceMismatchError),
    (grpc.StatusCode.FAILED_PRECONDITION, "NO_KNOWN_ITEMS", errors.NoKnownItemsError),
    (grpc.StatusCode.FAILED_PRECONDITION, "PAGE_TOKEN_EXPIRED", errors.FailedPreconditionError),
    (grpc.StatusCode.UNIMPLEMENTED, "NEW_USERS_UNSUPPORTED", errors.NewUsersUnsupportedError),
    (grpc.StatusCode.UNIMPLEMENTED, "", errors.UnimplementedError),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", errors.ResourceExhaustedError),
    (grpc.StatusCode.UNAUTHENTICATED, "", errors.UnauthenticatedError),
    (grpc.StatusCode.PERMISSION_DENIED, "", errors.PermissionDeniedError),
    (grpc.StatusCode.INTERNAL, "INTERNAL", errors.InternalError),
    (grpc.StatusCode.UNKNOWN, "", errors.InternalError),
    (grpc.StatusCode.ABORTED, "", RpcError),
]


@pytest.mark.parametrize(("code", "reason", "kind"), CLASSES)
def test_status_and_reason_choose_the_exception(scripted, code, reason, kind):
    scripted.steps = iter([failing(code, error_details_pb2.ErrorInfo(reason=reason, domain="cofactor"))])
    with Client(scripted.address) as client, pytest.raises(RpcError) as raised:
        client.get_model()
    assert type(raised.value) is kind
    assert isinstance(raised.value, CofactorError)
    assert (raised.value.status, raised.value.reason, str(raised.value)) == (code, reason, "one sentence")


def test_an_error_carries_all_details_of_the_server(scripted):
    violation = error_details_pb2.BadRequest.FieldViolation(field="ratings[2].rating", description="is NaN")
    step = failing(
        grpc.StatusCode.INVALID_ARGUMENT,
        error_details_pb2.ErrorInfo(reason="INVALID_FIELD", metadata={"limit": "5"}),
        error_details_pb2.BadRequest(field_violations=[violation]),
        error_details_pb2.RequestInfo(request_id="r-17"),
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=250_000_000)),
    )
    scripted.steps = iter([step])
    with Client(scripted.address) as client, pytest.raises(errors.InvalidArgumentError) as raised:
        client.get_model()
    error = raised.value
    assert error.field_violations == (errors.FieldViolation("ratings[2].rating", "is NaN"),)
    assert (error.request_id, error.retry_delay, dict(error.details.metadata)) == ("r-17", 0.25, {"limit": "5"})


def test_garbled_details_hide_neither_status_nor_message(scripted):
    def step(context):
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "one sentence")

    scripted.steps = iter([step])
    with Client(scripted.address) as client, pytest.raises(errors.NotFoundError, match="one sentence"):
        client.get_model()


def test_asyncio_retries_and_raises_the_same(scripted):
    async def call():
        async with AsyncClient(scripted.address) as client:
            await client.get_model()

    scripted.steps = iter([failing(grpc.StatusCode.NOT_FOUND, error_details_pb2.ErrorInfo(reason="MODEL_NOT_FOUND"))])
    with pytest.raises(errors.ModelNotFoundError):
        asyncio.run(call())
    scripted.steps = iter([aborting(grpc.StatusCode.UNAVAILABLE)] * 2)
    asyncio.run(call())


def test_an_unreachable_server_is_unavailable():
    with Client("127.0.0.1:1") as client:
        with pytest.raises(errors.UnavailableError):
            client.get_model()
        with pytest.raises(errors.UnavailableError, match="was ready within"):
            client.wait_until_ready(0.1)


def test_a_stream_reads_its_users_only_a_little_ahead(scripted):
    taken = itertools.count()
    users = (str(next(taken)) for _ in itertools.count())
    with Client(scripted.address) as client:
        results = client.stream_recommend(users)
        assert len(list(itertools.islice(results, 1000))) == 1000
        results.close()
    assert next(taken) < 1000 + 600


def test_an_asyncio_stream_reads_its_users_only_a_little_ahead(scripted):
    taken = itertools.count()

    async def users():
        while True:
            yield str(next(taken))

    async def consume():
        async with AsyncClient(scripted.address) as client:
            results = client.stream_recommend(users())
            for _ in range(1000):
                await anext(results)
            await results.aclose()

    asyncio.run(consume())
    assert next(taken) < 1000 + 600


def test_an_exception_of_the_callers_iterable_reaches_the_caller(scripted):
    def users():
        yield "1"
        raise LookupError("the caller's own")

    with Client(scripted.address) as client, pytest.raises(LookupError, match="the caller's own"):
        list(client.stream_recommend(users()))

    async def consume():
        async with AsyncClient(scripted.address) as client:
            return [result async for result in client.stream_recommend(users())]

    with pytest.raises(LookupError, match="the caller's own"):
        asyncio.run(consume())


BUSY = failing(
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    error_details_pb2.ErrorInfo(reason="QUEUE_FULL"),
    error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=20_000_000)),
)


async def _predict_async(address, ids):
    async with AsyncClient(address) as client:
        return await client.predict_arrays(ids, ids)


def _predict(address, ids):
    with Client(address) as client:
        return client.predict_arrays(ids, ids)


@pytest.mark.parametrize("predict", [_predict, lambda *a: asyncio.run(_predict_async(*a))], ids=["sync", "asyncio"])
def test_bulk_calls_wait_for_a_server_over_its_limit(scripted, predict):
    ids = [str(number) for number in range(21)]
    # The first call gets the limits. Of the eleven Predict calls, some are refused, some of them twice.
    scripted.steps = iter([None, BUSY, None, BUSY, BUSY, None, None, BUSY])
    assert predict(scripted.address, ids).tolist() == list(range(21))
    assert scripted.predicted == 11 + 4
    scripted.steps = itertools.chain([None], itertools.repeat(BUSY))
    with pytest.raises(errors.ResourceExhaustedError) as raised:
        predict(scripted.address, ids)
    assert raised.value.reason == "QUEUE_FULL"
