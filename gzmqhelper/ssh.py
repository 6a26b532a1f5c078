"""Tunnels through ssh, for sockets that are to be connected to what only another machine reaches.

A whole feature on top of `Socket.connect`; users call it. The tunnel is the program ``ssh``, which
asks for a password, if it must, on the terminal; other greenlets run until the tunnel stands.
"""

from __future__ import annotations

from typing import Any

from gevent import socket as gsocket
from gevent import subprocess

__all__ = [
    "open_tunnel",
    "openssh_tunnel",
    "select_random_ports",
    "try_passwordless_ssh",
    "tunnel_connection",
]


def select_random_ports(n: int) -> list[int]:
    """n different tcp ports that nobody uses at this moment."""
    sockets = [gsocket.socket() for _ in range(n)]
    try:
        for sock in sockets:
            sock.bind(("", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def tunnel_connection(
    socket: Any,
    addr: str,
    server: str,
    keyfile: str | None = None,
    password: str | None = None,
    paramiko: bool | None = None,
    timeout: int = 60,
) -> int:
    """Connect a socket to an endpoint as the server sees it; returns what `openssh_tunnel` returns."""
    url, tunnel = open_tunnel(addr, server, keyfile, password, paramiko, timeout)
    socket.connect(url)
    return tunnel


def open_tunnel(
    addr: str,
    server: str,
    keyfile: str | None = None,
    password: str | None = None,
    paramiko: bool | None = None,
    timeout: int = 60,
) -> tuple[str, int]:
    """Open a tunnel to a tcp endpoint: the endpoint of its end here, and what `openssh_tunnel` returns.

    paramiko: NotImplementedError if true, as only ssh is used.
    """
    if paramiko:
        raise NotImplementedError("gzmqhelper tunnels with the program ssh, not with paramiko")
    transport, _, address = addr.partition("://")
    host, _, port = address.rpartition(":")
    if transport != "tcp" or not host or not port.isdigit():
        raise ValueError(f"only an endpoint as tcp://host:port can be tunnelled, not {addr!r}")
    (local,) = select_random_ports(1)
    tunnel = openssh_tunnel(local, int(port), server, host, keyfile, password, timeout)
    return f"tcp://127.0.0.1:{local}", tunnel


def openssh_tunnel(
    lport: int,
    rport: int,
    server: str,
    remoteip: str = "127.0.0.1",
    keyfile: str | None = None,
    password: str | None = None,
    timeout: int = 60,
) -> int:
    """Let ssh carry local port lport to remoteip:rport, as the server ("user@host:port") sees it.

    Returns 0. ssh goes to the background once the tunnel stands, and ends when nobody has used it
    for timeout seconds. Raises OSError if there is no ssh, `subprocess.CalledProcessError` if it
    fails, NotImplementedError for a password: ssh takes it from the terminal, or from an agent.
    """
    if password is not None:
        raise NotImplementedError("ssh reads passwords from the terminal: use a key, or ssh-agent")
    forward = f"127.0.0.1:{lport}:{remoteip}:{rport}"
    options = ["-f", "-o", "ExitOnForwardFailure=yes", "-L", forward]
    subprocess.check_call([*_ssh(server, keyfile, options), "sleep", str(timeout)])
    return 0


def try_passwordless_ssh(server: str, keyfile: str | None = None, paramiko: bool | None = None) -> bool:
    """Whether the server lets us in without a password."""
    command = [*_ssh(server, keyfile, ["-o", "BatchMode=yes"]), "exit"]
    return subprocess.call(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def _ssh(server: str, keyfile: str | None, options: list[str]) -> list[str]:
    host, _, port = server.partition(":")
    return [
        "ssh",
        *(["-i", keyfile] if keyfile else []),
        *(["-p", port] if port else []),
        *options,
        "--",
        host,
    ]
