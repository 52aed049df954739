"""ministack, which stands in for AWS, on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3

from .wait import until

ACCOUNT = "000000000000"
REGION = "us-east-1"
STACK = Path(__file__).with_name("stack.py")


def end_in_order() -> None:
    """Whoever tells this process to end has it end what it started, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Emulator:
    """A running ministack. Its processes are a group of their own, the functions' programs included."""

    def __init__(self, work: Path) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.log = work / "ministack.log"
        home = work / "home"
        home.mkdir()
        # Nothing else: what it has in its environment, the functions have too.
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            **self.credentials(),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", STACK], env=self.environment, cwd=home, stdout=log, stderr=log, start_new_session=True
            )
        until("the emulator answers", 60, self.answers)

    def credentials(self) -> dict[str, str]:
        """What a client's environment needs."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "lane",
            "AWS_SECRET_ACCESS_KEY": "lane",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
        }

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def client(self, service: str, **credentials: str) -> Any:
        """A client of one of AWS's services, by default as the installation's owner."""
        given = credentials or {"aws_access_key_id": "lane", "aws_secret_access_key": "lane"}
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, **given)

    def stop(self) -> None:
        """Ends it, and each program of a function that it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)
