"""Ask the CUDA driver about the first device. The driver's library is loaded only when it is needed."""

from __future__ import annotations

import ctypes
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def n_cuda_devices() -> int:
    """Return the number of CUDA devices that the driver reports, 0 without a driver."""
    driver = _driver()
    count = ctypes.c_int(0)
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def free_device_memory() -> int | None:
    """Return the free bytes of the first CUDA device, or None if the driver does not say.

    The first call creates the device's context, which takes some hundred MB, unless there is one already.
    """
    driver = _driver()
    if driver is None:
        return None
    free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
    with _primary_context(driver) as is_current:
        if not is_current or driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) != 0:
            return None
    return free.value


@contextmanager
def _primary_context(driver: ctypes.CDLL) -> Iterator[bool]:
    """Make the context that ONNX Runtime uses current in this thread; yield False if that fails."""
    device, context, previous = ctypes.c_int(0), ctypes.c_void_p(), ctypes.c_void_p()
    if (
        driver.cuInit(0) != 0
        or driver.cuDeviceGet(ctypes.byref(device), 0) != 0
        or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) != 0
    ):
        yield False
        return
    try:
        if driver.cuCtxPushCurrent_v2(context) != 0:
            yield False
            return
        try:
            yield True
        finally:
            driver.cuCtxPopCurrent_v2(ctypes.byref(previous))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)


def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
