"""Devices: proxies that make their own sockets, run here, in a thread or in a process."""

import os
import pickle
import struct
import threading
import time

import gevent
import pytest
from life import Baseline, Outcome, waiting
from support import PATCHED, Stopwatch, run

import gzmqhelper as zmq
from gzmqhelper import devices
from gzmqhelper.devices import basedevice

HOST = "tcp://127.0.0.1"


@pytest.fixture
def context(monkeypatch):
    """The context of all devices of a test that are not in a process; it ends with the test."""
    made = zmq.Context()
    monkeypatch.setattr(devices.Device, "context_factory", staticmethod(lambda: made))
    yield made
    made.destroy(0)


class Far:
    """The far ends of a device: a sender before it, a receiver behind it, and more by name."""

    def __init__(self, sockets, device, **more):
        kinds = {"in": zmq.PUSH, "out": zmq.PULL, **more}
        for name, kind in kinds.items():
            sock = sockets(kind)
            sock.connect(f"{HOST}:{getattr(device, f'bind_{name}_to_random_port')(HOST)}")
            setattr(self, name, sock)

    def carries(self, text=b"x"):
        getattr(self, "in").send(text)
        return self.out.recv(timeout=10) == text


STEERABLE = [devices.ThreadProxySteerable, devices.ProcessProxySteerable]
STEERABLE_IDS = ["thread", "process"]


@pytest.mark.parametrize("kind", STEERABLE, ids=STEERABLE_IDS)
def test_one_in_the_background_carries_shows_and_obeys(sockets, context, ticker, kind):
    device = kind(zmq.PULL, zmq.PUSH, zmq.PUSH, zmq.REP)
    far = Far(sockets, device, mon=zmq.PULL, ctrl=zmq.REQ)
    with Stopwatch() as took:
        device.start()
    assert took.less_than(1)
    assert far.carries(b"12345")
    assert far.mon.recv(timeout=5) == b"12345"
    far.ctrl.send(b"STATISTICS")
    numbers = [struct.unpack("=Q", part)[0] for part in far.ctrl.recv_multipart(timeout=5)]
    assert numbers == [1, 5, 0, 0, 0, 0, 1, 5]
    with Stopwatch() as took:
        device.join(0.1)
    took.check(0.1)
    assert device.launcher.is_alive()
    far.ctrl.send(b"TERMINATE")
    assert far.ctrl.recv(timeout=5) == b""
    device.join(10)
    assert not device.launcher.is_alive()


