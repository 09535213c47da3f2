"""A real S3 server on the loopback, that can be stopped and started again, and counts what it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

BUCKET = "runs"
Answer = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""What answers a request: a WSGI application."""


class Request(NamedTuple):
    """What was asked: the method (or a listing), the key (or the prefix of a listing), and the bytes that were sent."""

    operation: str
    key: str
    sent: int


class S3Server:
    """Moto's server with a bucket ``runs``; what it holds is this process's, and outlasts a stop.

    Attributes:
        requests: What was asked so far.
        delay_s: Seconds that every answer takes.
        instead: What answers in its place; None: itself.
    """

    def __init__(self) -> None:
        self._application = DomainDispatcherApplication(create_backend_app)
        self._server: BaseWSGIServer | None = None
        self._port = 0
        self.requests: list[Request] = []
        self.delay_s = 0.0
        self.instead: Answer | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables that send every client of S3 here."""
        return {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
        }

    @contextmanager
    def running(self) -> Iterator[S3Server]:
        """The server with its bucket, until the end."""
        self.start()
        try:
            names = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
            client = boto3.client("s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], **names)
            client.create_bucket(Bucket=BUCKET)
            self.requests.clear()
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Listen, at the port of the last time."""
        self._server = make_server("127.0.0.1", self._port, self._answer, True, request_handler=MotoRequestHandler)
        self._port = self._server.port
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        time.sleep(self.delay_s)
        self.requests.append(_request(environ))
        return (self.instead or self.answer)(environ, start_response)

    def answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Do what is asked."""
        return self._application(environ, start_response)


def _request(environ: dict[str, Any]) -> Request:
    method, query = environ["REQUEST_METHOD"].lower(), parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    key = environ["PATH_INFO"].removeprefix(f"/{BUCKET}").removeprefix("/")
    sent = environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH") or environ.get("CONTENT_LENGTH") or 0
    if "list-type" in query:
        return Request("list", query.get("prefix", [""])[0], int(sent))
    multipart = " part" if {"uploads", "uploadId"} & query.keys() else ""
    copied = " copy" if "HTTP_X_AMZ_COPY_SOURCE" in environ else ""
    return Request(f"{method}{multipart}{copied}", key, int(sent))
