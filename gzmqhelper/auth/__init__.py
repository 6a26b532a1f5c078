"""Who may connect: certificates, and authenticators that answer libzmq's questions (ZAP, ZeroMQ's RFC 27).

certs                the files that CURVE's keys are kept in
base                 Authenticator: what it allows, and the answer to one question
green                GreenAuthenticator: answers on a greenlet
thread, asyncio, ioloop    the same, by the names that programs written for pyzmq import
"""

from .base import CURVE_ALLOW_ANY as CURVE_ALLOW_ANY
from .base import Authenticator as Authenticator
from .certs import create_certificates as create_certificates
from .certs import load_certificate as load_certificate
from .certs import load_certificates as load_certificates
from .green import GreenAuthenticator as GreenAuthenticator

__all__ = [
    "CURVE_ALLOW_ANY",
    "Authenticator",
    "GreenAuthenticator",
    "create_certificates",
    "load_certificate",
    "load_certificates",
]
