"""The installation: the real templates, packaged by SAM and deployed to the emulator.

What the emulator cannot do is left out here, and never in the templates. Each entry of `LEFT_OUT` and each function whose
name begins with `without` says what and why.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import yaml

from .emulator import REGION, Emulator

BUCKET = "lane-packages"
IMAGE = "/lane/image"
PLANE_URL = "https://gpus.example.com"
NESTED = "AWS::CloudFormation::Stack"
# Types that the emulator does not know, or takes without doing anything that the lane could use.
LEFT_OUT = {
    NESTED: "the emulator does not transform nested stacks: each is deployed as a stack of its own",
    "AWS::CloudFront::Distribution": "the emulator's answers 502: the lane's own edge stands in",
    "AWS::CloudFront::Function": "it belongs to the distribution",
    "AWS::EKS::AccessEntry": "there is no cluster",
}


def without_streams(body: dict[str, Any]) -> None:
    """The emulator answers 500 where an answer is to be streamed: functions are called in the ordinary way."""
    for item in body["paths"].values():
        for operation in item.values():
            integration = operation["x-amazon-apigateway-integration"]
            if integration.pop("responseTransferMode", None):
                uri = integration["uri"]["Fn::Sub"]
                uri = uri.replace("path/2021-11-15", "path/2015-03-31")
                integration["uri"]["Fn::Sub"] = uri.replace("response-streaming-invocations", "invocations")


def without_what_is_left_out(template: dict[str, Any]) -> None:
    """Takes those resources out, and the outputs that are made of them."""
    resources = template["Resources"]
    gone = {name for name, resource in resources.items() if resource["Type"] in LEFT_OUT}
    for name in gone:
        del resources[name]
    outputs = template.get("Outputs", {})
    for name in [name for name, output in outputs.items() if any(f"${{{one}." in json.dumps(output) for one in gone)]:
        del outputs[name]


class Installation:
    """The stacks of one deployment."""

    def __init__(self, emulator: Emulator, root: Path, bootstraps: Path, sam: Path, work: Path) -> None:
        self.emulator = emulator
        self.sam = sam
        self.copy = work / "copy"
        self.parameters: dict[str, str] = {}
        self.outputs: dict[str, str] = {}
        self.image = ""
        (self.copy / "target").mkdir(parents=True)
        shutil.copy(root / "template.yaml", self.copy)
        shutil.copytree(root / "infra" / "stacks", self.copy / "infra" / "stacks")
        shutil.copy(root / "infra" / "launch.asl.json", self.copy / "infra")
        (self.copy / "target" / "lambda").symlink_to(bootstraps)
        body = json.loads((root / "infra" / "api.json").read_text())
        without_streams(body)
        (self.copy / "infra" / "api.json").write_text(json.dumps(body))

    def package(self) -> dict[str, Any]:
        """Uploads programs and templates, as `sam deploy` does first, and gives the root template that results."""
        self.emulator.client("s3").create_bucket(Bucket=BUCKET)
        environment = {**os.environ, **self.emulator.credentials(), "SAM_CLI_TELEMETRY": "0"}
        command = [self.sam, "package", "--template-file", "template.yaml", "--s3-bucket", BUCKET]
        command += ["--output-template-file", "packaged.yaml", "--no-progressbar"]
        done = subprocess.run(command, cwd=self.copy, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"sam package: {done.stdout}{done.stderr}")
        packaged: dict[str, Any] = yaml.safe_load((self.copy / "packaged.yaml").read_text())
        return packaged

    def network(self) -> dict[str, str]:
        """What an account has before anything is installed: a network, and the image of machines that AWS publishes."""
        ec2 = self.emulator.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        zone = f"{REGION}a"
        made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone=zone)
        self.image = ec2.describe_images()["Images"][0]["ImageId"]
        # Names below /aws are AWS's own, so that the default's cannot be made.
        self.emulator.client("ssm").put_parameter(Name=IMAGE, Value=self.image, Type="String")
        return {"Vpc": vpc, "Subnets": f"{zone}={made['Subnet']['SubnetId']}", "MachineImage": IMAGE}

    def deploy(self, parameters: dict[str, str]) -> None:
        """The root, then each nested stack with what the root would have given it."""
        parameters = self.network() | parameters
        root = self.package()
        nested = {name: one["Properties"] for name, one in root["Resources"].items() if one["Type"] == NESTED}
        declared = root["Parameters"].items()
        self.parameters = {name: str(one["Default"]) for name, one in declared if "Default" in one} | parameters
        without_what_is_left_out(root)
        self.outputs = self.create(self.parameters["Deployment"], root, self.parameters)
        # The distribution's, which is left out.
        self.outputs["PlaneUrl"] = PLANE_URL
        known = self.parameters | self.outputs | {"MachineImage": self.image}
        for name, properties in nested.items():
            key = urlparse(properties["TemplateURL"]).path.rsplit("/", 1)[-1]
            text = self.emulator.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
            template = yaml.safe_load(text)
            without_what_is_left_out(template)
            given = {parameter: known.get(parameter, "") for parameter in properties["Parameters"]}
            self.create(f"{self.parameters['Deployment']}-{name}", template, given)

    def origin_secret(self) -> str:
        """What the front door adds to each request."""
        held = self.emulator.client("secretsmanager").get_secret_value(SecretId=self.outputs["OriginSecretArn"])
        return str(held["SecretString"])

    def create(self, name: str, template: dict[str, Any], parameters: dict[str, str]) -> dict[str, str]:
        """One stack; its outputs."""
        formation = self.emulator.client("cloudformation")
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        formation.create_stack(
            StackName=name,
            TemplateBody=json.dumps(template, default=str),
            Parameters=given,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        try:
            formation.get_waiter("stack_create_complete").wait(
                StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
            )
        except Exception as error:
            events = formation.describe_stack_events(StackName=name)["StackEvents"]
            failed = [event for event in events if "FAILED" in event["ResourceStatus"]]
            why = [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in failed]
            raise RuntimeError(f"{name}: {why}") from error
        stack = formation.describe_stacks(StackName=name)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
