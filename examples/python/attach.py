#!/usr/bin/env python3
"""Looks into a segment of another process, from Python, with nothing but libxpmem.

    python3 attach.py SEGID [BYTES]

SEGID is what `xpmem make` or `formatId(segment.segid)` prints: 0x and 16 hexadecimal digits. The
first BYTES bytes (4096 if not said) become a memoryview, with no copy: this program prints how they
begin, and turns the text there into capitals, which the owner sees at once.

The loader must find libxpmem.so.0: set LD_LIBRARY_PATH if it is not installed.
"""

import ctypes
import os
import sys

# From xpmem.h.
XPMEM_RDWR = 2
XPMEM_PERMIT_MODE = 1
FAILED = ctypes.c_void_p(-1).value


class Where(ctypes.Structure):
    """struct xpmem_addr: a place in a segment that one has a permit for."""

    _fields_ = [("apid", ctypes.c_int64), ("offset", ctypes.c_long)]


def load():
    """The library, with the types of the calls made here."""
    library = ctypes.CDLL("libxpmem.so.0", use_errno=True)
    library.xpmem_get.argtypes = [ctypes.c_int64, ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
    library.xpmem_get.restype = ctypes.c_int64
    library.xpmem_attach.argtypes = [Where, ctypes.c_size_t, ctypes.c_void_p]
    library.xpmem_attach.restype = ctypes.c_void_p
    library.xpmem_detach.argtypes = [ctypes.c_void_p]
    library.xpmem_release.argtypes = [ctypes.c_int64]
    return library


def failed(call):
    """The exception for a call that has just failed; errno says why."""
    return OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    segid = int(sys.argv[1], 16)
    length = int(sys.argv[2]) if len(sys.argv) == 3 else 4096
    xpmem = load()

    apid = xpmem.xpmem_get(segid, XPMEM_RDWR, XPMEM_PERMIT_MODE, None)
    if apid < 0:
        raise failed("xpmem_get")
    address = xpmem.xpmem_attach(Where(apid, 0), length, None)
    if address == FAILED:
        raise failed("xpmem_attach")

    # The memory itself: what is written here, the owner reads.
    memory = memoryview((ctypes.c_char * length).from_address(address)).cast("B")
    text = bytes(memory[:64]).split(b"\0")[0]
    print(f"segment {segid:#018x}, {len(memory)} bytes, begins with {text.decode(errors='replace')!r}")
    memory[: len(text)] = text.upper()
    print(f"now it begins with {bytes(memory[: len(text)]).decode(errors='replace')!r}")

    # No view may be used after this: an access would raise SIGSEGV.
    memory.release()
    xpmem.xpmem_detach(address)
    xpmem.xpmem_release(apid)


if __name__ == "__main__":
    main()