@pytest.mark.parametrize("kind", [devices.ThreadDevice, devices.ProcessDevice], ids=["thread", "process"])
def test_a_plain_one_carries(sockets, context, ticker, kind):
    device = kind(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    far = Far(sockets, device)
    device.start()
    assert device.launcher.daemon
    assert far.carries()
    if kind is devices.ProcessDevice:
        device.launcher.terminate()
        device.join(10)
        assert not device.launcher.is_alive()


def test_one_in_the_foreground_runs_until_its_context_ends(sockets, context, ticker):
    device = devices.Device(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    far = Far(sockets, device)
    running = waiting(device.start)
    joining = Outcome(device.join)
    assert far.carries()
    assert not device.done
    context.term()
    assert running.join().error is None
    assert joining.join().error is None
    assert device.done


@pytest.mark.parametrize("kind", [devices.Device, devices.ThreadDevice], ids=["here", "thread"])
def test_one_whose_sockets_are_closed_ends_without_an_error(sockets, context, ticker, kind):
    device = kind(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    far = Far(sockets, device)
    running = Outcome(device.start)
    assert far.carries()
    context.destroy(0)
    with Stopwatch() as took:
        device.join(5)
    assert took.soon
    assert device.done
    assert running.join().error is None


def test_what_goes_wrong_in_the_foreground_is_raised_and_its_sockets_are_closed(sockets, context):
    taken = sockets(zmq.PULL).bind(f"{HOST}:*").addr
    device = devices.Device(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    device.bind_in(taken)
    with pytest.raises(zmq.ZMQError) as error:
        device.start()
    assert error.value.errno == zmq.EADDRINUSE
    assert device.done
    context.term()  # which would wait for a socket that is open


def test_a_negative_out_type_makes_one_socket_both(sockets, context):
    device = devices.ThreadDevice(zmq.QUEUE, zmq.REP, -1)
    req = sockets(zmq.REQ)
    device.connect_out(req.bind(f"{HOST}:*").addr)
    device.start()
    for text in (b"one", b"two"):
        req.send(text)
        assert req.recv(timeout=5) == text


def test_options_are_set_before_the_sockets_are_connected(sockets, context):
    device = devices.ThreadDevice(zmq.QUEUE, zmq.DEALER, zmq.DEALER)
    router, far = sockets(zmq.ROUTER), sockets(zmq.DEALER)
    device.setsockopt_in(zmq.IDENTITY, b"its name")
    device.setsockopt_out(zmq.LINGER, 0)
    device.connect_in(router.bind(f"{HOST}:*").addr)
    device.connect_out(far.bind(f"{HOST}:*").addr)
    device.start()
    far.send(b"x")
    assert router.recv_multipart(timeout=5) == [b"its name", b"x"]


def test_a_monitored_queue_marks_what_it_shows(sockets, context, ticker):
    device = devices.ThreadMonitoredQueue(zmq.PULL, zmq.PUSH, zmq.PUSH, b"one", b"two")
    device.setsockopt_mon(zmq.LINGER, 0)
    far = Far(sockets, device, mon=zmq.PULL)
    device.start()
    assert far.carries()
    assert far.mon.recv_multipart(timeout=5) == [b"one", b"x"]


def test_a_proxy_shows_all_to_a_third_socket_that_is_connected(sockets, context):
    device = devices.ThreadProxy(zmq.PULL, zmq.PUSH, zmq.PUSH)
    far = Far(sockets, device)
    shown = sockets(zmq.PULL)
    device.connect_mon(shown.bind(f"{HOST}:*").addr)
    device.start()
    assert far.carries(b"y")
    assert shown.recv(timeout=5) == b"y"


def test_a_steerable_proxy_does_without_a_control_socket(sockets, context):
    device = devices.ThreadProxySteerable(zmq.PULL, zmq.PUSH)
    far = Far(sockets, device)
    with pytest.raises(TypeError, match="ctrl_type"):
        device.bind_ctrl("inproc://x")
    device.start()
    assert far.carries()


def test_random_ports_are_promised_once_and_run_out(context):
    device = devices.ThreadProxy(zmq.PULL, zmq.PUSH, zmq.PUB)
    bind = (device.bind_in_to_random_port, device.bind_out_to_random_port, device.bind_mon_to_random_port)
    ports = [one(HOST, min_port=21000, max_port=21500) for one in bind for _ in range(3)]
    assert len(set(ports)) == 9
    assert all(21000 <= port < 21500 for port in ports)
    port = devices.Device(zmq.QUEUE, zmq.PULL, zmq.PUSH).bind_in_to_random_port(HOST)
    device.bind_in_to_random_port(HOST, port, port + 1)
    with pytest.raises(zmq.ZMQBindError):
        device.bind_in_to_random_port(HOST, port, port + 1)


def test_the_types_must_be_given():
    for arguments in ((), (zmq.QUEUE,), (zmq.QUEUE, zmq.PULL)):
        with pytest.raises(TypeError):
            devices.Device(*arguments)
    device = devices.Device(zmq.FORWARDER, zmq.SUB, zmq.PUB)
    assert (device.device_type, device.in_type, device.out_type) == (zmq.FORWARDER, zmq.SUB, zmq.PUB)
    assert device.daemon is True and device.done is False


def test_a_device_of_the_class_s_own_factory_and_launcher(context):
    assert devices.ProcessDevice.context_factory is zmq.Context
    assert devices.ProcessMonitoredQueue.context_factory is zmq.Context
    assert devices.ThreadDevice._launch_class is threading.Thread

    class Own(devices.ThreadDevice):
        def run_device(self):
            self.ran_in = threading.current_thread()

    device = Own(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    device.daemon = False
    device.start()
    device.join(5)
    assert device.ran_in is device.launcher and not device.launcher.daemon and device.done


def test_a_device_that_is_not_started_can_be_pickled():
    device = devices.ProcessProxy(zmq.PULL, zmq.PUSH, zmq.PUB)
    device.bind_in("tcp://*:5555")
    device.setsockopt_mon(zmq.LINGER, 0)
    copy = pickle.loads(pickle.dumps(device))
    assert copy._ends["in"].binds == ["tcp://*:5555"]
    assert copy._ends["mon"].options == [(zmq.LINGER, 0)]
    assert not copy.done


def carry_in_a_thread(sockets, context):
    device = devices.ThreadDevice(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    far = Far(sockets, device)
    device.start()
    assert far.carries()
    context.destroy(0)
    device.join(5)
    return far


def test_threads_and_descriptors_come_back_when_threads_have_run(sockets, monkeypatch):
    def once():
        context = zmq.Context()
        monkeypatch.setattr(devices.Device, "context_factory", staticmethod(lambda: context))
        far = carry_in_a_thread(sockets, context)
        far.out.close()
        getattr(far, "in").close()

    once()
    baseline = Baseline()
    for _ in range(20):  # more than the baseline lets stay
        once()
    baseline.check()


def test_a_thread_makes_no_hub_to_leave(sockets, context, monkeypatch):
    made = []
    real = gevent.hub.Hub.__init__
    monkeypatch.setattr(
        gevent.hub.Hub, "__init__", lambda hub, *args: (made.append(hub), real(hub, *args))[1]
    )
    carry_in_a_thread(sockets, context)
    assert made == []


@pytest.mark.skipif(
    PATCHED, reason="a device's thread is a greenlet then: there is none that could be slow to leave"
)
def test_who_joins_a_thread_that_is_slow_to_leave_lets_the_others_run(context, ticker, monkeypatch):
    leave = basedevice._leave_thread

    def slowly():
        time.sleep(0.3)
        leave()

    monkeypatch.setattr(basedevice, "_leave_thread", slowly)
    device = devices.ThreadDevice(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    device.context_factory = lambda: context
    device.bind_in("tcp://127.0.0.1:*")
    device.start()
    device.join(0.05)
    assert not device.done and device.launcher.is_alive()
    ending = Outcome(context.term)
    device.join(5)
    assert device.done and not device.launcher.is_alive()
    ending.join()


def test_a_thread_device_that_is_run_in_the_foreground_can_be_joined(context):
    device = devices.ThreadDevice(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    device.context_factory = lambda: context
    running, joining = Outcome(device.run), Outcome(device.join)
    gevent.sleep(0.02)
    ending = Outcome(context.term)
    for outcome in running, joining, ending:
        assert outcome.join().error is None


def test_who_joins_a_thread_has_nothing_else_in_its_hub_to_wait_for():
    result = run(
        """
        import gzmqhelper as zmq
        from gzmqhelper import devices
        from gevent.monkey import get_original
        context = zmq.Context()
        devices.Device.context_factory = staticmethod(lambda: context)
        device = devices.ThreadDevice(zmq.QUEUE, zmq.PULL, zmq.PUSH)
        device.start()
        get_original("_thread", "start_new_thread")(
            lambda: (get_original("time", "sleep")(0.2), context.destroy(0)), ()
        )
        device.join()
        print(device.done)
        """
    )
    assert result.stdout == "True\n"


def test_a_process_s_end_is_seen_by_who_joins_it_while_others_run(sockets, ticker):
    class Own(devices.ProcessDevice):
        def run_device(self):
            time.sleep(0.2)
            os._exit(7)

    device = Own(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    device.start()
    device.join(10)
    assert device.launcher.exitcode == 7


def test_the_greenlets_of_the_parent_do_not_run_in_the_process(tmp_path):
    place = tmp_path / "who"
    run(
        """
        import os, sys, time
        import gevent
        import gzmqhelper as zmq
        from gzmqhelper import devices
        from support import Sockets

        def who():
            while True:
                with open(sys.argv[1], "a") as f:
                    f.write(f"{os.getpid()}\\n")
                gevent.sleep(0.005)

        def main():
            sockets = Sockets()
            device = devices.ProcessProxySteerable(zmq.PULL, zmq.PUSH, zmq.PUB, zmq.REP)
            port = device.bind_ctrl_to_random_port("tcp://127.0.0.1")
            ctrl = sockets(zmq.REQ)
            ctrl.connect(f"tcp://127.0.0.1:{port}")
            gevent.sleep(0.02)
            device.start()
            for command in (b"PAUSE", b"RESUME", b"TERMINATE"):
                ctrl.send(command)
                assert ctrl.recv(timeout=10) == b""
                gevent.sleep(0.05)
            device.join(10)
            assert device.launcher.exitcode == 0
            sockets.close()

        ticking = gevent.spawn(who)
        gevent.spawn(main).get()  # not the main greenlet starts it
        print(os.getpid())
        """,
        place,
    )
    assert len(set(place.read_text().split())) == 1


def test_the_program_ends_though_a_daemon_runs():
    result = run(
        """
        import gzmqhelper as zmq
        from gzmqhelper import devices
        import gevent
        for kind in (devices.ThreadDevice, devices.ProcessDevice):
            device = kind(zmq.QUEUE, zmq.PULL, zmq.PUSH)
            device.bind_in("tcp://127.0.0.1:*")
            device.start()
        gevent.sleep(0.1)
        print("end")
        """,
        timeout=15,
    )
    assert result.stdout == "end\n"


def test_the_modules_have_the_names_that_programs_import():
    from gzmqhelper.devices.basedevice import ProcessDevice, ThreadDevice
    from gzmqhelper.devices.monitoredqueue import monitored_queue
    from gzmqhelper.devices.monitoredqueuedevice import MonitoredQueue
    from gzmqhelper.devices.proxydevice import ProcessProxy
    from gzmqhelper.devices.proxysteerabledevice import ProxySteerable

    of_modules = {ProcessDevice, ThreadDevice, monitored_queue, MonitoredQueue, ProcessProxy, ProxySteerable}
    assert of_modules <= {getattr(devices, name) for name in devices.__all__}
