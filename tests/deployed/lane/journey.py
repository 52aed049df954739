"""The README's tour, through the API Gateway of the emulator, and what comes after it."""

from __future__ import annotations

import shlex
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from .client import TENANT, Client
from .emulator import Emulator
from .install import Installation
from .machines import Machines
from .wait import until

# Cold starts, a doorbell, a launch, a boot, and a report every five seconds.
LAUNCHED = 120
# The sweep comes each minute, and an end takes its grace.
ENDED = 180
# The whole of a machine: there is one, so that a second job waits.
WHOLE = "p5.48xlarge"
POOLS = [{"id": "ec2/h100", "gpu": "h100", "max_per_node": 8, "nodes": 1}]


class Journey:
    """What is played, and by whom."""

    def __init__(self, emulator: Emulator, installed: Installation, machines: Machines, client: Client, work: Path):
        self.emulator = emulator
        self.installed = installed
        self.machines = machines
        self.client = client
        self.identity = work / "key"
        self.began = time.monotonic()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.identity], check=True)

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {what}", flush=True)

    def job(self, job: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.call("GET", f"/v1/jobs/{job}")
        return answer

    def submit(self, command: str | None = None) -> str:
        body: dict[str, Any] = {
            "image": "pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime",
            "instance_type": WHOLE,
            "duration_hours": 4,
            "ssh_public_keys": [self.identity.with_suffix(".pub").read_text().strip()],
        }
        if command is not None:
            body |= {"command": command, "end_on_exit": True}
        return str(self.client.call("POST", "/v1/jobs/submit", body)["job_id"])

    def becomes(self, job: str, status: str, seconds: float) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            if self.machines.faults:
                raise RuntimeError(f"the machines: {self.machines.faults}")
            now = self.job(job)
            if now["status"] != status and now["status"] in ("failed", "cancelled", "expired"):
                raise RuntimeError(f"{job} is {now['status']}: {now['failure_reason']}")
            return now if now["status"] == status else None

        return until(f"{job} becomes {status}", seconds, look)

    def ssh(self, job: dict[str, Any], command: str) -> str:
        """The API's own command. The machine's address leads nowhere from here, so that the way there is said beside it."""
        words = shlex.split(job["ssh_command"])
        port = self.machines.of_address(words[-1].split("@")[1]).ssh_port
        way = f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3 & cat >&3'"
        options = ["-i", str(self.identity), "-o", f"ProxyCommand={way}", "-o", "BatchMode=yes"]
        options += ["-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={self.identity}.hosts"]
        done = subprocess.run(words + options + [command], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"{done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def the_tour(self) -> str:
        job = self.submit()
        self.say(f"submitted {job}")
        active = self.becomes(job, "active", LAUNCHED)
        self.say(f"active on {active['ssh_command']}")
        said = self.ssh(active, "echo $SLIPWAY_GPUS GPUs; echo written in the job >> notes; cat notes")
        if said.splitlines()[-1] != "written in the job":
            raise RuntimeError(f"SSH said {said!r}")
        self.say("SSH with the API's own command")
        extended = self.client.call("POST", f"/v1/jobs/{job}/extend", {"extension_hours": 2})
        self.say(f"extended: {extended['message']}")
        if job not in [one["job_id"] for one in self.client.call("GET", "/v1/jobs")["jobs"]]:
            raise RuntimeError("the list lacks the job")
        events = self.client.call("GET", f"/v1/jobs/{job}/events")["events"]
        self.say(f"listed, with {len(events)} events")
        self.client.call("GET", f"/v1/jobs/{job}/logs")
        return job

    def room_for_one(self, first: str) -> None:
        """A second job waits until the first has ended, and runs its command to its end."""
        second = self.submit("echo hello from the second")
        time.sleep(5)
        if self.job(second)["status"] != "queued":
            raise RuntimeError(f"there is room for one, and the second is {self.job(second)['status']}")
        self.say("a second job waits for room")
        self.client.call("POST", f"/v1/jobs/{first}/cancel")
        self.becomes(first, "cancelled", ENDED)
        self.say("the first is cancelled")
        self.becomes(second, "expired", LAUNCHED + ENDED)
        said = self.client.call("GET", f"/v1/jobs/{second}/logs")
        if "hello from the second" not in str(said):
            raise RuntimeError(f"the log is {said!r}")
        self.say("the second ran to its end, and its log is there")

    def time_is_over(self) -> None:
        """No job lasts less than an hour, and the lane does not wait for so long: the row of one says that its time was over just now."""
        job = self.submit()
        self.becomes(job, "active", LAUNCHED)
        over = datetime.now(timezone.utc) - timedelta(seconds=100)
        self.emulator.client("dynamodb").update_item(
            TableName=f"{self.installed.parameters['Deployment']}-workloads",
            Key={"pk": {"S": f"{TENANT}#{job}"}, "sk": {"S": "workload"}},
            UpdateExpression="SET expires_at = :over, due_at = :due",
            ConditionExpression="attribute_exists(expires_at)",
            ExpressionAttributeValues={
                ":over": {"S": over.strftime("%Y-%m-%dT%H:%M:%SZ")},
                ":due": {"N": str(int(over.timestamp() * 1000))},
            },
        )
        self.becomes(job, "expired", ENDED)
        self.say("a third expired when its time was over")

    def nothing_is_left(self) -> None:
        until("no machine is left", ENDED, lambda: not self.machines.alive())
        availability = self.client.call("GET", "/v1/gpu/availability")["availability"]
        used = sum(one["in_use"] for one in availability.values())
        if used:
            raise RuntimeError(f"{used} GPUs are still booked")
        sqs = self.emulator.client("sqs")
        for url in sqs.list_queues()["QueueUrls"]:
            name = "ApproximateNumberOfMessages"
            waiting = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]
            if "-dead" in url and waiting != "0":
                raise RuntimeError(f"{waiting} messages were put aside in {url}")
        self.say("nothing runs, nothing is booked, nothing was put aside")

    def the_sweep(self) -> None:
        """The clock calls it each minute."""
        group = f"/aws/lambda/{self.installed.parameters['Deployment']}-Sweeper"
        logs = self.emulator.client("logs")
        done = until("a sweep", 90, lambda: logs.filter_log_events(logGroupName=group)["events"])
        self.say(f"the clock calls the sweep: {len(done)} lines")

    def play(self) -> None:
        self.say(f"well: {self.client.call('GET', '/health')['status']}")
        self.say(f"logged in as {self.client.log_in(self.emulator, 'traveller')}")
        self.room_for_one(self.the_tour())
        self.time_is_over()
        self.the_sweep()
        self.nothing_is_left()
