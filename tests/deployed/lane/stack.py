"""ministack, and the one answer that it lacks: the user data of a machine (it answers an empty one, and keeps it)."""

from __future__ import annotations

import sys
from typing import Any

from ministack.app import main
from ministack.services import ec2

described = ec2._ACTION_MAP["DescribeInstanceAttribute"]


def describe(parameters: dict[str, Any]) -> Any:
    """The user data from where it is kept; everything else as ever."""
    instance = ec2._instances.get(ec2._p(parameters, "InstanceId"))
    if ec2._p(parameters, "Attribute") != "userData" or not instance:
        return described(parameters)
    # In base64, as it came: nothing in it is to be escaped.
    said = f"<instanceId>{instance['InstanceId']}</instanceId><userData><value>{instance['UserData']}</value></userData>"
    return ec2._xml(200, "DescribeInstanceAttributeResponse", said)


ec2._ACTION_MAP["DescribeInstanceAttribute"] = describe
sys.exit(main())
