"""Tunnels through ssh, with a program in its place that says what it was asked."""

import subprocess

import pytest

import gzmqhelper as zmq
from gzmqhelper import ssh


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What ssh was asked, argument by argument."""
    log = tmp_path / "asked"
    fake = tmp_path / "ssh"
    fake.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{log}\nsleep 0.2\ncase "$*" in *wrong*) exit 255;; esac\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return lambda: log.read_text().splitlines()


def test_ports_are_free_and_different():
    ports = ssh.select_random_ports(20)
    assert len(set(ports)) == 20 and all(0 < port < 65536 for port in ports)


def test_a_socket_is_connected_through_a_tunnel_while_others_run(asked, sockets, ticker):
    sock = sockets(zmq.PUSH)
    ssh.tunnel_connection(sock, "tcp://inner:5555", "me@gate:2222", keyfile="key", timeout=9)
    options = asked()
    here = sock.last_endpoint.decode().rpartition(":")[2]
    assert f"127.0.0.1:{here}:inner:5555" in options
    assert options[-4:] == ["--", "me@gate", "sleep", "9"]
    assert options[options.index("-p") + 1] == "2222" and options[options.index("-i") + 1] == "key"
    assert "-f" in options


def test_a_tunnel_that_fails_is_an_error(asked):
    with pytest.raises(subprocess.CalledProcessError):
        ssh.open_tunnel("tcp://inner:5555", "wrong")


@pytest.mark.parametrize("endpoint", ["ipc:///x", "tcp://inner", "tcp://inner:x"])
def test_only_tcp_endpoints_are_tunnelled(endpoint):
    with pytest.raises(ValueError, match=endpoint):
        ssh.open_tunnel(endpoint, "gate")


def test_what_it_cannot_do_it_says():
    with pytest.raises(NotImplementedError, match="paramiko"):
        ssh.open_tunnel("tcp://inner:5555", "gate", paramiko=True)
    with pytest.raises(NotImplementedError, match="password"):
        ssh.open_tunnel("tcp://inner:5555", "gate", password="secret")


def test_it_tells_whether_a_password_is_needed(asked):
    assert ssh.try_passwordless_ssh("gate") is True
    assert "BatchMode=yes" in asked()
    assert ssh.try_passwordless_ssh("wrong") is False
