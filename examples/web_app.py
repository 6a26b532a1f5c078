"""A web application whose every request asks a ZeroMQ backend, hundreds of them at the same time.

    python examples/web_app.py                          # then: curl http://127.0.0.1:8080/hello
    python examples/web_app.py --port 0 --self-test     # 300 requests at once, and a summary

The backend takes a tenth of a second for an answer. Each request waits for its own in its own greenlet,
with a REQ socket of its own, so three hundred of them take little longer than one.
"""
# ruff: noqa: E402 - gevent wants the standard library patched before others import it

from gevent import monkey

monkey.patch_all()

import argparse
import resource
import sys
import time
import urllib.request

import gevent
from gevent.pywsgi import WSGIServer

import gzmqhelper as zmq

BACKEND = "inproc://backend"  # tcp://... if it were a program of its own
context = zmq.Context(linger=0) if False else zmq.Context()


def backend(router: zmq.Socket) -> None:
    """Takes the questions, and gives each to a greenlet of its own."""
    while True:
        client, _, question = router.recv_multipart()
        gevent.spawn(answer, router, client, question)


def answer(router: zmq.Socket, client: bytes, question: bytes) -> None:
    gevent.sleep(0.1)  # thinks
    router.send_multipart([client, b"", b"you asked for " + question])


def application(environ, start_response):
    try:
        with context.socket(zmq.REQ) as ask:
            ask.connect(BACKEND)
            ask.send_string(environ["PATH_INFO"])
            reply = ask.recv(timeout=5)
    except zmq.Again:
        start_response("504 Gateway Timeout", [("Content-Type", "text/plain")])
        return [b"the backend did not answer within 5 s\n"]
    except zmq.ZMQError as error:  # too many at once: it says which limit, and how to raise it
        start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
        return [f"{error}\n".encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [reply, b"\n"]
