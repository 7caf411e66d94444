"""Call the Open Inference Protocol with tritonclient, in the same process as the server's own messages."""

from __future__ import annotations

import time

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from cofactor.v1 import recommender_pb2

triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

from cofactor_server.errors import InvalidField  # noqa: E402
from cofactor_server.services.open_inference.messages import _MESSAGES, message_type  # noqa: E402
from cofactor_server.services.open_inference.tensors import ids_as_numbers, read_inputs  # noqa: E402


@pytest.fixture(scope="module")
def inference(served_models):
    from cofactor_server.config import ServerConfig
    from cofactor_server.server import create_server

    config = ServerConfig(models=str(served_models), model="dot", port=0, provider="cpu", drain_delay_s=0, oip=True)
    with create_server(config) as server:
        client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
        yield client, server
        client.close()


def tensor(name, values, datatype):
    array = np.array(values, dtype=np.int64 if datatype == "INT64" else np.object_)
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def as_bytes(*ids):
    return [text.encode() for text in ids]


def test_the_messages_match_those_of_tritonclient() -> None:
    for name in _MESSAGES:
        if "." in name:
            continue  # nested: compared with its outer message
        ours = message_type(name).DESCRIPTOR
        files = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
        theirs = next(file.message_types_by_name[name] for file in files if name in file.message_types_by_name)
        for field in ours.fields:
            other = theirs.fields_by_name[field.name]
            assert (field.number, field.is_repeated) == (other.number, other.is_repeated), f"{name}.{field.name}"
            enum = other.type == other.TYPE_ENUM and field.type == field.TYPE_INT32
            assert enum or field.type == other.type, f"{name}.{field.name}"
        for nested in ours.nested_types:
            other = theirs.nested_types_by_name[nested.name]
            assert [(f.name, f.number, f.type) for f in nested.fields] == [
                (f.name, f.number, f.type) for f in other.fields
            ]


def test_server_and_models_are_live_ready_and_described(inference) -> None:
    client, _ = inference
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("dot.recommend")
    assert client.is_model_ready("net.predict", "1")
    assert not client.is_model_ready("dot.embed")
    assert not client.is_model_ready("dot.predict", "9")
    assert client.get_server_metadata().name == "cofactor"
    metadata = client.get_model_metadata("dot.recommend")
    assert [(output.name, output.datatype, list(output.shape)) for output in metadata.outputs] == [
        ("item_id", "BYTES", [-1, -1]),
        ("score", "FP32", [-1, -1]),
        ("rating", "FP32", [-1, -1]),
    ]
    assert list(metadata.versions) == ["1"]
    config = client.get_model_config("dot.predict").config
    assert [(tensor.name, tensor.data_type) for tensor in config.input] == [("user_id", 13), ("item_id", 13)]


def test_recommend_returns_what_the_api_returns(inference) -> None:
    client, server = inference
    inputs = [tensor("user_id", as_bytes("u003", "u007"), "BYTES"), tensor("k", [7], "INT64")]
    result = client.infer("dot.recommend", inputs, request_id="7")
    assert result.get_response().id == "7"
    assert result.get_response().model_version == "1"
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        from cofactor.v1.recommender_pb2_grpc import RecommenderServiceStub

        for row, user in enumerate(("u003", "u007")):
            request = recommender_pb2.RecommendRequest(user=recommender_pb2.User(user_id=user), page_size=7)
            expected = RecommenderServiceStub(channel).Recommend(request, timeout=10).results
            assert [item_id.decode() for item_id in result.as_numpy("item_id")[row]] == [
                item.item_id for item in expected
            ]
            scores, ratings = ([getattr(item, name) for item in expected] for name in ("score", "predicted_rating"))
            # A batch of users gives results that differ from a single user's in the last bit.
            np.testing.assert_allclose(result.as_numpy("score")[row], scores, rtol=1e-6)
            np.testing.assert_allclose(result.as_numpy("rating")[row], ratings, rtol=1e-6)


def test_predict_rates_pairs_and_only_requested_outputs_are_sent(inference) -> None:
    client, _ = inference
    inputs = [
        tensor("user_id", as_bytes("u001", "u002", "u002"), "BYTES"),
        tensor("item_id", as_bytes("i001", "i001", "i002"), "BYTES"),
    ]
    ratings = client.infer("net.predict", inputs).as_numpy("rating")
    assert ratings.shape == (3,)
    assert np.all((ratings >= 0.5) & (ratings <= 5.5))
    only_ids = client.infer(
        "dot.recommend",
        [tensor("user_id", as_bytes("u001"), "BYTES")],
        outputs=[triton.InferRequestedOutput("item_id")],
    )
    assert [output.name for output in only_ids.get_response().outputs] == ["item_id"]
    assert only_ids.as_numpy("item_id").shape == (1, 10)


