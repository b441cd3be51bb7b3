"""Shuts the calling process in before it touches a stranger's bytes: no files, no sockets, no new processes.

Plain kernel interfaces that need no privilege and no user namespace, so it works as an ordinary user in a read-only
container without capabilities: resource limits, `no_new_privs`, Landlock (an empty rule set: the whole file system and
TCP are closed) and a seccomp filter that lists the few system calls that remain. Seccomp is required; Landlock is a
second wall where the kernel has it (5.13 and later), and its absence is reported, not hidden.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys

from appliance.domain import Value

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same numbers on every architecture
_LANDLOCK_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many file rights each version knows
_SECCOMP_SET_MODE_FILTER, _SECCOMP_ALL_THREADS = 1, 1
_PROT_EXEC = 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class SandboxUnavailable(Exception):
    """This kernel or container does not allow a layer that must be there."""


class ResourceLimits(Value, frozen=True):
    memory_bytes: int  # address space, shared libraries included
    cpu_s: int


class _Architecture(Value, frozen=True):
    """Numbers of the system calls that remain, from the kernel's tables; the order is that of the checks."""

    audit: int  # AUDIT_ARCH_…
    seccomp: int
    calls: dict[str, int]


# What reading, computing, writing and ending need. Not here: open, socket, clone, execve, kill, ptrace, ioctl, stat …
_ARCHITECTURES = {
    "x86_64": _Architecture(
        audit=0xC000003E,
        seccomp=317,
        calls={
            "pread64": 17, "write": 1, "futex": 202, "madvise": 28, "munmap": 11, "mremap": 25, "brk": 12, "read": 0,
            "lseek": 8, "writev": 20, "close": 3, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
            "sigaltstack": 131, "restart_syscall": 219, "clock_gettime": 228, "clock_nanosleep": 230, "gettimeofday": 96,
            "getrandom": 318, "getpid": 39, "gettid": 186, "getrusage": 98, "sched_yield": 24, "sched_getaffinity": 204,
            "exit": 60, "exit_group": 231, "mmap": 9, "mprotect": 10,
        },
    ),
    "aarch64": _Architecture(
        audit=0xC00000B7,
        seccomp=277,
        calls={
            "pread64": 67, "write": 64, "futex": 98, "madvise": 233, "munmap": 215, "mremap": 216, "brk": 214, "read": 63,
            "lseek": 62, "writev": 66, "close": 57, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
            "sigaltstack": 132, "restart_syscall": 128, "clock_gettime": 113, "clock_nanosleep": 115, "gettimeofday": 169,
            "getrandom": 278, "getpid": 172, "gettid": 178, "getrusage": 165, "sched_yield": 124, "sched_getaffinity": 123,
            "exit": 93, "exit_group": 94, "mmap": 222, "mprotect": 226,
        },
    ),
}  # fmt: skip
_EXECUTABLE_REFUSED = ("mmap", "mprotect")  # allowed, but never for memory that can be run


def die_with_parent(parent_pid: int) -> None:
    """Be killed when the process that started this one ends; ends at once when it is already gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit("the parent process is gone")


def forbid_dumps() -> None:
    """No core file, no piped core dump, no reading through /proc by the same user. To be called after each exec (TRAPS 5)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def close_sandbox(limits: ResourceLimits) -> int:
    """Close every layer, in this order because each later one forbids what the earlier ones need.

    Returns the version of Landlock that is in force, 0 when the kernel has none. Raises `SandboxUnavailable`.
    Only for processes with one thread: Landlock binds the calling thread (the system call filter binds all).
    """
    forbid_dumps()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    landlock = _close_file_system()
    _limit_resources(limits)
    _filter_system_calls()
    return landlock


def landlock_version() -> int:
    """The version of Landlock this kernel offers, 0 for none."""
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)
    return max(int(version), 0)


def _close_file_system() -> int:
    version = landlock_version()
    if not version:
        return 0
    file_rights = (1 << _LANDLOCK_RIGHTS_BY_ABI.get(version, 16)) - 1
    attributes = struct.pack("QQQ", file_rights, 0b11, 0b11)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _checked("Landlock", _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0))
    _checked("Landlock", _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)
    return version


def _limit_resources(limits: ResourceLimits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))  # SIGXCPU, a second later SIGKILL
    for nothing in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_MEMLOCK):
        resource.setrlimit(nothing, (0, 0))


def _filter_system_calls() -> None:
    machine = _ARCHITECTURES.get(platform.machine())
    if machine is None:
        raise SandboxUnavailable(f"no system call filter is written for {platform.machine()}")
    program = _filter_program(machine)
    instructions = ctypes.create_string_buffer(program)
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))  # struct sock_fprog
    _checked("seccomp", _libc.syscall(machine.seccomp, _SECCOMP_SET_MODE_FILTER, _SECCOMP_ALL_THREADS, header))


def _filter_program(machine: _Architecture) -> bytes:
    """Classic BPF over `struct seccomp_data`: number at offset 0, architecture at 4, third argument at 32.

    A foreign architecture kills the process; a call that is not listed fails with EPERM, so that a library that merely
    tries one (a time zone file, a thread) goes on without it.
    """
    load, jump_equal, jump_bits, give = 0x20, 0x15, 0x45, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
    plain = [number for name, number in machine.calls.items() if name not in _EXECUTABLE_REFUSED]
    guarded = [machine.calls[name] for name in _EXECUTABLE_REFUSED]
    lines = [(load, 0, 0, 4), (jump_equal, 1, 0, machine.audit), (give, 0, 0, kill), (load, 0, 0, 0)]
    lines += [line for number in plain for line in ((jump_equal, 0, 1, number), (give, 0, 0, allow))]
    for number in guarded:
        lines += [
            (jump_equal, 0, 4, number),
            (load, 0, 0, 32),
            (jump_bits, 1, 0, _PROT_EXEC),
            (give, 0, 0, allow),
            (give, 0, 0, refuse),
        ]
    lines.append((give, 0, 0, refuse))
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _prctl(option: int, value: int) -> None:
    _checked(f"prctl {option}", _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def _checked(layer: str, result: int) -> int:
    if result < 0:
        raise SandboxUnavailable(f"{layer} was refused by the kernel: {os.strerror(ctypes.get_errno())}")
    return result
