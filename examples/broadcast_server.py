"""A broadcast server: a PUB socket that sends a random number every second, to whoever listens.

    python examples/broadcast_server.py         # until Ctrl-C
    python examples/subscriber.py               # in another terminal; as many as you like

It does not know its subscribers: they come and go, and with none of them the numbers go nowhere.
"""

import argparse
import random
import sys
from itertools import count, islice

import gevent

import gzmqhelper as zmq


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Broadcast a random number every second.")
    parser.add_argument("--endpoint", default="tcp://*:11331", help="where to listen (%(default)s)")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two numbers")
    parser.add_argument("--count", type=int, help="end after so many numbers")
    parser.add_argument("--seconds", type=float, help="end after so long")
    args = parser.parse_args()
    if any(value is not None and value <= 0 for value in (args.interval, args.count, args.seconds)):
        parser.error("--interval, --count and --seconds must be more than 0")
    return args


def broadcast(publisher: zmq.Socket, interval: float, how_many: int | None) -> None:
    for turn in islice(count(1), how_many):
        number = random.randrange(100_000)
        publisher.send_string(str(number))
        print(f"broadcast {turn}: {number}", flush=True)
        if turn != how_many:
            gevent.sleep(interval)


def main() -> None:
    args = arguments()
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        # At the end, messages still on their way to a slow subscriber get half a second.
        publisher.linger = 500
        try:
            publisher.bind(args.endpoint)
        except zmq.ZMQError as error:
            sys.exit(f"broadcast_server: {error}\n(another address: --endpoint 'tcp://*:11332')")
        print(f"broadcasting on {publisher.last_endpoint.decode()}; Ctrl-C ends it", flush=True)
        with gevent.Timeout(args.seconds, False):
            broadcast(publisher, args.interval, args.count)


if __name__ == "__main__":
    # gevent would otherwise print a traceback of its own at Ctrl-C.
    gevent.get_hub().NOT_ERROR += (KeyboardInterrupt,)
    try:
        main()
    except KeyboardInterrupt:
        print("ended by Ctrl-C")
