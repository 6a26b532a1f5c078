"""Authenticators on greenlets: whom they let in, what they do when they are ended, and certificates."""

import asyncio
import logging
import os
import re
import socket
import stat
from pathlib import Path

import gevent
import pytest
from life import Baseline, OsThread, Outcome, waiting
from support import run, wait_until

import gzmqhelper as zmq
from gzmqhelper import auth
from gzmqhelper.auth.asyncio import AsyncioAuthenticator
from gzmqhelper.auth.base import Authenticator
from gzmqhelper.auth.green import GreenAuthenticator
from gzmqhelper.auth.ioloop import IOLoopAuthenticator
from gzmqhelper.auth.thread import AuthenticationThread, ThreadAuthenticator
from gzmqhelper.utils import z85

README = Path(__file__).parent.parent / "README.md"
ENDPOINT = "inproc://zeromq.zap.01"


@pytest.fixture
def authenticator(sockets):
    """One that runs, for the context of `sockets`."""
    made = ThreadAuthenticator(sockets.context)
    made.start()
    yield made
    made.stop()


def talk(sockets, server, client, seconds=5):
    """The Frame that arrives from a client at a server; None if it was not let in."""
    server.bind("tcp://127.0.0.1:*")
    client.reconnect_ivl = 10_000
    client.connect(server.last_endpoint.decode())
    client.send(b"x")
    try:
        return server.recv(copy=False, timeout=seconds)
    except zmq.Again:
        return None
    finally:
        server.close()
        client.close()


def null(sockets, **kwargs):
    return talk(sockets, sockets(zmq.PULL, zap_domain=b"global"), sockets(zmq.PUSH), **kwargs)


def plain(sockets, username=b"admin", password=b"right", domain=None, **kwargs):
    server = sockets(zmq.PULL, plain_server=1, **of_domain(domain))
    client = sockets(zmq.PUSH, plain_username=username, plain_password=password)
    return talk(sockets, server, client, **kwargs)


def of_domain(domain):
    return {} if domain is None else {"zap_domain": domain}


SERVER = zmq.curve_keypair()
CLIENT = zmq.curve_keypair()


def curve_server(sockets, **options):
    return sockets(zmq.PULL, curve_publickey=SERVER[0], curve_secretkey=SERVER[1], curve_server=1, **options)


def curve_client(sockets, key=CLIENT):
    public, secret = key
    return sockets(zmq.PUSH, curve_publickey=public, curve_secretkey=secret, curve_serverkey=SERVER[0])


def curve(sockets, key=CLIENT, domain=None, **kwargs):
    server = curve_server(sockets, **of_domain(domain))
    return talk(sockets, server, curve_client(sockets, key), **kwargs)


def refused(let, sockets, *args, **kwargs):
    """Whether somebody is turned away. What lets in (`let`) has had as much time before."""
    return let(sockets, *args, seconds=0.15, **kwargs) is None


# ---- addresses, passwords ----------------------------------------------------------------------------


def test_null_is_let_in_unless_an_address_is_denied(sockets, authenticator, ticker):
    assert null(sockets)["User-Id"] == "anonymous"
    authenticator.deny("10.0.0.1")
    assert null(sockets)
    authenticator.deny("127.0.0.1", "10.0.0.2")
    assert refused(null, sockets)


def test_only_allowed_addresses_are_let_in(sockets, authenticator, ticker):
    authenticator.allow("10.0.0.1")
    assert refused(null, sockets)
    authenticator.allow("127.0.0.1")
    assert null(sockets)


def test_allow_and_deny_exclude_each_other():
    allows, denies = Authenticator(), Authenticator()
    allows.allow("1")
    denies.deny("1")
    for call in (lambda: allows.deny("2"), lambda: denies.allow("2")):
        with pytest.raises(ValueError, match="Only use allow or deny, not both"):
            call()


def test_plain_needs_a_password_that_was_configured(sockets, authenticator, ticker):
    assert refused(plain, sockets)
    authenticator.configure_plain(passwords={"admin": "right"})
    assert plain(sockets)["User-Id"] == "admin"
    assert refused(plain, sockets, password=b"wrong")
    assert refused(plain, sockets, username=b"nobody")
    authenticator.configure_plain(passwords=None)
    assert plain(sockets)


