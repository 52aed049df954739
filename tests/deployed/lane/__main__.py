"""Deploys the templates to the emulator and plays the journey there. `tests/deployed/run` starts it."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import traceback
from contextlib import ExitStack
from pathlib import Path

from .client import LOGIN_TABLE, Client
from .edge import Edge
from .emulator import Emulator, end_in_order
from .install import LEFT_OUT, Installation
from .journey import POOLS, Journey
from .machines import Machines

ROOT = Path(__file__).resolve().parents[3]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sam", type=Path, required=True, help="SAM's program")
    parser.add_argument("--bootstraps", type=Path, required=True, help="the folder with SURFACE/bootstrap")
    parser.add_argument("--agent", type=Path, required=True, help="the agent's program")
    return parser.parse_args()


def tell(emulator: Emulator) -> None:
    """What the functions said last."""
    logs = emulator.client("logs")
    for group in logs.describe_log_groups()["logGroups"]:
        events = logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
        for event in events[-12:]:
            print(f"{group['logGroupName']}: {event['message'].rstrip()[:600]}")


def main() -> int:
    given = arguments()
    end_in_order()
    with ExitStack() as ends:
        work = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="slipway-lane-")))
        emulator = Emulator(work)
        ends.callback(emulator.stop)
        edge = Edge()
        ends.callback(edge.close)
        for kind, why in LEFT_OUT.items():
            print(f"left out  {kind}: {why}")
        try:
            installed = Installation(emulator, ROOT, given.bootstraps.resolve(), given.sam, work)
            parameters = {
                "LoginTable": json.dumps(LOGIN_TABLE),
                "Pools": json.dumps(POOLS),
                "AgentUrl": "https://agent.example/slipway-agent",
                "AgentSha256": hashlib.sha256(given.agent.read_bytes()).hexdigest(),
            }
            installed.deploy(parameters)
            edge.open(emulator.port, installed.outputs["Api"], installed.origin_secret())
            deployment, agent = installed.parameters["Deployment"], given.agent.resolve()
            machines = Machines(emulator, deployment, agent, edge.url, work / "machines")
            ends.callback(machines.stop)
            Journey(emulator, installed, machines, Client(edge.url), work).play()
        except Exception:
            traceback.print_exc()
            tell(emulator)
            return 1
    print("the deployed journey passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