def test_a_request_with_typed_contents_gets_typed_contents(inference) -> None:
    _, server = inference
    request = service_pb2.ModelInferRequest(model_name="dot.recommend")
    request.inputs.add(name="user_id", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"u003")
    request.inputs.add(name="k", datatype="INT64", shape=[1]).contents.int64_contents.append(3)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    assert len(response.raw_output_contents) == 0
    assert len(response.outputs[0].contents.bytes_contents) == 3
    assert len(response.outputs[1].contents.fp32_contents) == 3


def test_a_request_with_numbers_as_ids_gets_numbers(dot_version, versions, tmp_path, serve) -> None:
    """Uses a version with ids such as 1003 in place of u003."""
    path = versions.copy(dot_version, tmp_path)
    manifest = versions.read(path)
    body = bytearray((path / "tables.bin").read_bytes())
    for table in manifest.tables:
        if table.name in ("user_ids.bytes", "item_ids.bytes"):
            end = table.offset + table.shape[0]
            body[table.offset : end] = bytes(body[table.offset : end]).replace(b"u", b"1").replace(b"i", b"1")
    (path / "tables.bin").write_bytes(body)
    versions.write(path, manifest)
    api = serve(tmp_path, oip=True)
    with triton.InferenceServerClient(f"127.0.0.1:{api.server.port}") as client:
        result = client.infer("dot.recommend", [tensor("user_id", [1003, 1007], "INT64")])
        assert result.as_numpy("item_id").dtype == np.int64
        assert result.as_numpy("item_id").shape == (2, 10)
        ratings = client.infer(
            "dot.predict",
            [tensor("user_id", [1003], "INT64"), tensor("item_id", result.as_numpy("item_id")[0, :1], "INT64")],
        ).as_numpy("rating")
        np.testing.assert_allclose(ratings[0], result.as_numpy("rating")[0, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "inputs", "problem"),
    [
        ("dot", [], "names end in .predict or .recommend"),
        ("none.predict", [], "no model is called"),
        ("dot.predict", [("user_id", ["u001"], "BYTES")], "lacks item_id; send it"),
        ("dot.recommend", [("user", ["u001"], "BYTES")], "is not one of user_id, k"),
        ("dot.recommend", [("user_id", ["u001"], "BYTES"), ("k", [0], "INT64")], "k must be one INT64"),
        ("dot.recommend", [("user_id", ["u001"], "BYTES"), ("k", [1, 2], "INT64")], "k must be one INT64"),
        ("dot.recommend", [("user_id", ["nobody"], "BYTES")], "does not know user"),
        ("dot.recommend", [("user_id", [3], "INT64")], "does not know user"),
        ("dot.recommend", [("user_id", [], "BYTES")], "send between 1 and"),
    ],
)
def test_a_bad_request_is_refused_with_the_problem(inference, model, inputs, problem) -> None:
    client, _ = inference
    made = [
        tensor(name, as_bytes(*values) if datatype == "BYTES" else values, datatype)
        for name, values, datatype in inputs
    ]
    with pytest.raises(InferenceServerException, match=problem):
        client.infer(model, made)


@pytest.mark.parametrize(
    ("datatype", "shape", "raw"),
    [
        ("BYTES", [1], b"\x04\x00\x00"),
        ("BYTES", [1], b"\x09\x00\x00\x00u001"),
        ("BYTES", [1], b"\x02\x00\x00\x00\xff\xff"),
        ("BYTES", [2], b"\x04\x00\x00\x00u001"),
        ("INT64", [1], b"\x01"),
        ("FP32", [1], b"\x00\x00\x80\x3f"),
        ("BYTES", [-1], b"\x04\x00\x00\x00u001"),
    ],
)
def test_broken_tensors_are_refused(inference, datatype, shape, raw) -> None:
    _, server = inference
    request = service_pb2.ModelInferRequest(model_name="dot.recommend", raw_input_contents=[raw])
    request.inputs.add(name="user_id", datatype=datatype, shape=shape)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, pytest.raises(grpc.RpcError) as refused:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_shape_of_many_dimensions_is_refused_before_it_is_multiplied() -> None:
    """The product of this shape takes a second, during which Python's lock is held."""
    request = message_type("ModelInferRequest")()
    request.inputs.add(name="user_id", datatype="INT64", shape=[2**63 - 1] * 20_000).contents.int64_contents.append(1)
    started = time.thread_time()
    with pytest.raises(InvalidField, match=r"inputs\[0\].shape: has 20000 dimensions; send one, or a batch of two"):
        read_inputs(request, ("user_id",))
    assert time.thread_time() - started < 0.05


