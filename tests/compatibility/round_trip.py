"""Check that the generated code and the client work with the installed grpcio and protobuf.

`make test-floors` runs this with the oldest and the newest libraries that pyproject.toml allows, and no other package.
"""

from __future__ import annotations

from concurrent import futures
from importlib.metadata import version

import grpc

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc, model_pb2, recommender_pb2, recommender_pb2_grpc
from cofactor_client import Client


class Recommender(recommender_pb2_grpc.RecommenderServiceServicer):
    """Recommender that returns a rating for each item of a Predict request."""

    def Predict(self, request, context):  # noqa: N802 (the RPC's name)
        """Return the position of each item as its rating."""
        return recommender_pb2.PredictResponse(ratings=[float(i) for i, _ in enumerate(request.item_ids)])


class Catalog(catalog_pb2_grpc.CatalogServiceServicer):
    """Catalogue that describes the model in a GetModel request."""

    def GetModel(self, request, context):  # noqa: N802 (the RPC's name)
        """Return a model with one metric."""
        return catalog_pb2.GetModelResponse(model=model_pb2.Model(name=request.model.name, metrics={"rmse": 0.875}))


def main() -> None:
    """Start a server on a free port and call it through the stubs and through the client."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    recommender_pb2_grpc.add_RecommenderServiceServicer_to_server(Recommender(), server)
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(Catalog(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with grpc.insecure_channel(address) as channel:
            request = recommender_pb2.PredictRequest(user_ids=["1", "1"], item_ids=["2", "3"])
            response = recommender_pb2_grpc.RecommenderServiceStub(channel).Predict(request, timeout=10)
            assert list(response.ratings) == [0.0, 1.0], response
        with Client(address) as client:
            assert client.get_model(model="films").model.metrics["rmse"] == 0.875
    finally:
        server.stop(None).wait()
    print(f"grpcio {version('grpcio')}, protobuf {version('protobuf')}: the stubs and the client work")


if __name__ == "__main__":
    main()
