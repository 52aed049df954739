"""What a function's program weighs: its size as Lambda takes it, and the CPU time from its start to its first poll."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from statistics import median

# The most that an API's function may weigh; those that launch, sweep and keep disks have EC2's SDK.
MEBIBYTES = 5.0
MILLISECONDS = 25.0
STARTS = 9


def zipped(program: Path) -> float:
    """In MiB, packed as SAM packs it."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(program, "bootstrap")
        return file.tell() / 2**20


def cpu_to_first_poll(program: Path, name: str, environment: dict[str, str]) -> float:
    """In ms; the kernel counts it for each thread."""
    polled = HTTPServer(("127.0.0.1", 0), Silent)
    ours = environment | {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{polled.server_port}", "_HANDLER": name}
    ours |= {"AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256"}
    ours |= {"AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_LOG_STREAM_NAME": "s", "AWS_LAMBDA_LOG_GROUP_NAME": "g"}
    process = subprocess.Popen([program], env=ours, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        polled.timeout = 10
        connection, _ = polled.get_request()
        connection.recv(1)
        threads = Path(f"/proc/{process.pid}/task").iterdir()
        nanoseconds = sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
        connection.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        polled.server_close()
    return nanoseconds / 1e6


class Silent(BaseHTTPRequestHandler):
    """Never answers: a function that polls has begun."""


def weigh(bootstraps: Path, functions: dict[str, str], environments: dict[str, dict[str, str]]) -> int:
    """One function of each surface; how many are too heavy."""
    heavy = 0
    for surface, name in sorted({surface: name for name, surface in functions.items()}.items()):
        program = bootstraps / surface / "bootstrap"
        size = zipped(program)
        cpu = median(cpu_to_first_poll(program, name, environments[name]) for _ in range(STARTS))
        wrong = cpu > MILLISECONDS or (size > MEBIBYTES and surface not in ("launcher", "disk-worker", "sweeper"))
        heavy += wrong
        print(f"{'FAILED' if wrong else 'ok':6}  {surface:<20} {size:4.1f} MiB zipped, {cpu:4.1f} ms of CPU to its first poll")
    return heavy