def test_passwords_may_have_any_letters(sockets, authenticator):
    authenticator.configure_plain(passwords={"jürgen": "größe"})
    assert plain(sockets, "jürgen".encode(), "größe".encode())["User-Id"] == "jürgen"


def test_an_allowed_address_needs_its_password_all_the_same(sockets, authenticator):
    authenticator.allow("127.0.0.1")
    assert refused(plain, sockets)
    assert refused(curve, sockets)
    assert null(sockets)


def test_a_domain_has_its_own_passwords_and_the_star_covers_the_others(sockets, authenticator):
    authenticator.configure_plain("here", {"admin": "right"})
    assert plain(sockets, domain=b"here")
    assert refused(plain, sockets, domain=b"there")
    assert refused(plain, sockets)
    authenticator.configure_plain("*", {"admin": "other"})
    assert plain(sockets, domain=b"there", password=b"other")
    assert plain(sockets, password=b"other")
    assert refused(plain, sockets, domain=b"here", password=b"other")


# ---- keys --------------------------------------------------------------------------------------------


def test_curve_needs_a_key_that_was_configured(sockets, authenticator, tmp_path, ticker):
    assert refused(curve, sockets)
    auth.create_certificates(tmp_path, "somebody")
    authenticator.configure_curve(location=tmp_path)
    assert refused(curve, sockets)
    public, secret = auth.load_certificate(tmp_path / "somebody.key_secret")
    assert curve(sockets, (public, secret))["User-Id"] == public.decode()


def test_curve_lets_any_key_in_if_told_so(sockets, authenticator, tmp_path):
    authenticator.configure_curve(location=auth.CURVE_ALLOW_ANY)
    assert curve(sockets)
    authenticator.configure_curve(location=tmp_path)
    assert refused(curve, sockets)


def test_a_domain_has_its_own_keys_and_the_star_covers_the_others(sockets, authenticator, tmp_path):
    auth.create_certificates(tmp_path, "somebody")
    key = auth.load_certificate(tmp_path / "somebody.key_secret")
    authenticator.configure_curve("here", tmp_path)
    assert curve(sockets, key, b"here")
    assert refused(curve, sockets, key, b"there")
    authenticator.configure_curve("*", tmp_path)
    assert curve(sockets, key, b"there")
    assert curve(sockets, key)


def test_a_folder_that_cannot_be_read_is_logged_and_changes_nothing(sockets, tmp_path, caplog):
    with caplog.at_level(logging.ERROR, "zmq.auth"):
        Authenticator(sockets.context).configure_curve(location=tmp_path / "nowhere")
    assert "Failed to load CURVE certs from" in caplog.text
    authenticator = Authenticator(sockets.context)
    authenticator.configure_curve(location=auth.CURVE_ALLOW_ANY)
    authenticator.configure_curve(location=tmp_path / "nowhere")
    assert authenticator.allow_any


