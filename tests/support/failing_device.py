"""Run cofactor-serve with the CPU in the place of a device, which fails once a file exists.

python tests/support/failing_device.py FILE [flags of cofactor-serve]
"""

from __future__ import annotations

import sys
from pathlib import Path

from cofactor_server.__main__ import main
from cofactor_server.inference import engine
from cofactor_server.inference.device import graphs as device_graphs
from cofactor_server.inference.device.placement import Trial
from cofactor_server.inference.device.recommend import DeviceRecommend
from cofactor_server.inference.execution_providers import CPU, Device

FAILURE = "[ONNXRuntimeError] : 1 : FAIL : /src/cuda_call.cc:129 CUDA failure 719: unspecified launch failure ; GPU=0"


class FailingRecommend(DeviceRecommend):
    def run(self, outputs, inputs, *options):
        if Path(sys.argv[1]).exists():
            raise RuntimeError(FAILURE)
        return super().run(outputs, inputs, *options)


if __name__ == "__main__":
    engine.device_of = lambda _: Device(CPU, "cpu", free_memory=lambda: None)
    device_graphs.DeviceRecommend = FailingRecommend
    device_graphs.measure = lambda sizes, *_: [Trial(size, 2.0, 1.0) for size in sizes]
    sys.exit(main(sys.argv[2:]))
