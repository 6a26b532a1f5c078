"""zerorpc, unchanged. It waits by itself, on the descriptors of its sockets."""

import pytest

pytest.importorskip("zerorpc", reason="zerorpc is not installed: `tox -e programs` does it")

# Each wait in them has a bound of its own.
pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def server(start, free_ports):
    endpoint = f"tcp://127.0.0.1:{free_ports[0]}"
    server = start("rpc_server.py", endpoint)
    server.endpoint = endpoint
    server.says("bound")
    return server


@pytest.mark.parametrize("what", ["call", "stream", "slow", "timeout", "exception", "many"])
def test_a_client_gets_what_it_asks_for(server, start, what):
    client = start("rpc_client.py", server.endpoint, what)
    assert client.ends() == 0, client.output
    assert "done" in client.output
    assert server.runs
    if what == "stream":
        # zerorpc says BUG when a message is there and it was not woken for it within a second. (Where it
        # waits for heartbeats, one a second, it says so by mistake, on pyzmq as well.)
        assert "BUG" not in client.output + server.output


def test_a_client_notices_that_its_server_is_gone(server, start):
    client = start("rpc_client.py", server.endpoint, "lost")
    client.says("waiting")
    server.kill()
    assert client.ends() == 0, client.output


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "gzmqhelper.monkey", "-m", "gevent.monkey"),
        ("-m", "gevent.monkey", "--module", "gzmqhelper.monkey"),
    ],
    ids=["zmq first", "gevent first"],
)
def test_it_runs_with_both_patches_in_either_order(server, start, command):
    client = start("rpc_client.py", server.endpoint, "call", command=command)
    assert client.ends() == 0, client.output
