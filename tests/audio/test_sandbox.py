"""A closed sandbox: what is refused, measured from inside, and the filter for the architecture this machine is not."""

from __future__ import annotations

import errno
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.audio import sandbox
from appliance.audio.sandbox import _ARCHITECTURES, _Architecture, _filter_program

INSIDE = """
import ctypes, json, mmap, os, resource, socket, subprocess, sys, threading
from appliance.audio import sandbox

def outcome(attempt):
    try:
        attempt()
    except BaseException as error:
        return type(error).__name__
    return "allowed"

memory = mmap.mmap(-1, 4096)
libc = ctypes.CDLL(None, use_errno=True)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
if sys.argv[1:]:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)  # an ordinary user without any capability
landlock = sandbox.close_sandbox(sandbox.ResourceLimits(memory_bytes=2**30, cpu_s=5))
attempts = {
    "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "write a file": lambda: os.open("/tmp/escape", os.O_WRONLY | os.O_CREAT),
    "list a folder": lambda: os.listdir("/"),
    "look at a file": lambda: os.stat("/etc/passwd"),
    "delete a file": lambda: os.unlink("/tmp/escape"),
    "make memory file": lambda: os.memfd_create("x"),
    "make a pipe": lambda: os.pipe(),
    "open a socket": lambda: socket.socket(),
    "open a local socket": lambda: socket.socket(socket.AF_UNIX),
    "fork": lambda: os.fork(),
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "start a program": lambda: subprocess.run(["/bin/true"]),
    "start a thread": lambda: threading.Thread(target=print).start(),
    "signal another process": lambda: os.kill(os.getppid(), 0),
    "raise its limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9)),
    "duplicate a descriptor": lambda: os.dup(1),
    "map executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
}
result = {name: outcome(attempt) for name, attempt in attempts.items()}
result["make memory executable"] = "allowed" if libc.mprotect(ctypes.c_void_p(address), 4096, 5) == 0 else "PermissionError"
result["compute"] = outcome(lambda: bytearray(10**7).count(0))
result["too much memory"] = outcome(lambda: bytearray(2**31))
os.write(1, json.dumps([landlock, result]).encode())
os._exit(0)
"""


@pytest.fixture(scope="module", params=["as we are", "as nobody"])
def inside(request: pytest.FixtureRequest) -> tuple[int, dict[str, str]]:
    """What became of each attempt; also as a user without capabilities, where the tests run as root."""
    if request.param == "as nobody" and os.geteuid():
        pytest.skip("only root can become somebody else, and this is an ordinary user already")
    user = ["nobody"] if request.param == "as nobody" else []
    done = subprocess.run([sys.executable, "-I", "-B", "-c", INSIDE, *user], check=True, capture_output=True, timeout=60)
    landlock, result = json.loads(done.stdout)
    return landlock, result


def test_nothing_but_computing_is_left(inside: tuple[int, dict[str, str]]) -> None:
    """TRAPS 12: no file, no socket, no process, no new descriptor, no code of its own."""
    refusals = {name: what for name, what in inside[1].items() if name not in ("compute", "too much memory", "start a thread")}
    assert {name: what for name, what in refusals.items() if what not in ("PermissionError", "ValueError")} == {}
    assert inside[1]["start a thread"] == "RuntimeError"
    assert inside[1]["compute"] == "allowed"
    assert inside[1]["too much memory"] == "MemoryError"


def test_landlock_is_in_force_where_the_kernel_has_it(inside: tuple[int, dict[str, str]]) -> None:
    assert inside[0] == sandbox.landlock_version()


def test_no_dump_can_be_made_after_exec() -> None:
    """TRAPS 5: exec resets the flag, so every process sets it for itself."""
    check = (
        "import ctypes, resource; from appliance.audio import sandbox; sandbox.forbid_dumps();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", check], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "0 (0, 0)"


def test_an_orphan_ends_at_once() -> None:
    check = "from appliance.audio import sandbox; sandbox.die_with_parent(1); print('still here')"
    done = subprocess.run([sys.executable, "-I", "-c", check], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "still here" not in done.stdout


def test_a_child_dies_with_its_parent() -> None:
    """The middle process starts one that waits for ever on a pipe we hold, and is killed; the pipe then ends."""
    child = (
        "import os, sys, time; from appliance.audio import sandbox; sandbox.die_with_parent(int(sys.argv[1]));"
        "os.write(1, b'ready'); time.sleep(600)"
    )
    middle = f"import os, subprocess, sys; subprocess.run([sys.executable, '-I', '-c', {child!r}, str(os.getpid())])"
    with subprocess.Popen([sys.executable, "-I", "-c", middle], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"ready"
        process.kill()
        assert process.stdout.read() == b""


def test_an_unknown_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(sandbox.SandboxUnavailable, match="riscv64"):
        sandbox._filter_system_calls()


@pytest.mark.parametrize("machine", _ARCHITECTURES.values(), ids=_ARCHITECTURES.keys())
def test_the_filter_allows_what_is_listed_and_nothing_else(machine: _Architecture) -> None:
    program = _filter_program(machine)
    refused = 0x00050000 | errno.EPERM
    listed = set(machine.calls.values())
    for number in range(500):
        assert judge(program, machine.audit, number) == (0x7FFF0000 if number in listed else refused)
    assert judge(program, machine.audit, 0x40000000 | min(listed)) == refused  # the x32 numbers of x86_64
    for name in ("mmap", "mprotect"):
        assert judge(program, machine.audit, machine.calls[name], protection=0b111) == refused
    assert judge(program, 0x40000003, min(listed)) == 0x80000000  # 32-bit x86


def judge(program: bytes, audit: int, number: int, protection: int = 0b011) -> int:
    """What the kernel would decide: runs the filter over a `struct seccomp_data`."""
    data = struct.pack("IIQQQQ", number, audit, 0, 0, 0, protection)
    lines = list(struct.iter_unpack("HBBI", program))
    at = value = 0
    while True:
        code, if_true, if_false, k = lines[at]
        at += 1
        if code == 0x06:
            return int(k)
        if code == 0x20:
            value = struct.unpack_from("I", data, k)[0]
        else:
            assert code in (0x15, 0x45)
            at += if_true if (value == k if code == 0x15 else value & k) else if_false


HEADERS = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}


@pytest.mark.parametrize("name", HEADERS)
def test_the_numbers_are_the_kernels(name: str) -> None:
    header = Path(HEADERS[name])
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    numbers = {call: int(number) for call, number in re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", header.read_text())}
    assert {call: numbers[call] for call in _ARCHITECTURES[name].calls} == _ARCHITECTURES[name].calls
