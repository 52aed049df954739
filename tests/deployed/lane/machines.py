"""The machines that are bought: the emulator boots nothing, so the real agent is started here with the user data of each."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path
from threading import Event, Thread
from typing import Any

from .emulator import Emulator, free_port

CONFIG = "#cloud-config\n"


class Machine:
    """One machine: its agent, with all that it starts."""

    def __init__(self, agent: Path, plane_url: str, user_data: str, folder: Path) -> None:
        files = {one["path"]: one["content"] for one in json.loads(user_data.removeprefix(CONFIG))["write_files"]}
        pinned = files["/etc/slipway/agent.sha256"].split()[0]
        if pinned != hashlib.sha256(agent.read_bytes()).hexdigest():
            raise RuntimeError(f"the machine would refuse the agent: its SHA-256 is not {pinned}")
        folder.mkdir(parents=True)
        boot = json.loads(files["/etc/slipway/boot.json"])
        self.ssh_port = free_port()
        # This machine is not bought, and has no engine for containers: jobs run in the sandbox, and all on loopback, the front door too.
        boot |= {
            "plane": plane_url,
            "listen": "127.0.0.1",
            "ssh_port": self.ssh_port,
            "jupyter_port": free_port(),
            "work_dir": str(folder / "work"),
            "host_key": str(folder / "host_key"),
            "hidden": [str(folder)],
            "gpus_simulated": True,
            "room": "sandbox",
        }
        file = folder / "boot.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(boot) + "\n")
        with (folder / "agent.log").open("wb") as log:
            self.process = subprocess.Popen(
                [agent, "outer", "--boot", file],
                # The mark by which whatever a job leaves behind is found again.
                env=os.environ | {"SLIPWAY_WORKLOAD": boot["workload"]},
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )

    def off(self) -> None:
        """Cuts the power."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)


class Machines:
    """Looks again and again which machines there are, and plays them."""

    def __init__(self, emulator: Emulator, deployment: str, agent: Path, plane_url: str, work: Path) -> None:
        self.ec2 = emulator.client("ec2")
        self.deployment = deployment
        self.agent = agent
        self.plane_url = plane_url
        self.work = work
        self.running: dict[str, Machine] = {}
        self.seen: set[str] = set()
        self.faults: list[str] = []
        self.ended = Event()
        self.thread = Thread(target=self.play, daemon=True)
        self.thread.start()

    def bought(self) -> list[dict[str, Any]]:
        """Every machine with our tag, those that are gone included."""
        ours = [{"Name": "tag:slipway:deployment", "Values": [self.deployment]}]
        reservations = self.ec2.describe_instances(Filters=ours)["Reservations"]
        return [instance for reservation in reservations for instance in reservation["Instances"]]

    def alive(self) -> list[str]:
        gone = ("shutting-down", "terminated")
        return [one["InstanceId"] for one in self.bought() if one["State"]["Name"] not in gone]

    def of_address(self, address: str) -> Machine:
        """The machine that users are told this address of."""
        for one in self.bought():
            if address in (one.get("PrivateIpAddress"), one.get("PublicIpAddress")) and one["InstanceId"] in self.running:
                return self.running[one["InstanceId"]]
        raise RuntimeError(f"no machine has the address {address}")

    def play(self) -> None:
        while not self.ended.wait(0.5):
            try:
                self.step()
            except Exception as error:
                self.faults.append(repr(error))

    def step(self) -> None:
        alive = self.alive()
        for name in alive:
            if name not in self.seen:
                self.seen.add(name)
                data = self.ec2.describe_instance_attribute(InstanceId=name, Attribute="userData")["UserData"]["Value"]
                self.running[name] = Machine(self.agent, self.plane_url, base64.b64decode(data).decode(), self.work / name)
        for name, machine in list(self.running.items()):
            if name not in alive:
                machine.off()
                del self.running[name]
            elif machine.process.poll() is not None:
                # A machine whose agent has ended powers itself off, which terminates it.
                self.ec2.terminate_instances(InstanceIds=[name])

    def stop(self) -> None:
        self.ended.set()
        self.thread.join(10)
        for machine in self.running.values():
            machine.off()
