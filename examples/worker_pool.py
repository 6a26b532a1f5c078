"""A pool of workers: greenlets that all wait on one PULL socket, so the next free one gets the next job.

    python examples/worker_pool.py --count 2000 --workers 50

The jobs are numbers, the results their squares; each takes some milliseconds of waiting, as asking a
database would. Fifty workers wait for fifty jobs at the same time, so it takes a fiftieth of the time.
The progress bar is tqdm (pip install tqdm); it is shown on a terminal.
"""

import argparse
import random
import sys
import time
from collections import Counter

import gevent
from gevent.pool import Pool

import gzmqhelper as zmq

try:
    from tqdm import tqdm
except ImportError:
    sys.exit("worker_pool: the progress bar needs tqdm; please run: pip install tqdm")

JOB = 0.01  # seconds, on average


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Square numbers in a pool of greenlets.")
    parser.add_argument("--count", type=int, default=1000, help="how many jobs (%(default)s)")
    parser.add_argument("--workers", type=int, default=20, help="how many greenlets (%(default)s)")
    parser.add_argument("--seconds", type=float, help="end after so long, finished or not")
    args = parser.parse_args()
    if any(value is not None and value <= 0 for value in (args.count, args.workers, args.seconds)):
        parser.error("--count, --workers and --seconds must be more than 0")
    return args


def work(name: int, jobs: zmq.Socket, results: zmq.Socket) -> None:
    """A worker. Both sockets are shared by all workers; each message reaches one of them."""
    for job in jobs:  # ends when the socket is closed
        number = int(job)
        gevent.sleep(random.uniform(0.5, 1.5) * JOB)
        results.send_json([name, number, number * number])


def feed(jobs: zmq.Socket, count: int) -> None:
    for number in range(count):
        jobs.send_string(str(number))  # waits when a thousand jobs are waiting already


def main() -> None:
    args = arguments()
    print(f"{args.count} jobs for {args.workers} workers; Ctrl-C ends it", flush=True)
    done: Counter[int] = Counter()
    began = time.monotonic()
    with zmq.Context() as context:
        context.linger = 0
        jobs_in, jobs_out = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        results_in, results_out = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        # The workers could as well sit in other processes, on other machines: with tcp:// here.
        jobs_in.bind("inproc://jobs")
        jobs_out.connect("inproc://jobs")
        results_out.bind("inproc://results")
        results_in.connect("inproc://results")

        pool, feeder = Pool(args.workers), gevent.Greenlet(feed, jobs_in, args.count)
        try:
            for name in range(args.workers):
                pool.spawn(work, name, jobs_out, results_in)
            feeder.start()
            with gevent.Timeout(args.seconds, False):
                # disable=None: no bar where the output is not a terminal.
                for _ in tqdm(range(args.count), unit=" jobs", disable=None):
                    name, number, square = results_out.recv_json()
                    assert square == number * number
                    done[name] += 1
        finally:
            feeder.kill()
            jobs_out.close()  # the workers' loops end
            pool.join()
    seconds = time.monotonic() - began
    print(f"{done.total()} of {args.count} jobs done by {len(done)} workers in {seconds:.2f} s")
    print(f"(one worker would have taken about {done.total() * JOB:.0f} s)")


if __name__ == "__main__":
    # gevent would otherwise print a traceback of its own at Ctrl-C.
    gevent.get_hub().NOT_ERROR += (KeyboardInterrupt,)
    try:
        main()
    except KeyboardInterrupt:
        print("ended by Ctrl-C")