def test_a_batch_of_two_dimensions_is_read_row_by_row() -> None:
    request = message_type("ModelInferRequest")()
    request.inputs.add(name="user_id", datatype="INT64", shape=[2, 2]).contents.int64_contents.extend([1, 2, 3, 4])
    assert read_inputs(request, ("user_id",)) == {"user_id": [1, 2, 3, 4]}


def test_ids_that_are_ids_as_numbers_become_numbers() -> None:
    assert ids_as_numbers(["7", "-5", "0", "", str(2**63 - 1)], -1) == [7, -5, 0, -1, 2**63 - 1]


@pytest.mark.parametrize("item_id", ["007", "1_000", " 5", "5\n", "+5", "-0", "٣", "x", "-1", str(2**63), "9" * 5000])
def test_an_id_that_is_not_a_plain_number_is_not_returned_as_a_number(item_id) -> None:
    with pytest.raises(InvalidField, match="ask for ids as BYTES"):
        ids_as_numbers(["5", item_id], -1)


def infer_request(model: str, version: str = "", **inputs):
    """Return a ModelInferRequest with typed contents."""
    request = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    for name, values in inputs.items():
        is_text = isinstance(values[0], str)
        sent = request.inputs.add(name=name, datatype="BYTES" if is_text else "INT64", shape=[len(values)])
        contents = sent.contents.bytes_contents if is_text else sent.contents.int64_contents
        contents.extend(value.encode() if is_text else value for value in values)
    return request


def violated_field(server, request) -> str:
    """Return the field that the error of a request names, in its details and at the beginning of its message."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, pytest.raises(grpc.RpcError) as refused:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
    status = status_pb2.Status.FromString(dict(refused.value.trailing_metadata())["grpc-status-details-bin"])
    for detail in status.details:
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            [violation] = bad_request.field_violations
            assert status.message.startswith(f"{violation.field}: ")
            return violation.field
    return ""


SECOND_TEXT = "contents.bytes_contents[1]"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (infer_request("dot.predict", item_id=["i001"] * 2, user_id=["u001", "no"]), f"inputs[1].{SECOND_TEXT}"),
        (infer_request("dot.predict", item_id=["i001", ""], user_id=["u001"] * 2), f"inputs[0].{SECOND_TEXT}"),
        (infer_request("dot.predict", user_id=["u001"], item_id=["i001"] * 2), "inputs[0]"),
        (infer_request("dot.recommend", user_id=["u001", "no"]), f"inputs[0].{SECOND_TEXT}"),
        (infer_request("dot.recommend", user_id=[7]), "inputs[0].contents.int64_contents[0]"),
        (infer_request("dot.recommend", k=[10**6], user_id=["u001"]), "inputs[0]"),
        (infer_request("dot.recommend", user_id=["u001"], k=[0]), "inputs[1]"),
        (infer_request("ranker.predict", user_id=["u001"], item_id=["i001"]), "model_name"),
        (infer_request("none.predict", user_id=["u001"], item_id=["i001"]), "model_name"),
        (infer_request("dot.predict", "9", user_id=["u001"], item_id=["i001"]), "model_version"),
    ],
)
def test_an_error_names_the_field_that_the_caller_sent(inference, request_, field) -> None:
    _, server = inference
    assert violated_field(server, request_) == field


def test_an_error_names_raw_contents_that_the_caller_sent(inference) -> None:
    _, server = inference
    request = service_pb2.ModelInferRequest(model_name="dot.recommend")
    request.inputs.add(name="user_id", datatype="BYTES", shape=[2])
    request.raw_input_contents.append(b"\x04\0\0\0u001\x02\0\0\0no")
    assert violated_field(server, request) == "raw_input_contents[0][1]"
    request.raw_input_contents[0] = b"\x04\0\0"
    assert violated_field(server, request) == "raw_input_contents[0]"


def test_the_protocol_is_off_by_default(api) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{api.server.port}") as channel, pytest.raises(grpc.RpcError) as refused:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ServerLive(service_pb2.ServerLiveRequest(), timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