class Provider:
    """Answers by what it was given, and keeps what it was asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def callback(self, domain, key):
        self.asked.append((domain, key))
        return self.answer()


def test_a_callback_decides_on_keys(sockets, authenticator, ticker):
    yes, no = Provider(lambda: True), Provider(lambda: False)
    authenticator.configure_curve_callback(credentials_provider=yes)
    assert curve(sockets)["User-Id"] == CLIENT[0].decode()
    assert yes.asked == [("*", CLIENT[0])]
    authenticator.configure_curve_callback("here", no)
    assert refused(curve, sockets, domain=b"here")
    assert no.asked == [("here", CLIENT[0])]
    assert curve(sockets, domain=b"there")


def test_a_domain_without_a_callback_lets_nobody_in(sockets, authenticator):
    authenticator.configure_curve_callback("here", Provider(lambda: True))
    assert refused(curve, sockets, domain=b"there")


def test_a_callback_may_wait_as_greenlets_do(sockets, authenticator, ticker):
    def answer():
        gevent.sleep(0.05)
        return True

    authenticator.configure_curve_callback(credentials_provider=Provider(answer))
    assert curve(sockets)


@pytest.mark.parametrize("result", [True, False])
def test_a_callback_may_be_a_coroutine(result, sockets, authenticator, ticker):
    async def answer():
        await asyncio.sleep(0.05)
        return result

    authenticator.configure_curve_callback(credentials_provider=Provider(answer))
    assert bool(curve(sockets, seconds=5 if result else 0.3)) is result


def test_a_callback_that_fails_turns_its_peer_away_and_the_next_one_is_asked_again(
    sockets, authenticator, caplog
):
    provider = Provider(lambda: 1 / 0)
    authenticator.configure_curve_callback(credentials_provider=provider)
    assert refused(curve, sockets)
    assert "ZeroDivisionError" in caplog.text
    provider.answer = lambda: True
    assert curve(sockets)


def test_no_provider_is_logged(sockets, caplog):
    Authenticator(sockets.context).configure_curve_callback("here")
    assert "None credentials_provider provided for domain:here" in caplog.text


def test_the_user_id_of_a_key_may_be_another(sockets, authenticator):
    authenticator.configure_curve(location=auth.CURVE_ALLOW_ANY)
    authenticator.curve_user_id = lambda key: f"user of {len(key)}"
    assert curve(sockets)["User-Id"] == "user of 32"


# ---- its life ----------------------------------------------------------------------------------------


def test_it_starts_and_stops_and_starts_again(sockets, ticker):
    it = ThreadAuthenticator(sockets.context)
    assert not it.is_alive()
    it.stop()
    for _ in range(20):
        it.start()
        assert it.is_alive()
        assert it.thread.is_alive()
        assert isinstance(it.thread, AuthenticationThread)
        it.stop()
        it.stop()
        assert not it.is_alive()
        assert it.zap_socket is None
    it.configure_plain(passwords={"admin": "right"})
    it.start()
    assert plain(sockets)
    it.stop()


def test_all_names_that_pyzmq_has_for_it_answer_on_a_greenlet(sockets):
    for kind in (GreenAuthenticator, ThreadAuthenticator, AsyncioAuthenticator, IOLoopAuthenticator):
        it = kind(sockets.context)
        assert isinstance(it, Authenticator)
        it.start()
        assert null(sockets)
        it.stop()
    for make in (lambda: AsyncioAuthenticator(loop=1), lambda: IOLoopAuthenticator(io_loop=1)):
        with pytest.warns(DeprecationWarning, match="deprecated and ignored"):
            assert make().context is zmq.Context.instance()


def test_a_context_has_but_one(sockets, authenticator):
    other = ThreadAuthenticator(sockets.context)
    with pytest.raises(zmq.ZMQError) as caught:
        other.start()
    assert caught.value.errno == zmq.EADDRINUSE
    assert not other.is_alive()
    other.stop()
    assert null(sockets)


@pytest.mark.parametrize("began", [False, True])
def test_one_that_is_killed_has_stopped_and_may_start_again(began, sockets, ticker):
    it = ThreadAuthenticator(sockets.context)
    it.start()
    if began:
        assert null(sockets)
    it.thread.kill()
    assert not it.is_alive()
    it.start()
    assert null(sockets)
    it.stop()
    it.start()
    it.thread.kill()
    it.stop()


def test_the_end_of_the_context_stops_it(ticker):
    baseline = Baseline()
    for _ in range(10):  # one alone could leave what the baseline lets stay
        context = zmq.Context()
        it = ThreadAuthenticator(context)
        it.start()
        gevent.sleep(0.01)
        context.term()
        assert wait_until(lambda: not it.is_alive())  # noqa: B023
        it.stop()
    baseline.check()


def test_the_close_of_its_socket_stops_it_quietly(sockets, capsys):
    it = ThreadAuthenticator(sockets.context)
    it.start()
    gevent.sleep(0.01)
    it.zap_socket.close()
    assert wait_until(lambda: not it.is_alive())
    it.stop()
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def in_callback(sockets, authenticator):
    """The authenticator, in the middle of an answer that takes 0.1 s; and the log of that."""
    log = []

    def answer():
        log.append("asked")
        gevent.sleep(0.1)
        log.append("answered")
        return True

    authenticator.configure_curve_callback(credentials_provider=Provider(answer))
    connecting = Outcome(curve, sockets, seconds=0.3)
    assert wait_until(lambda: log)
    yield authenticator, log
    connecting.join()


def test_stop_waits_for_the_answer_that_is_being_given(in_callback, ticker):
    authenticator, log = in_callback
    authenticator.stop()
    assert log == ["asked", "answered"]


def test_who_stops_it_need_not_wait_for_that(in_callback, ticker):
    authenticator, log = in_callback
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        authenticator.stop()
    assert log == ["asked"]
    assert not authenticator.is_alive()
    authenticator.start()
    assert wait_until(lambda: log == ["asked", "answered"])
    assert authenticator.is_alive()  # what was left has not stopped the new one


def test_a_callback_may_stop_it(sockets, authenticator):
    authenticator.configure_curve_callback(credentials_provider=Provider(authenticator.stop))
    assert refused(curve, sockets)
    assert not authenticator.is_alive()


def test_another_thread_may_stop_it(sockets, authenticator, ticker):
    gevent.sleep(0.01)
    OsThread(authenticator.stop).join()
    assert wait_until(lambda: not authenticator.is_alive())


def test_it_answers_in_the_thread_that_started_it(sockets, ticker):
    it = ThreadAuthenticator(sockets.context)
    done = []

    def serve():
        it.start()
        assert wait_until(lambda: done, 10)
        it.stop()

    thread = OsThread(serve)
    assert wait_until(it.is_alive)
    assert null(sockets)
    done.append(True)
    thread.join()


# ---- questions, by hand ------------------------------------------------------------------------------


@pytest.fixture
def ask(sockets, authenticator):
    """Ask as libzmq does: the answer."""
    req = sockets(zmq.REQ)
    req.connect(ENDPOINT)

    def ask(*parts):
        req.send_multipart(list(parts))
        return req.recv_multipart(timeout=5)

    return ask


HEAD = (b"1.0", b"7", b"", b"127.0.0.1", b"")


@pytest.mark.parametrize(
    "parts, answer",
    [
        ((*HEAD, b"NULL"), [b"200", b"OK", b"anonymous", b""]),
        ((b"2.0", *HEAD[1:], b"NULL"), [b"400", b"Invalid version", b"", b""]),
        ((b"1.0", b"7"), [b"400", b"Not enough frames", b"", b""]),
        ((*HEAD, b"PLAIN", b"x"), [b"400", b"Invalid credentials", b"", b""]),
        ((*HEAD, b"PLAIN", b"x", b"y"), [b"400", b"No passwords defined", b"", b""]),
        ((*HEAD, b"CURVE"), [b"400", b"Invalid credentials", b"", b""]),
        ((*HEAD, b"CURVE", b"x" * 32), [b"400", b"Unknown domain", b"", b""]),
        ((*HEAD, b"CURVE", b"x" * 31), [b"500", b"Internal error", b"", b""]),
        ((*HEAD, b"GSSAPI", b"me@HOME"), [b"200", b"OK", b"me@HOME", b""]),
        ((*HEAD, b"GSSAPI"), [b"400", b"Invalid credentials", b"", b""]),
        ((*HEAD, b"MAGIC"), [b"400", b"NO ACCESS", b"", b""]),
        ((*HEAD[:2], b"\xff", b"\xff", b"\xff", b"\xff"), [b"400", b"NO ACCESS", b"", b""]),
    ],
)
def test_each_question_has_its_answer(parts, answer, ask, ticker):
    assert ask(*parts) == [b"1.0", b"7", *answer]
    assert ask(*HEAD, b"NULL")[2] == b"200"  # and it goes on


def test_a_question_that_cannot_be_answered_does_not_stop_it(ask):
    assert ask(b"?") == [b"1.0", b"", b"500", b"Internal error", b"", b""]
    assert ask(*HEAD, b"NULL")[2] == b"200"


def test_what_only_an_event_loop_could_do_is_an_error(ask, authenticator, caplog):
    async def handle(message):
        await asyncio.sleep(0)

    authenticator.handle_zap_message = handle
    assert ask(*HEAD, b"NULL")[2] == b"500"
    assert "event loop" in caplog.text


def test_the_plain_authenticator_is_driven_by_hand(sockets):
    it = Authenticator(sockets.context, encoding="latin-1", log=logging.getLogger("mine"))
    it.configure_gssapi()
    it.configure_plain("*", {"jürgen": "größe"})
    it.start()
    asking = sockets(zmq.REQ)
    asking.connect(ENDPOINT)
    asking.send_multipart([*HEAD, b"PLAIN", "jürgen".encode("latin-1"), "größe".encode("latin-1")])
    with pytest.raises(StopIteration):
        it.handle_zap_message(it.zap_socket.recv_multipart(timeout=5)).send(None)
    assert asking.recv_multipart(timeout=5)[2:5] == [b"200", b"OK", "jürgen".encode("latin-1")]
    assert it.curve_user_id(b"\0" * 32) == z85.encode(b"\0" * 32).decode()
    it.stop()


def test_who_waits_for_its_answer_is_told_of_the_end(sockets, authenticator, ticker):
    authenticator.configure_curve_callback(credentials_provider=Provider(lambda: gevent.sleep(60)))
    server = sockets(zmq.PULL, curve_publickey=SERVER[0], curve_secretkey=SERVER[1], curve_server=1)
    server.bind("tcp://127.0.0.1:*")
    client = sockets(
        zmq.PUSH, curve_publickey=CLIENT[0], curve_secretkey=CLIENT[1], curve_serverkey=SERVER[0]
    )
    client.connect(server.last_endpoint.decode())
    outcome = waiting(server.recv)
    gevent.sleep(0.05)
    authenticator.thread.kill()  # in the middle of the callback
    server.close()
    assert outcome.join().error.errno == zmq.ENOTSOCK


# ---- certificates ------------------------------------------------------------------------------------


def test_certificates_are_two_files_of_which_one_is_for_the_owner_alone(tmp_path):
    public_file, secret_file = auth.create_certificates(tmp_path, "me", {"name": "I", "mail": "i@home"})
    assert (public_file, secret_file) == (str(tmp_path / "me.key"), str(tmp_path / "me.key_secret"))
    assert stat.S_IMODE(os.stat(secret_file).st_mode) == 0o600
    public, secret = auth.load_certificate(secret_file)
    assert zmq.curve_public(secret) == public
    assert auth.load_certificate(public_file) == (public, None)
    text = (tmp_path / "me.key_secret").read_text()
    assert "    name = I\n    mail = i@home\n" in text
    assert secret.decode() not in (tmp_path / "me.key").read_text()


def test_a_secret_that_replaces_an_open_file_is_not_open(tmp_path):
    path = tmp_path / "me.key_secret"
    path.write_text("x" * 10_000)
    path.chmod(0o644)
    auth.create_certificates(str(tmp_path), "me")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "x" * 100 not in path.read_text()


def test_all_certificates_of_a_folder_are_read(tmp_path):
    for name in ("one", "two"):
        auth.create_certificates(tmp_path, name)
    keys = {auth.load_certificate(tmp_path / f"{name}.key")[0]: True for name in ("one", "two")}
    assert auth.load_certificates(tmp_path) == keys
    (tmp_path / ".hidden.key").write_text("nothing")
    assert auth.load_certificates(str(tmp_path)) == keys


def test_what_is_no_certificate_is_an_error_that_names_it(tmp_path):
    with pytest.raises(OSError, match=r"Invalid certificate file: .*nowhere"):
        auth.load_certificate(tmp_path / "nowhere")
    with pytest.raises(OSError, match=r"Invalid certificate directory: .*nowhere"):
        auth.load_certificates(tmp_path / "nowhere")
    (tmp_path / "empty.key").write_text("# public-key = 'no'\n")
    with pytest.raises(ValueError, match=r"No public key found in .*empty\.key"):
        auth.load_certificate(tmp_path / "empty.key")
    with pytest.raises(ValueError, match="No public key found"):
        auth.load_certificates(tmp_path)
    with pytest.raises(FileNotFoundError):
        auth.create_certificates(tmp_path / "nowhere", "me")


def test_the_readme_shows_who_may_connect(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
    (program,) = (block for block in blocks if "Authenticator" in block)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "program.py").write_text(program.replace("11332", str(port)))
    result = run("import os, runpy, sys; os.chdir(sys.argv[1]); runpy.run_path('program.py')", tmp_path)
    key, _ = auth.load_certificate(tmp_path / "client.key")
    assert result.stdout == f"HANDSHAKE_SUCCEEDED\nb'hello' from {key.decode()}\n"


def test_certificates_are_pyzmqs(tmp_path):
    theirs = pytest.importorskip("zmq.auth", reason="pyzmq is not installed")
    ours = auth.create_certificates(tmp_path, "ours", {"name": "us"})
    for path in ours:
        assert theirs.load_certificate(path) == auth.load_certificate(path)
    for path in theirs.create_certificates(tmp_path, "theirs", {"name": "them"}):
        assert theirs.load_certificate(path) == auth.load_certificate(path)
    assert theirs.load_certificates(tmp_path) == auth.load_certificates(tmp_path)
