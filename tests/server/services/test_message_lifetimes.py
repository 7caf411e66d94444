"""Test that the message classes of private descriptor pools live as long as the process."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

from cofactor_server.services.open_inference import messages

# Calls for unknown users fail, so they leave reference cycles that only the collector frees. It runs after every 25
# objects here, in many threads at once.
SCRIPT = """
import gc, sys
from concurrent.futures import ThreadPoolExecutor
import grpc
from cofactor_server.config import ServerConfig
from cofactor_server.server import create_server
from cofactor_server.services.open_inference.messages import message_type

gc.set_threshold(25, 2, 2)
config = ServerConfig(models=sys.argv[1], model="dot", port=0, provider="cpu", drain_delay_s=0, oip=True)
with create_server(config) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    def call(number):
        request = message_type("ModelInferRequest")(model_name="dot.recommend")
        user_id = b"nobody" if number % 11 == 0 else b"u003"
        request.inputs.add(name="user_id", datatype="BYTES", shape=[1]).contents.bytes_contents.append(user_id)
        request.parameters["n"].int64_param = number
        try:
            answer = message_type("ModelInferResponse").FromString(infer(request.SerializeToString(), timeout=30))
            return answer.outputs[0].name
        except grpc.RpcError as error:
            return error.code().name

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(call, range(660)))
assert answers.count("NOT_FOUND") == 60, answers
print("done", len(set(answers)))
"""


def test_every_message_class_survives_the_garbage_collector() -> None:
    references = [weakref.ref(messages.message_type(name)) for name in messages._MESSAGES]
    response = messages.message_type("ModelInferResponse")()
    references.append(weakref.ref(type(response.parameters["entry"])))
    references.append(weakref.ref(type(response.outputs.add())))
    del response
    gc.collect()
    assert all(reference() is not None for reference in references)


def test_failing_and_good_calls_beside_a_busy_collector_do_not_end_the_process(served_models: Path) -> None:
    environment = {**os.environ, "PYTHONMALLOC": "debug", "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(served_models)], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "done 2\n"
