"""A subscriber: a SUB socket that prints whatever the broadcast server sends.

    python examples/broadcast_server.py         # in one terminal
    python examples/subscriber.py               # in another, or in several; until Ctrl-C

It may be started before the server: ZeroMQ keeps trying to connect, and connects again whenever the
server comes back.
"""

import argparse
import sys
from itertools import islice

import gevent

import gzmqhelper as zmq


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Print what the broadcast server sends.")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:11331", help="the server (%(default)s)")
    parser.add_argument("--topic", default="", help="only messages that begin with this (all)")
    parser.add_argument("--count", type=int, help="end after so many messages")
    parser.add_argument("--seconds", type=float, help="end after so long")
    args = parser.parse_args()
    if any(value is not None and value <= 0 for value in (args.count, args.seconds)):
        parser.error("--count and --seconds must be more than 0")
    return args


def main() -> None:
    args = arguments()
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        # Without a subscription a SUB socket receives nothing; the empty one matches everything.
        subscriber.subscribe(args.topic)
        try:
            subscriber.connect(args.endpoint)
        except zmq.ZMQError as error:
            sys.exit(f"subscriber: {error}\n(an endpoint looks like this: tcp://127.0.0.1:11331)")
        print(f"listening to {args.endpoint}; Ctrl-C ends it", flush=True)
        received = 0
        # Either may end it: so many messages, or so many seconds, or neither.
        with gevent.Timeout(args.seconds, False):
            for message in islice(subscriber, args.count):
                received += 1
                print(f"received {received}: {message.decode(errors='replace')}", flush=True)
        if received == 0:
            print(f"nothing came from {args.endpoint}: is a server running there?", flush=True)


if __name__ == "__main__":
    # gevent would otherwise print a traceback of its own at Ctrl-C.
    gevent.get_hub().NOT_ERROR += (KeyboardInterrupt,)
    try:
        main()
    except KeyboardInterrupt:
        print("ended by Ctrl-C")
