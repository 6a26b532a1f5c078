"""What `make demo` runs: a broadcast server, three subscribers and a ticker, for ten seconds.

    python examples/demo.py --seconds 10

All are greenlets of one thread. The subscribers spend nearly all their time in `recv`, a call that
blocks; the ticker counts every hundredth of a second, and shows that nobody keeps it from running.
"""

import argparse
import random
import sys
import time

import gevent

import gzmqhelper as zmq

BEGAN = time.monotonic()
SUBSCRIBERS = 3
TICK = 0.01  # seconds
NOTICEABLE = 0.25  # seconds


def say(who: str, what: str) -> None:
    print(f"{time.monotonic() - BEGAN:5.2f} s  {who:<13} {what}", flush=True)


def serve(publisher: zmq.Socket, interval: float) -> None:
    gevent.sleep(0.2)  # what is sent before a subscription has arrived, that subscriber misses
    while True:
        number = random.randrange(100_000)
        say("server", f"broadcasts {number}")
        publisher.send_string(str(number))
        gevent.sleep(interval)


def subscribe(name: str, subscriber: zmq.Socket, seen: list[str]) -> None:
    for message in subscriber:
        seen.append(message.decode())
        say(name, f"receives   {seen[-1]}")


class Ticker:
    def __init__(self) -> None:
        self.ticks = 0
        self.longest = 0.0

    def run(self) -> None:
        last = time.monotonic()
        while True:
            gevent.sleep(TICK)
            now = time.monotonic()
            self.longest = max(self.longest, now - last)
            self.ticks += 1
            last = now


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Show ZeroMQ and gevent at work together.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long (%(default)s)")
    parser.add_argument("--interval", type=float, default=1.0, help="between two broadcasts (%(default)s)")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:*", help="for the server (any free port)")
    args = parser.parse_args()
    if args.seconds <= 0 or args.interval <= 0:
        parser.error("--seconds and --interval must be more than 0")
    return args


def main() -> int:
    args = arguments()
    seen: dict[str, list[str]] = {f"subscriber {n}": [] for n in range(1, SUBSCRIBERS + 1)}
    ticker = Ticker()
    with zmq.Context() as context:
        context.linger = 0
        publisher = context.socket(zmq.PUB)
        try:
            publisher.bind(args.endpoint)
        except zmq.ZMQError as error:
            sys.exit(f"demo: {error}\n(without --endpoint it takes any free port)")
        endpoint = publisher.last_endpoint.decode()
        say("demo", f"a server on {endpoint}, {SUBSCRIBERS} subscribers, and a ticker, in one thread")
        greenlets = []
        try:
            greenlets += [gevent.spawn(ticker.run), gevent.spawn(serve, publisher, args.interval)]
            for name, numbers in seen.items():
                subscriber = context.socket(zmq.SUB)
                subscriber.subscribe("")
                subscriber.connect(endpoint)
                greenlets.append(gevent.spawn(subscribe, name, subscriber, numbers))
            gevent.sleep(args.seconds)
        finally:
            gevent.killall(greenlets)

    print()
    for name, numbers in seen.items():
        print(f"{name} received {len(numbers)} numbers")
    longest = f"its longest gap was {ticker.longest * 1000:.1f} ms (asked for {TICK * 1000:.0f})"
    print(f"the ticker ticked {ticker.ticks} times; {longest}")
    if ticker.longest > NOTICEABLE:
        print("(is this machine busy with something else? a gap that long is not what this library does)")
    if silent := [name for name, numbers in seen.items() if not numbers]:
        print(f"demo: FAILED: {' and '.join(silent)} received nothing in {args.seconds:g} s", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # gevent would otherwise print a traceback of its own at Ctrl-C.
    gevent.get_hub().NOT_ERROR += (KeyboardInterrupt,)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("ended by Ctrl-C")
