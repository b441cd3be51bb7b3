"""Takes the network away from a worker process: after `forbid_network` it can open Unix sockets only.

Weights and driver still need files, so the strict sandbox of the decoder does not fit here; a seccomp filter on the few
system calls that can make a socket does. It holds for every thread, cannot be undone, and needs no privilege.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct

from appliance import NO_TELEMETRY

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.EACCES, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _GIVE = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian
_OTHER_ABI = 0x40000000  # x32 numbers on x86_64

# AUDIT_ARCH, seccomp, socket, io_uring_setup (which could open sockets past the filter), from the kernel's tables
_MACHINES = {"x86_64": (0xC000003E, 317, 41, 425), "aarch64": (0xC00000B7, 277, 198, 425)}


def forbid_network() -> bool:
    """Returns whether the kernel agreed; False is worth a line in the log, since the worker has no address to call anyway."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    buffer = ctypes.create_string_buffer(program := _program(*machine))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0):
        return False
    return bool(libc.syscall(machine[1], _SET_MODE_FILTER, _ALL_THREADS, header) == 0)


def _program(architecture: int, _: int, make_socket: int, io_uring_setup: int) -> bytes:
    """Classic BPF; a jump counts the instructions it skips: (if equal, if not)."""
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_GIVE, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 5, 0, _OTHER_ABI),  # refuse
        (_EQUAL, 4, 0, io_uring_setup),  # refuse
        (_EQUAL, 0, 2, make_socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 0, 1, int(socket.AF_UNIX)),
        (_GIVE, 0, 0, _ALLOW),
        (_GIVE, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def offline_environment(environment: dict[str, str]) -> dict[str, str]:
    """Of the parent's environment what libraries need and nothing else: no setting, no secret; telemetry and hubs off."""
    needed = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR"}
    kept = {k: v for k, v in environment.items() if k in needed or k.startswith(("PYTHON", "CUDA_", "NVIDIA_", "OMP_", "MKL_"))}
    return kept | {
        **NO_TELEMETRY,
        "HF_HUB_OFFLINE": "1",  # TRAPS 10
        "TORCHINDUCTOR_CACHE_DIR": "/proc/self",  # torch wants a folder for it on import; nothing can be written to this one
    }
