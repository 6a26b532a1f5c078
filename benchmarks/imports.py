"""How long the import of a contender takes, with all that it needs: nothing else is imported before."""

import sys
import time

MODULES = {"gzmqhelper": "gzmqhelper", "zmq.green": "zmq.green", "zmq.asyncio": "zmq.asyncio", "pyzmq": "zmq"}

if __name__ == "__main__":
    name = MODULES[sys.argv[1]]
    began = time.perf_counter()
    __import__(name)
    took = time.perf_counter() - began
    version = sys.modules[name.partition(".")[0]].__version__
    print(f'{{"figures": {{"ms": {took * 1000}}}, "version": "{version}"}}')
