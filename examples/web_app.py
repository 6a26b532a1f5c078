"""A web application whose every request asks a ZeroMQ backend, hundreds of them at the same time.

    python examples/web_app.py                          # then: curl http://127.0.0.1:8080/hello
    python examples/web_app.py --port 0 --self-test     # 300 requests at once, and a summary

The backend takes a tenth of a second for an answer. Each request waits for its own in its own greenlet,
with a REQ socket of its own, so three hundred of them take little longer than one.
"""
# ruff: noqa: E402 - gevent patches the standard library before anything else imports it

from gevent import monkey

monkey.patch_all()

import argparse
import resource
import sys
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException

import gevent
from gevent.event import Event
from gevent.pool import Group
from gevent.pywsgi import WSGIServer

import gzmqhelper as zmq

BACKEND = "inproc://backend"  # tcp://... if the backend were a program of its own
THINKING = 0.1  # seconds
context = zmq.Context()


def application(environ, start_response):
    try:
        with context.socket(zmq.REQ) as ask:
            ask.connect(BACKEND)
            ask.send_string(environ["PATH_INFO"])
            status, body = "200 OK", ask.recv_string(timeout=5)
    except zmq.Again:
        status, body = "504 Gateway Timeout", "the backend did not answer within 5 s"
    except zmq.ZMQError as error:  # too many at once: it says which limit, and how to raise it
        status, body = "503 Service Unavailable", str(error)
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [body.encode(), b"\n"]


def backend(router: zmq.Socket, answers: Group) -> None:
    """Takes the questions, and gives each to a greenlet of its own."""
    while True:
        client, _, question = router.recv_multipart()
        answers.spawn(answer, router, client, question)


def answer(router: zmq.Socket, client: bytes, question: bytes) -> None:
    gevent.sleep(THINKING)
    router.send_multipart([client, b"", b"you asked for " + question])


def fetch(port: int, path: str) -> str:
    """What became of one request, in a few words."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode().strip()
    except (OSError, HTTPException) as error:
        return f"no answer: {error}"
    finally:
        connection.close()
    return "good" if body == f"you asked for {path}" else f"{response.status}: {body}"


def self_test(port: int, requests: int) -> int:
    """Fire all requests at once, print what became of them, and return the exit status."""
    began = time.monotonic()
    asking = [gevent.spawn(fetch, port, f"/{number}") for number in range(requests)]
    gevent.joinall(asking)
    seconds = time.monotonic() - began
    outcomes = Counter(one.value for one in asking)
    print(f"{requests} requests at once: {outcomes.pop('good', 0)} good answers in {seconds:.2f} s")
    print(f"(one after the other would have taken {requests * THINKING:.0f} s)")
    for outcome, times in outcomes.items():
        print(f"{times} times: {outcome}")
    return 1 if outcomes else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A web application with a ZeroMQ backend.")
    parser.add_argument("--port", type=int, default=8080, help="0 takes any free one (%(default)s)")
    parser.add_argument("--seconds", type=float, help="end after so long")
    parser.add_argument("--self-test", action="store_true", help="fire requests at itself, and end")
    parser.add_argument("--requests", type=int, default=300, help="how many of them (%(default)s)")
    args = parser.parse_args()
    if args.requests <= 0 or (args.seconds is not None and args.seconds <= 0):
        parser.error("--requests and --seconds must be more than 0")
    if not 0 <= args.port <= 65535:
        parser.error("--port must be between 0 and 65535")
    return args


def main() -> int:
    args = arguments()
    # Each request holds three descriptors (its connection, its socket, its wait), and the self-test's
    # own end a fourth; many systems allow 1024 until a program asks for more.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    server = WSGIServer(
        ("127.0.0.1", args.port), application, backlog=1024, log=None if args.self_test else "default"
    )
    try:
        server.start()
    except OSError as error:
        sys.exit(f"web_app: cannot listen: {error.strerror}; another port: --port 8081")
    router, answers = context.socket(zmq.ROUTER), Group()
    router.bind(BACKEND)
    answering = gevent.spawn(backend, router, answers)
    print(f"serving on http://127.0.0.1:{server.server_port}; Ctrl-C ends it", flush=True)
    try:
        if args.self_test:
            return self_test(server.server_port, args.requests)
        Event().wait(args.seconds)  # nobody sets it
        return 0
    finally:
        server.stop(timeout=1)
        answering.kill()
        answers.kill()
        context.destroy(linger=0)


if __name__ == "__main__":
    # gevent would otherwise print a traceback of its own at Ctrl-C.
    gevent.get_hub().NOT_ERROR += (KeyboardInterrupt,)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("ended by Ctrl-C")
