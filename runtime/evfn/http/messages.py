"""Requests and answers as values, and who turns the ones into the others."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is decoded, absolute, and without dot segments; `headers` have lower-case names."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """`headers` come beside those that every answer has. To HEAD the server sends no body."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def json(cls, value: Any, status: int = HTTPStatus.OK) -> "Response":
        """A JSON body."""
        return cls(status, json.dumps(value).encode() + b"\n")


class Handler(Protocol):
    async def handle(self, request: Request) -> Response:
        """Answer it. What it raises becomes a 500, and is reported."""


def problem(status: int, detail: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """An error as RFC 9457 has it."""
    body = {"title": HTTPStatus(status).phrase, "status": int(status), "detail": detail}
    return Response(status, json.dumps(body).encode() + b"\n", "application/problem+json", headers)
