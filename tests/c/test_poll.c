/* Polling: beside receivers, beside senders, and on what has been fetched already. */
#include "scene.h"

static void events_that_are_there_are_told_at_once(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    greenlet g;
    born(&g);
    CHECK_IS(poll_now(s.socket, ZMQ_POLLIN), 0);
    CHECK_IS(try_poll(s.socket, NULL, ZMQ_POLLIN, 0), GZH_WAIT);
    CHECK_IS(try_poll(s.socket, NULL, ZMQ_POLLIN | ZMQ_POLLOUT, 0), ZMQ_POLLOUT);
    fake_deliver(s.zmq, "hello");
    CHECK_IS(try_poll(s.socket, NULL, ZMQ_POLLIN | ZMQ_POLLOUT, 0), ZMQ_POLLIN | ZMQ_POLLOUT);
    CHECK_IS(try_poll(s.socket, NULL, ZMQ_POLLIN, 0), ZMQ_POLLIN);
    CHECK_IS(do_poll(&g, s.socket, ZMQ_POLLIN), ZMQ_POLLIN);
    dies(&g);
    end_scene(&s);
}

static void a_poll_waits_for_a_message(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    CHECK_IS(try_poll(s.socket, g.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    NOT_TOLD(&g);
    CHECK_IS(end_other(&g), GZH_WAIT);
    fake_deliver(s.zmq, "hello");
    CHECK_IS(wait_on(&g, GZH_WAIT), ZMQ_POLLIN);
    CHECK_IS(recv_now(&g, s.socket), 5);
    dies(&g);
    end_scene(&s);
}

static void a_poll_waits_for_room(void)
{
    scene s = begin_scene(ZMQ_PUSH);
    greenlet g;
    char text[64];
    born(&g);
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "one"), 0);
    CHECK_IS(try_poll(s.socket, g.companion, ZMQ_POLLIN | ZMQ_POLLOUT, 0), GZH_WAIT);
    NOT_TOLD(&g);
    CHECK(fake_take(s.zmq, NULL, text, sizeof text));
    CHECK_IS(wait_on(&g, GZH_WAIT), ZMQ_POLLOUT);
    dies(&g);
    end_scene(&s);
}

static void a_poll_beside_receivers_and_senders_is_told_too(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    greenlet reader, writer, in, out;
    char text[64];
    born(&reader);
    born(&writer);
    born(&in);
    born(&out);
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "one"), 0);
    CHECK_IS(ask_recv(&reader, s.socket), GZH_WAIT);
    CHECK_IS(try_poll(s.socket, in.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    CHECK_IS(try_poll(s.socket, out.companion, ZMQ_POLLOUT, 0), GZH_WAIT);
    CHECK_IS(ask_send(&writer, s.socket, "two"), GZH_WAIT);
    fake_deliver(s.zmq, "hello");
    CHECK_IS(wait_on(&reader, GZH_WAIT), 5);
    CHECK_IS(wait_on(&in, GZH_WAIT), ZMQ_POLLIN);
    NOT_TOLD(&out);
    NOT_TOLD(&writer);
    CHECK(fake_take(s.zmq, NULL, text, sizeof text));
    CHECK_IS(wait_on(&out, GZH_WAIT), ZMQ_POLLOUT);
    CHECK_IS(wait_on(&writer, GZH_WAIT), 0);
    dies(&reader);
    dies(&writer);
    dies(&in);
    dies(&out);
    end_scene(&s);
}

/* Fetched for a receiver that was killed: libzmq knows nothing of the message any more. */
static void a_poll_sees_a_message_that_a_killed_receiver_left(void)
{
    for (int before = 0; before < 2; before++) {
        scene s = begin_scene(ZMQ_PULL);
        greenlet reader, poller;
        born(&reader);
        born(&poller);
        CHECK_IS(ask_recv(&reader, s.socket), GZH_WAIT);
        fake_deliver(s.zmq, "hello");
        WAIT_TOLD(&reader);
        if (before) {
            CHECK_IS(try_poll(s.socket, poller.companion, ZMQ_POLLIN, 0), GZH_WAIT);
            NOT_TOLD(&poller);
        }
        CHECK_IS(gzh_companion_cancel(reader.companion), 0);
        if (!before)
            CHECK_IS(try_poll(s.socket, poller.companion, ZMQ_POLLIN, 0), GZH_WAIT);
        CHECK_IS(wait_on(&poller, GZH_WAIT), ZMQ_POLLIN);
        CHECK_IS(recv_now(&reader, s.socket), 5);
        dies(&reader);
        dies(&poller);
        end_scene(&s);
    }
}

/* The receiver is in the queue while its message is fetched, and leaves: so it is nobody's. */
static void a_poll_sees_a_message_whose_receiver_left_while_it_was_fetched(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet reader, poller;
    born(&reader);
    born(&poller);
    CHECK_IS(ask_recv(&reader, s.socket), GZH_WAIT);
    stop_at("serve: received, not granted");
    fake_deliver(s.zmq, "hello");
    wait_stopped();
    CHECK_IS(try_poll(s.socket, poller.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(reader.companion), 0);
    let_go();
    CHECK_IS(wait_on(&poller, GZH_WAIT), ZMQ_POLLIN);
    dies(&reader);
    dies(&poller);
    end_scene(&s);
}

static void a_poll_that_is_cancelled_or_given_up_is_as_if_never_asked(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    CHECK_IS(try_poll(s.socket, g.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(g.companion), 0);
    CHECK_IS(try_poll(s.socket, g.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    CHECK_IS(gzh_end(g.companion, NULL, 0, true), -EAGAIN);
    CHECK_IS(try_poll(s.socket, g.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    fake_deliver(s.zmq, "hello");
    WAIT_TOLD(&g);
    CHECK_IS(gzh_end(g.companion, NULL, 0, true), ZMQ_POLLIN);
    dies(&g);
    end_scene(&s);
}

static void a_poll_on_a_socket_that_is_closed_or_ends_is_told(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    CHECK_IS(try_poll(s.socket, g.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    CHECK_IS(gzh_context_shutdown(s.context), 0);
    CHECK_IS(wait_on(&g, GZH_WAIT), -ETERM);
    CHECK_IS(poll_now(s.socket, ZMQ_POLLIN), -ETERM);
    gzh_socket_close(s.socket, NULL);
    CHECK_IS(poll_now(s.socket, ZMQ_POLLIN), -ENOTSOCK);
    CHECK_IS(try_poll(s.socket, g.companion, ZMQ_POLLIN, 0), -ENOTSOCK);
    dies(&g);
    end_scene(&s);
}

int main(void)
{
    begin();
    RUN(events_that_are_there_are_told_at_once);
    RUN(a_poll_waits_for_a_message);
    RUN(a_poll_waits_for_room);
    RUN(a_poll_beside_receivers_and_senders_is_told_too);
    RUN(a_poll_sees_a_message_that_a_killed_receiver_left);
    RUN(a_poll_sees_a_message_whose_receiver_left_while_it_was_fetched);
    RUN(a_poll_that_is_cancelled_or_given_up_is_as_if_never_asked);
    RUN(a_poll_on_a_socket_that_is_closed_or_ends_is_told);
    return 0;
}
