"""The generated code and the client answer on whatever grpcio and protobuf this interpreter has.

Run by `make test-floors` on the oldest and on the newest libraries that pyproject.toml admits; needs no other package.
"""

from __future__ import annotations

from concurrent import futures
from importlib.metadata import version

import grpc

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc, model_pb2, recommender_pb2, recommender_pb2_grpc
from cofactor_client import Client


class Recommender(recommender_pb2_grpc.RecommenderServiceServicer):
    """Answers Predict with what it was asked, so that the way there and back is all that is tried."""

    def Predict(self, request, context):  # noqa: N802 (the RPC's name)
        """One rating per item: its position."""
        return recommender_pb2.PredictResponse(ratings=[float(i) for i, _ in enumerate(request.item_ids)])


class Catalog(catalog_pb2_grpc.CatalogServiceServicer):
    """Answers GetModel."""

    def GetModel(self, request, context):  # noqa: N802 (the RPC's name)
        """A model with one metric."""
        return catalog_pb2.GetModelResponse(model=model_pb2.Model(name=request.model.name, metrics={"rmse": 0.875}))


def main() -> None:
    """Start a server on a free port, call it through the stubs and through the client."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    recommender_pb2_grpc.add_RecommenderServiceServicer_to_server(Recommender(), server)
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(Catalog(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with grpc.insecure_channel(address) as channel:
            request = recommender_pb2.PredictRequest(user_ids=["1", "1"], item_ids=["2", "3"])
            answer = recommender_pb2_grpc.RecommenderServiceStub(channel).Predict(request, timeout=10)
            assert list(answer.ratings) == [0.0, 1.0], answer
        with Client(address) as client:
            assert client.get_model(model="films").model.metrics["rmse"] == 0.875
    finally:
        server.stop(None).wait()
    print(f"grpcio {version('grpcio')}, protobuf {version('protobuf')}: the stubs and the client answer")


if __name__ == "__main__":
    main()
