"""Replays each sample event through its function's program under AWS's own runtime interface emulator, the one inside SAM."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import yaml

from .emulator import Emulator, end_in_order, free_port
from .install import Installation
from .wait import until
from .weigh import weigh

ROOT = Path(__file__).resolve().parents[3]
INVOKE = "2015-03-31/functions/function/invocations"
TIMES = re.compile(r"(Init Duration|Duration): ([0-9.]+) ms")
# What Lambda says of a program that ended, did not start, or was too slow; whatever else fails is an answer of ours.
CRASHES = ("Runtime.", "Extension.", "Function.", "Sandbox.", "InvalidEntrypoint", "Task timed out")


def surfaces() -> dict[str, str]:
    """Each function's surface, as the stacks have it."""
    found = {}
    for path in sorted((ROOT / "infra" / "stacks").glob("*.yaml")):
        for name, resource in yaml.safe_load(path.read_text())["Resources"].items():
            if resource["Type"] == "AWS::Serverless::Function":
                found[name] = path.stem
    return found


def invoke(program: Path, rie: Path, name: str, environment: dict[str, str], event: dict[str, Any]) -> tuple[Any, str]:
    """One call of a function that has just been started: what it answered, and what was printed meanwhile."""
    port, runtime = free_port(), free_port()
    command = [rie, "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    command += ["--runtime-api-address", f"127.0.0.1:{runtime}", program, name]
    ours = environment | {"_HANDLER": name, "AWS_LAMBDA_FUNCTION_HANDLER": name, "AWS_LAMBDA_FUNCTION_NAME": name}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=ours, stdout=log, stderr=log, start_new_session=True)
        request = Request(f"http://127.0.0.1:{port}/{INVOKE}", json.dumps(event).encode())

        def answer() -> str | None:
            try:
                with urlopen(request, timeout=60) as said:
                    return str(said.read().decode()) or "null"
            except HTTPError as error:
                # The program ended.
                return json.dumps({"errorType": "Runtime.ExitError", "errorMessage": error.read().decode()})
            except URLError as error:
                if isinstance(error.reason, ConnectionRefusedError) and process.poll() is None:
                    return None
                raise

        try:
            text = until(f"{name} answers", 60, answer)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        log.seek(0)
        printed = log.read().decode(errors="replace")
    # A streamed answer is its head as JSON, eight zero bytes, and then its body.
    return json.loads(text.split("\0" * 8)[0]), printed


def fault(answer: Any) -> str | None:
    """Why this is no answer."""
    if not isinstance(answer, dict):
        return None
    if answer.get("statusCode", 200) >= 500:
        return f"{answer['statusCode']}: {answer.get('body')}"
    kind = f"{answer.get('errorType', '')} {answer.get('errorMessage', '')}".strip()
    return kind if kind.startswith(CRASHES) else None


def environments(emulator: Emulator, installed: Installation) -> dict[str, dict[str, str]]:
    """What each function has in its environment."""
    functions = emulator.client("lambda")

    def of(name: str) -> dict[str, str]:
        deployed = f"{installed.parameters['Deployment']}-{name}"
        told = functions.get_function_configuration(FunctionName=deployed)["Environment"]["Variables"]
        return emulator.environment | told

    return {name: of(name) for name in surfaces()}


def replay(secret: str, environments: dict[str, dict[str, str]], bootstraps: Path, rie: Path) -> int:
    """All of them; how many failed."""
    failed = 0
    for name, surface in sorted(surfaces().items()):
        event = json.loads((ROOT / "events" / f"{name}.json").read_text())
        if "httpMethod" in event:
            # It comes in by the front door.
            event["headers"]["x-slipway-origin"] = secret
            event["multiValueHeaders"]["x-slipway-origin"] = [secret]
        answer, printed = invoke(bootstraps / surface / "bootstrap", rie, name, environments[name], event)
        wrong = fault(answer)
        failed += wrong is not None
        times = ", ".join(f"{kind.lower()} {ms} ms" for kind, ms in TIMES.findall(printed))
        said = answer.get("statusCode", answer.get("errorType", "done")) if isinstance(answer, dict) else "done"
        print(f"{'FAILED' if wrong else 'ok':6}  {name:<20} {said!s:<20} {times}", flush=True)
        if wrong:
            print(f"        {wrong}\n{printed}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, meaning in [("sam", "SAM's program"), ("rie", "AWS's runtime interface emulator")]:
        parser.add_argument(f"--{name}", type=Path, required=True, help=meaning)
    parser.add_argument("--bootstraps", type=Path, required=True, help="the folder with SURFACE/bootstrap")
    given = parser.parse_args()
    end_in_order()
    with ExitStack() as ends:
        work = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="slipway-events-")))
        emulator = Emulator(work)
        ends.callback(emulator.stop)
        installed = Installation(emulator, ROOT, given.bootstraps.resolve(), given.sam, work)
        installed.deploy({"AgentUrl": "https://agent.example/slipway-agent", "AgentSha256": "0" * 64})
        bootstraps, told = given.bootstraps.resolve(), environments(emulator, installed)
        failed = replay(installed.origin_secret(), told, bootstraps, given.rie)
        failed += weigh(bootstraps, surfaces(), told)
    print(f"{failed} failed" if failed else "every event was answered, and no program is too heavy")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
