"""Somebody who uses the API."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from .emulator import ACCOUNT, Emulator

ROLE = "Researcher"
TENANT = "research"
# Who may log in: the emulator's STS knows the callers of roles that were assumed there.
LOGIN_TABLE = [{"account": ACCOUNT, "role": ROLE, "tenant": TENANT, "sessions_are_people": True}]


class Refused(Exception):
    """The API did not answer with a success."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status


class Client:
    """One person, who logs in first."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = ""

    def call(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(self.url + path, data, headers, method=method), timeout=60) as answer:
                said = answer.read().decode()
        except HTTPError as error:
            raise Refused(error.code, error.read().decode()) from error
        return json.loads(said) if said.startswith(("{", "[")) else said

    def log_in(self, emulator: Emulator, person: str) -> str:
        """With credentials of a role that this person assumed; the ARN that the plane saw."""
        arn = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"
        given = emulator.client("sts").assume_role(RoleArn=arn, RoleSessionName=person)["Credentials"]
        answer = self.call(
            "POST",
            "/v1/auth/aws-login",
            {
                "aws_access_key_id": given["AccessKeyId"],
                "aws_secret_access_key": given["SecretAccessKey"],
                "aws_session_token": given["SessionToken"],
            },
        )
        self.key = answer["api_key"]
        return str(answer["aws_arn"])
