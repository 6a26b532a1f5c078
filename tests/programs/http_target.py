"""A small HTTP server that Locust asks. Argument: the port."""

import sys

from gevent.pywsgi import WSGIServer


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


server = WSGIServer(("127.0.0.1", int(sys.argv[1])), application, log=None)
server.start()
print("listening", flush=True)
server.serve_forever()
