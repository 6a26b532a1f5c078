"""`Authenticator`: what it allows whom, and the answer to one of libzmq's questions.

libzmq asks before it lets a peer in, of whichever REP socket of the context is bound to
``inproc://zeromq.zap.01``: a message with the peer's address and credentials (ZeroMQ's RFC 27). The
one here answers what it is handed; `green.py` has the greenlet that hands it.
"""

from __future__ import annotations

import hmac
import inspect
import logging
import os
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from .. import errors
from .._addresses import ZAP
from .._context import Context
from .._socket import Socket
from ..constants import REP
from ..utils import z85
from .certs import load_certificates

__all__ = ["CURVE_ALLOW_ANY", "Authenticator"]

CURVE_ALLOW_ANY = "*"
VERSION: Final = b"1.0"

_ANY: Final = "*"


class Authenticator:
    """Decides who may connect to the sockets of a context, and answers libzmq when it is told to.

    Its subclasses answer by themselves; see `GreenAuthenticator`. With this one, between `start`
    and `stop`, hand to `handle_zap_message` what ``zap_socket`` receives.

    A socket asks if it is a server of PLAIN (``plain_server = 1``) or CURVE (``curve_server = 1``), or
    has a ``zap_domain``; the others let everybody in. As long as nothing is configured, those who come
    with PLAIN or CURVE are turned away, others let in. A socket's domain is ``zap_domain``; what is
    configured for "*" holds for all domains without a configuration of their own.

    context: a `Context`; None for `Context.instance`. encoding: of names and passwords. log: a
    logger; None for "zmq.auth". May be configured at any time; from the OS thread that it runs in.
    """

    def __init__(self, context: Context | None = None, encoding: str = "utf-8", log: Any = None) -> None:
        self.context: Any = context or Context.instance()
        self.encoding = encoding
        self.allow_any = False
        self.credentials_providers: dict[str, Any] = {}
        self.zap_socket: Any = None
        self._allowed: set[str] = set()
        self._denied: set[str] = set()
        self.passwords: dict[str, dict[str, str]] = {}  # by domain, then by user
        self.certs: dict[str, dict[bytes, Any]] = {}  # by domain, then by public key in Z85
        self.log = log or logging.getLogger("zmq.auth")

    # ---- its life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the socket that libzmq asks, and bind it.

        Raises `ZMQError`: EADDRINUSE if the context has an authenticator that runs already.
        """
        socket = self.context.socket(REP, socket_class=Socket)
        try:
            socket.linger = 1
            socket.bind(ZAP)
        except BaseException:
            socket.close()
            raise
        self.zap_socket = socket
        self.log.debug("Starting")

    def stop(self) -> None:
        """Close the socket that libzmq asks. Safe to say twice; `start` works again afterwards.

        Whoever connects from now on to a socket that would ask is kept waiting, or let in where it
        only has a ``zap_domain``.
        """
        socket, self.zap_socket = self.zap_socket, None
        if socket is None:
            return
        try:
            # After a close alone libzmq takes a while to give the endpoint up.
            socket.unbind(ZAP)
        except errors.ZMQError:
            pass  # closed already, or its context has ended
        finally:
            socket.close()

    # ---- what it allows whom ---------------------------------------------------------------------

    def allow(self, *addresses: str) -> None:
        """Turn away whoever does not come from one of these IP addresses, or from one allowed before.

        Those who do are let in, or if they come with PLAIN or CURVE looked at further. Raises
        ValueError after `deny`.
        """
        if self._denied:
            raise ValueError("Only use allow or deny, not both")
        self.log.debug("Allowing %s", ",".join(addresses))
        self._allowed.update(addresses)

    def deny(self, *addresses: str) -> None:
        """Turn away whoever comes from one of these IP addresses. Raises ValueError after `allow`."""
        if self._allowed:
            raise ValueError("Only use allow or deny, not both")
        self.log.debug("Denying %s", ",".join(addresses))
        self._denied.update(addresses)

    def configure_plain(self, domain: str = "*", passwords: dict[str, str] | None = None) -> None:
        """Let in who knows one of these passwords, by user, in a domain. None changes nothing."""
        if passwords:
            self.passwords[domain] = passwords
        self.log.debug("Configure plain: %s", domain)

    def configure_curve(self, domain: str = "*", location: str | os.PathLike[str] = ".") -> None:
        """Let in, in a domain, who has the secret key of one of the certificates in a folder.

        location: the folder, of files ``*.key``, which are read now; call this again when they have
        changed. Or `CURVE_ALLOW_ANY`: whoever has any key, in any domain. A folder that cannot be
        read is logged, and changes nothing.
        """
        self.log.debug("Configure curve: %s[%s]", domain, location)
        if location == CURVE_ALLOW_ANY:
            self.allow_any = True
            return
        try:
            self.certs[domain] = load_certificates(location)
            self.allow_any = False
        except Exception as e:
            self.log.error("Failed to load CURVE certs from %s: %s", location, e)

    def configure_curve_callback(self, domain: str = "*", credentials_provider: Any = None) -> None:
        """Let in, in a domain, those of whose keys ``credentials_provider.callback`` says so.

        It is called with the domain ("*" for a socket that has none) and the key, bytes of Z85, and
        answers True or False, or with an awaitable that does. It may wait as greenlets do. From then
        on the folders of `configure_curve` are not looked at.
        """
        self.allow_any = False
        if credentials_provider is None:
            self.log.error("None credentials_provider provided for domain:%s", domain)
        else:
            self.credentials_providers[domain] = credentials_provider

    def curve_user_id(self, client_public_key: bytes) -> str:
        """The ``User-Id`` of messages from who has this key, 32 bytes; by default the key in Z85.

        To be overridden, or replaced in the instance.
        """
        return z85.encode(client_public_key).decode("ascii")

    def configure_gssapi(self, domain: str = "*", location: str | None = None) -> None:
        """Nothing: whom GSSAPI lets in is let in."""

    # ---- the answer ------------------------------------------------------------------------------

    async def handle_zap_message(self, msg: Sequence[bytes]) -> None:
        """Answer one question, on ``zap_socket``. msg: the parts that it received."""
        if len(msg) < 6:
            self.log.error("Invalid ZAP message, not enough frames: %r", msg)
            if len(msg) < 2:
                self.log.error("Not enough information to reply")
            else:
                self._send_zap_reply(msg[1], b"400", b"Not enough frames")
            return
        version, request_id, domain_, address_, identity, mechanism = msg[:6]
        if version != VERSION:
            self.log.error("Invalid ZAP version: %r", version)
            self._send_zap_reply(request_id, b"400", b"Invalid version")
            return
        domain = domain_.decode(self.encoding, "replace")
        address = address_.decode(self.encoding, "replace")
        asked = (
            f"{mechanism.decode(errors='replace')} domain={domain!r} address={address} identity={identity!r}"
        )
        allowed, reason, user = self._judge_address(address), b"Address denied", "anonymous"
        if allowed is False and self._allowed:
            reason = b"Address not allowed"
        if allowed is not False:
            allowed, reason, user = await self._judge(mechanism, domain, list(msg[6:]), bool(allowed))
        self.log.debug("%s %s: %s", "ALLOWED" if allowed else "DENIED", asked, reason.decode())
        if allowed:
            self._send_zap_reply(request_id, b"200", b"OK", user)
        else:
            self._send_zap_reply(request_id, b"400", reason)

    def _judge_address(self, address: str) -> bool | None:
        """Whether it is let in (or looked at further); None if addresses do not matter."""
        if self._allowed:
            return address in self._allowed
        if self._denied:
            return address not in self._denied
        return None

    async def _judge(
        self, mechanism: bytes, domain: str, credentials: list[bytes], address_allowed: bool
    ) -> tuple[bool, bytes, str]:
        """Whether credentials are good, the reason if not, and the User-Id."""
        user = "anonymous"
        wanted = {b"PLAIN": 2, b"CURVE": 1, b"GSSAPI": 1}.get(mechanism)
        if wanted is None:
            if mechanism == b"NULL" or address_allowed:
                return True, b"OK", user
            return False, b"NO ACCESS", user
        if len(credentials) != wanted:
            self.log.error("Invalid %s credentials: %d frames", mechanism.decode(), len(credentials))
            return False, b"Invalid credentials", user
        if mechanism == b"PLAIN":
            user, password = (part.decode(self.encoding, "replace") for part in credentials)
            return *self._authenticate_plain(domain, user, password), user
        if mechanism == b"CURVE":
            allowed, reason = await self._authenticate_curve(domain, credentials[0])
            return allowed, reason, self.curve_user_id(credentials[0]) if allowed else user
        user = credentials[0].decode("utf8", "replace")
        return *self._authenticate_gssapi(domain, user), user

    def _authenticate_plain(self, domain: str, username: str, password: str) -> tuple[bool, bytes]:
        if not self.passwords:
            return False, b"No passwords defined"
        known = self.passwords.get(domain, self.passwords.get(_ANY))
        if known is None:
            return False, b"Invalid domain"
        if username not in known:
            return False, b"Invalid username"
        # In a time that does not tell how much of it was right.
        if not hmac.compare_digest(known[username].encode(), password.encode()):
            return False, b"Invalid password"
        return True, b"OK"

    async def _authenticate_curve(self, domain: str, client_key: bytes) -> tuple[bool, bytes]:
        if self.allow_any:
            return True, b"OK"
        key = z85.encode(client_key)
        known: Any
        if self.credentials_providers:
            known = self.credentials_providers.get(domain, self.credentials_providers.get(_ANY))
            if known is None:
                return False, b"Unknown domain"
            allowed = known.callback(domain or _ANY, key)
            if inspect.isawaitable(allowed):
                allowed = await self._result_of(allowed)
        else:
            known = self.certs.get(domain, self.certs.get(_ANY))
            if known is None:
                return False, b"Unknown domain"
            allowed = known.get(key)
        return (True, b"OK") if allowed else (False, b"Unknown key")

    async def _result_of(self, awaitable: Awaitable[Any]) -> Any:
        return await awaitable

    def _authenticate_gssapi(self, domain: str, principal: str) -> tuple[bool, bytes]:
        return True, b"OK"

    def _send_zap_reply(
        self,
        request_id: bytes,
        status_code: bytes,
        status_text: bytes,
        user_id: str | bytes = "anonymous",
    ) -> None:
        if status_code != b"200":
            user_id = b""
        elif isinstance(user_id, str):
            user_id = user_id.encode(self.encoding, "replace")
        metadata = b""
        self.zap_socket.send_multipart([VERSION, request_id, status_code, status_text, user_id, metadata])
