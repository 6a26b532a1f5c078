/* Closing a socket: while others wait on it, while another is inside it, while a blocking call holds
 * it; and blocking calls whose greenlet leaves. */
#include "scene.h"
#include "watch.h"

static void all_who_wait_are_told_that_it_is_closed(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    greenlet g[6];
    for (int i = 0; i < 6; i++)
        born(&g[i]);
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "one"), 0);
    CHECK_IS(ask_recv(&g[0], s.socket), GZH_WAIT);
    CHECK_IS(ask_recv(&g[1], s.socket), GZH_WAIT);
    CHECK_IS(ask_send(&g[2], s.socket, "a|b"), GZH_WAIT);
    CHECK_IS(ask_send(&g[3], s.socket, "c"), GZH_WAIT);
    CHECK_IS(try_poll(s.socket, g[4].companion, ZMQ_POLLIN, 0), GZH_WAIT);
    gzh_socket_close(s.socket, NULL);
    gzh_socket_close(s.socket, NULL);
    for (int i = 0; i < 5; i++)
        CHECK_IS(wait_on(&g[i], GZH_WAIT), -ENOTSOCK);
    UNTIL(fake_sockets() == 0);
    CHECK_IS(ask_recv(&g[0], s.socket), -ENOTSOCK);
    CHECK_IS(ask_send(&g[1], s.socket, "late"), -ENOTSOCK);
    CHECK_IS(ask_call(&g[5], s.socket, GZH_BIND, "tcp://x"), -ENOTSOCK);
    int value;
    CHECK_IS(get_option(s.socket, ZMQ_EVENTS, &value), -ENOTSOCK);
    for (int i = 0; i < 6; i++)
        dies(&g[i]);
    end_scene(&s);
}

static void a_granted_message_is_still_received_after_the_close(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet a, b;
    born(&a);
    born(&b);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(ask_recv(&b, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "m1");
    fake_deliver(s.zmq, "m2");
    WAIT_TOLD(&a);
    WAIT_TOLD(&b);
    gzh_socket_close(s.socket, NULL);
    CHECK_IS(end_wait(&a), 2);
    CHECK_IS(gzh_companion_cancel(b.companion), 0);
    CHECK_IS(ask_recv(&b, s.socket), -ENOTSOCK);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

static void linger_is_set_before_the_close(void)
{
    scene s = begin_scene(ZMQ_PUSH);
    int linger = 0;
    gzh_socket_close(s.socket, &linger);
    end_scene(&s);
}

/* The last request outlives what Python has of the socket. */
static void a_socket_that_is_dropped_with_somebody_waiting_is_freed_by_the_last(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet a;
    born(&a);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    gzh_socket_drop(s.socket);
    CHECK_IS(wait_on(&a, GZH_WAIT), -ENOTSOCK);
    dies(&a);
    gzh_context_drop(s.context);
    nothing_is_left();
}

/* Owners are stopped inside, each at its place; the close must not go in beside them. */
static struct {
    gzh_socket *socket;
    int found;
} owner;

static void *receives_once(void *argument)
{
    greenlet *g = argument;
    owner.found = read_slot(g, wait_on(g, try_recv(owner.socket, g->companion, g->slot, 0)));
    return NULL;
}

static void *sends_once(void *argument)
{
    greenlet *g = argument;
    owner.found = do_send(g, owner.socket, "a|b");
    return NULL;
}

static void a_close_while_a_receiver_is_inside_waits_for_it_to_get_out(void)
{
    for (int message = 0; message < 2; message++) {
        scene s = begin_scene(ZMQ_PULL);
        greenlet g, late;
        born(&g);
        born(&late);
        owner.socket = s.socket;
        if (message)
            fake_deliver(s.zmq, "m1");
        stop_at("take: received");
        pthread_t thread = start(receives_once, &g);
        wait_stopped();
        CHECK_IS(ask_recv(&late, s.socket), GZH_WAIT);
        gzh_socket_close(s.socket, NULL);
        CHECK_IS(wait_on(&late, GZH_WAIT), -ENOTSOCK);
        CHECK_IS(fake_sockets(), 1);
        let_go();
        join(thread);
        CHECK_IS(owner.found, message ? 2 : -ENOTSOCK);
        CHECK_IS(fake_sockets(), 0);
        dies(&g);
        dies(&late);
        end_scene(&s);
    }
}

static void a_close_while_a_sender_is_inside_waits_for_it_to_get_out(void)
{
    for (int full = 0; full < 2; full++) {
        scene s = begin_scene(ZMQ_PUSH);
        greenlet g;
        born(&g);
        owner.socket = s.socket;
        set_option(s.socket, ZMQ_SNDHWM, 1);
        if (full)
            CHECK_IS(send_now(s.socket, "first"), 0);
        stop_at("send: tried");
        pthread_t thread = start(sends_once, &g);
        wait_stopped();
        gzh_socket_close(s.socket, NULL);
        CHECK_IS(fake_sockets(), 1);
        let_go();
        join(thread);
        CHECK_IS(owner.found, full ? -ENOTSOCK : 0);
        CHECK_IS(fake_sockets(), 0);
        dies(&g);
        end_scene(&s);
    }
}

static void a_close_while_the_watch_is_inside_waits_for_it_to_get_out(void)
{
    const char *const places[] = {"serve: received, not granted", "serve: sending",
                                  "watch: between event and ready"};
    for (int i = 0; i < 3; i++) {
        scene s = begin_scene(ZMQ_DEALER);
        greenlet reader, writer;
        char text[64];
        born(&reader);
        born(&writer);
        set_option(s.socket, ZMQ_SNDHWM, 1);
        CHECK_IS(send_now(s.socket, "first"), 0);
        CHECK_IS(ask_recv(&reader, s.socket), GZH_WAIT);
        CHECK_IS(ask_send(&writer, s.socket, "second"), GZH_WAIT);
        stop_at(places[i]);
        if (i == 1)
            CHECK(fake_take(s.zmq, NULL, text, sizeof text));
        else
            fake_deliver(s.zmq, "hello");
        wait_stopped();
        gzh_socket_close(s.socket, NULL);
        let_go();
        CHECK_IS(wait_on(&reader, GZH_WAIT), -ENOTSOCK);
        int rc = wait_on(&writer, GZH_WAIT);
        CHECK(rc == -ENOTSOCK || (i == 1 && rc == 0));
        UNTIL(fake_sockets() == 0);
        dies(&reader);
        dies(&writer);
        end_scene(&s);
    }
}

/* The number of its descriptor is another socket's when the old event is told. */
static void an_event_of_a_closed_socket_is_not_told_to_another(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet a, b;
    gzh_socket *second;
    born(&a);
    born(&b);
    fake_reap_at_once(true);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    stop_at("watch: between event and ready");
    fake_deliver(s.zmq, "m1");
    wait_stopped();
    gzh_socket_close(s.socket, NULL);
    CHECK_IS(wait_on(&a, GZH_WAIT), -ENOTSOCK);
    CHECK_IS(gzh_socket_open(s.context, ZMQ_PULL, &second), 0);
    CHECK_IS(ask_recv(&b, second), GZH_WAIT);
    let_go();
    NOT_TOLD(&b);
    fake_deliver(gzh_socket_underlying(second), "m2");
    CHECK_IS(wait_on(&b, GZH_WAIT), 2);
    gzh_socket_drop(second);
    fake_reap_at_once(false);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

/* libzmq's reaper signals the descriptor after zmq_close, and closes it later. */
static void a_closed_socket_is_not_watched_any_more(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    gzh_socket *others[20];
    born(&g);
    for (int i = 0; i < 20; i++) {
        CHECK_IS(gzh_socket_open(s.context, ZMQ_PULL, &others[i]), 0);
        CHECK_IS(ask_recv(&g, others[i]), GZH_WAIT);
        CHECK_IS(gzh_companion_cancel(g.companion), 0);
        gzh_socket_drop(others[i]);
        pause_us(200);
    }
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "m1");
    CHECK_IS(wait_on(&g, GZH_WAIT), 2);
    dies(&g);
    end_scene(&s);
}

/* ---- blocking calls ---------------------------------------------------------------------------- */

static void a_blocking_call_is_made_by_the_companion(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    size_t size = 8;
    char endpoint[] = "tcp://x";
    CHECK_IS(gzh_call(s.socket, NULL, GZH_BIND, 0, endpoint, &size), GZH_WAIT);
    CHECK_IS(wait_on(&g, ask_call(&g, s.socket, GZH_BIND, "tcp://x")), 0);
    CHECK_IS(wait_on(&g, ask_call(&g, s.socket, GZH_BIND, "bad:x")), -EADDRINUSE);
    CHECK_IS(gzh_call(s.socket, NULL, GZH_CONNECT, 0, endpoint, &size), 0);
    int value = 0, rc;
    char any[64] = "tcp://*:*";
    size = sizeof any;
    rc = gzh_call(s.socket, g.companion, GZH_BIND, 0, any, &size);
    while (rc == GZH_WAIT) {
        WAIT_TOLD(&g);
        rc = gzh_end_call(g.companion, any, &size);
    }
    CHECK_IS(rc, 0);
    CHECK_TEXT(any, "tcp://*:*1");
    size = sizeof value;
    rc = gzh_call(s.socket, g.companion, GZH_GET, ZMQ_TYPE, &value, &size);
    CHECK_IS(rc, GZH_WAIT);
    while (rc == GZH_WAIT) {
        WAIT_TOLD(&g);
        rc = gzh_end_call(g.companion, &value, &size);
    }
    CHECK_IS(rc, 0);
    CHECK_IS(value, ZMQ_PULL);
    CHECK_IS(size, sizeof value);
    dies(&g);
    end_scene(&s);
}

static void the_one_on_watch_is_not_asked_for_a_blocking_call(void)
{
    scene s = begin_scene(ZMQ_PULL);
    int living, parked, on_watch;
    greenlet g[8];
    for (int i = 0; i < 8; i++) {
        born(&g[i]);
        CHECK_IS(ask_recv(&g[i], s.socket), GZH_WAIT); /* somebody is on watch from here on */
    }
    gzh_companion_counts(&living, &parked, &on_watch);
    CHECK(on_watch > 0);
    for (int i = 0; i < 8; i++) {
        CHECK_IS(ask_call(&g[i], s.socket, GZH_BIND, "tcp://x"), GZH_BUSY); /* it waits */
        CHECK_IS(gzh_companion_cancel(g[i].companion), 0);
        bool watches = gzh_companion_number(g[i].companion) == on_watch;
        int rc = ask_call(&g[i], s.socket, GZH_BIND, "tcp://x");
        CHECK_IS(rc, watches ? GZH_BUSY : GZH_WAIT);
        if (!watches)
            CHECK_IS(wait_on(&g[i], rc), 0);
        dies(&g[i]);
    }
    end_scene(&s);
}

static void a_bind_holds_its_socket_and_nothing_else(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    gzh_socket *other;
    greenlet binder, reader, writer, poller, elsewhere;
    CHECK_IS(gzh_socket_open(s.context, ZMQ_PULL, &other), 0);
    born(&reader);
    CHECK_IS(ask_recv(&reader, s.socket), GZH_WAIT); /* perhaps on watch: so not for the bind */
    born(&binder);
    born(&writer);
    born(&poller);
    born(&elsewhere);
    fake_gate(true);
    CHECK_IS(ask_call(&binder, s.socket, GZH_BIND, "slow:x"), GZH_WAIT);
    UNTIL(fake_at_gate() == 1);
    fake_deliver(s.zmq, "m1");
    CHECK_IS(ask_send(&writer, s.socket, "w1"), GZH_WAIT);
    CHECK_IS(try_poll(s.socket, poller.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    CHECK_IS(try_recv(s.socket, NULL, poller.slot, ZMQ_DONTWAIT), -EAGAIN);
    CHECK_IS(gzh_send(s.socket, "x", 1, ZMQ_DONTWAIT), -EAGAIN);
    /* Another socket, through the same watch. */
    CHECK_IS(ask_recv(&elsewhere, other), GZH_WAIT);
    fake_deliver(gzh_socket_underlying(other), "hello");
    CHECK_IS(wait_on(&elsewhere, GZH_WAIT), 5);
    NOT_TOLD(&reader);
    NOT_TOLD(&writer);
    /* Cancel works at any time. */
    CHECK_IS(gzh_companion_cancel(reader.companion), 0);
    CHECK_IS(ask_recv(&reader, s.socket), GZH_WAIT);
    fake_gate(false);
    CHECK_IS(wait_on(&binder, GZH_WAIT), 0);
    CHECK_IS(wait_on(&reader, GZH_WAIT), 2);
    CHECK_IS(wait_on(&writer, GZH_WAIT), 0);
    int rc = wait_on(&poller, ask_recv(&elsewhere, other) == GZH_WAIT ? 0 : -1);
    CHECK_IS(rc, 0);
    CHECK_IS(gzh_companion_cancel(poller.companion), 0); /* m1 may have been taken before it looked */
    dies(&elsewhere);
    dies(&binder);
    dies(&reader);
    dies(&writer);
    dies(&poller);
    gzh_socket_drop(other);
    end_scene(&s);
}

static void a_socket_closed_while_a_bind_is_inside_closes_when_that_gets_out(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    greenlet reader, victim, binder, second;
    born(&reader);
    CHECK_IS(ask_recv(&reader, s.socket), GZH_WAIT);
    born(&victim);
    CHECK_IS(ask_recv(&victim, s.socket), GZH_WAIT);
    born(&binder);
    born(&second);
    fake_gate(true);
    CHECK_IS(ask_call(&binder, s.socket, GZH_BIND, "slow:x"), GZH_WAIT);
    UNTIL(fake_at_gate() == 1);
    CHECK_IS(ask_call(&second, s.socket, GZH_BIND, "slow:y"), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(victim.companion), 0);
    gzh_socket_close(s.socket, NULL);
    CHECK_IS(wait_on(&reader, GZH_WAIT), -ENOTSOCK);
    CHECK_IS(wait_on(&second, GZH_WAIT), -ENOTSOCK);
    CHECK_IS(fake_sockets(), 1);
    NOT_TOLD(&binder);
    fake_gate(false);
    CHECK_IS(wait_on(&binder, GZH_WAIT), -ENOTSOCK);
    UNTIL(fake_sockets() == 0);
    dies(&reader);
    dies(&victim);
    dies(&binder);
    dies(&second);
    end_scene(&s);
}

/* A companion for a blocking call: not the one on watch. */
static void born_free(greenlet *g)
{
    int living, parked, on_watch;
    born(g);
    gzh_companion_counts(&living, &parked, &on_watch);
    if (gzh_companion_number(g->companion) == on_watch) {
        greenlet other;
        born(&other);
        dies(g);
        *g = other;
    }
}

static void an_abandoned_bind_comes_to_its_end_and_the_socket_lives_on(void)
{
    for (int close_first = 0; close_first < 2; close_first++) {
        scene s = begin_scene(ZMQ_PULL);
        greenlet binder, reader;
        born(&reader);
        CHECK_IS(ask_recv(&reader, s.socket), GZH_WAIT);
        born_free(&binder);
        fake_gate(true);
        CHECK_IS(ask_call(&binder, s.socket, GZH_BIND, "slow:x"), GZH_WAIT);
        UNTIL(fake_at_gate() == 1);
        int before = living_companions();
        CHECK_IS(gzh_end(binder.companion, NULL, 0, true), GZH_WAIT); /* it cannot be given up */
        CHECK_IS(gzh_companion_cancel(binder.companion), GZH_ABANDONED);
        CHECK_IS(gzh_companion_cancel(binder.companion), GZH_ABANDONED);
        dies(&binder);
        CHECK_IS(living_companions(), before);
        fake_deliver(s.zmq, "m1");
        NOT_TOLD(&reader);
        if (close_first)
            gzh_socket_close(s.socket, NULL);
        fake_gate(false);
        CHECK_IS(wait_on(&reader, GZH_WAIT), close_first ? -ENOTSOCK : 2);
        dies(&reader);
        end_scene(&s);
    }
}

static void a_queued_bind_that_is_cancelled_is_not_made(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet first, second;
    born_free(&first);
    born_free(&second);
    fake_gate(true);
    CHECK_IS(ask_call(&first, s.socket, GZH_BIND, "slow:x"), GZH_WAIT);
    UNTIL(fake_at_gate() == 1);
    CHECK_IS(ask_call(&second, s.socket, GZH_BIND, "bad:x"), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(second.companion), 0);
    CHECK_IS(ask_call(&second, s.socket, GZH_BIND, "tcp:x"), GZH_WAIT);
    CHECK_IS(gzh_end(second.companion, NULL, 0, true), -EAGAIN);
    fake_gate(false);
    CHECK_IS(wait_on(&first, GZH_WAIT), 0);
    NOT_TOLD(&second);
    dies(&first);
    dies(&second);
    end_scene(&s);
}

/* The call has been made when its greenlet leaves: whoever comes first, it is done once. */
static void a_bind_that_is_abandoned_while_it_ends_is_done_with_once(void)
{
    for (int round = 0; round < 300; round++) {
        scene s = begin_scene(ZMQ_PULL);
        greenlet g;
        unsigned state = (unsigned)round;
        born_free(&g);
        if (round % 3 == 0) {
            stop_at("call: made, not granted");
            CHECK_IS(ask_call(&g, s.socket, GZH_BIND, "tcp://x"), GZH_WAIT);
            wait_stopped();
            CHECK_IS(gzh_companion_cancel(g.companion), GZH_ABANDONED);
            gzh_socket_drop(s.socket); /* the call's hold is the last */
            let_go();
            dawdle(&state, 200);
            dies(&g);
        } else {
            shake(true);
            CHECK_IS(ask_call(&g, s.socket, GZH_BIND, "tcp://x"), GZH_WAIT);
            dawdle(&state, 500);
            int rc = gzh_companion_cancel(g.companion);
            CHECK(rc == 0 || rc == GZH_ABANDONED);
            gzh_socket_drop(s.socket);
            dawdle(&state, 100);
            dies(&g);
            shake(false);
        }
        gzh_context_drop(s.context);
        nothing_is_left();
    }
}

static void *closes_the_companion(void *argument)
{
    dies(argument);
    return NULL;
}

/* It is closed once more by its helper, while the call comes to its end and frees the socket. */
static void an_abandoned_bind_that_ends_while_its_companion_is_closed_is_done_with_once(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born_free(&g);
    fake_gate(true);
    CHECK_IS(ask_call(&g, s.socket, GZH_BIND, "slow:x"), GZH_WAIT);
    UNTIL(fake_at_gate() == 1);
    CHECK_IS(gzh_companion_cancel(g.companion), GZH_ABANDONED);
    stop_at("cancel: seen, not taken back");
    pthread_t thread = start(closes_the_companion, &g);
    pause_us(2000); /* it need not come there */
    gzh_socket_drop(s.socket);
    fake_gate(false);
    UNTIL(fake_sockets() == 0);
    pause_us(2000);
    let_go();
    join(thread);
    stop_at(NULL);
    gzh_context_drop(s.context);
    nothing_is_left();
}

/* ---- many rounds -------------------------------------------------------------------------------- */

static atomic_int working;

static void *works_until_it_is_closed(void *argument)
{
    gzh_socket *socket = argument;
    unsigned state = (unsigned)(uintptr_t)&state;
    greenlet g;
    int rc = 0, value;
    born(&g);
    atomic_fetch_add(&working, 1);
    while (rc != -ENOTSOCK) {
        switch (dice(&state, 6)) {
        case 0:
            rc = do_send(&g, socket, "a|b");
            break;
        case 1:
            rc = try_poll(socket, NULL, ZMQ_POLLIN, ZMQ_DONTWAIT);
            break;
        case 2:
            rc = get_option(socket, ZMQ_EVENTS, &value);
            break;
        case 3:
            rc = ask_call(&g, socket, GZH_BIND, "tcp://x");
            rc = rc == GZH_WAIT ? wait_on(&g, rc) : rc == GZH_BUSY ? 0 : rc;
            break;
        case 4:
            gzh_watch_help();
            break;
        default:
            rc = do_recv(&g, socket);
        }
        CHECK(rc >= 0 || rc == -ENOTSOCK || rc == GZH_WAIT);
    }
    dies(&g);
    return NULL;
}

static void a_socket_in_full_use_is_closed_and_all_who_use_it_are_told(void)
{
    for (int round = 0; round < 120; round++) {
        scene s = begin_scene(ZMQ_DEALER);
        unsigned state = (unsigned)round;
        pthread_t thread[4];
        char text[64];
        shake(true);
        atomic_store(&working, 0);
        set_option(s.socket, ZMQ_SNDHWM, 2);
        for (int i = 0; i < 4; i++)
            thread[i] = start(works_until_it_is_closed, s.socket);
        UNTIL(atomic_load(&working) == 4);
        for (int i = 0; i < 20; i++) {
            fake_deliver(s.zmq, "hello");
            fake_take(s.zmq, NULL, text, sizeof text);
            dawdle(&state, 60);
        }
        gzh_socket_close(s.socket, NULL);
        for (int i = 0; i < 4; i++)
            join(thread[i]);
        shake(false);
        end_scene(&s);
    }
}

static struct {
    greenlet g;
    char endpoint[64];
    size_t size;
    int rc;
} early;

static void *ends_early(void *unused)
{
    (void)unused;
    early.rc = gzh_end_call(early.g.companion, early.endpoint, &early.size);
    return NULL;
}

/* As after a wake-up too many: the call is still being made when the greenlet begins to look. */
static void a_bind_that_returns_while_its_greenlet_looks_gives_its_endpoint_with_its_result(void)
{
    scene s = begin_scene(ZMQ_PULL);
    born_free(&early.g);
    early.size = sizeof early.endpoint;
    strcpy(early.endpoint, "slow:*");
    fake_gate(true);
    CHECK_IS(gzh_call(s.socket, early.g.companion, GZH_BIND, 0, early.endpoint, &early.size), GZH_WAIT);
    UNTIL(fake_at_gate() == 1);
    stop_at("end: about to look");
    pthread_t thread = start(ends_early, NULL);
    wait_stopped();
    fake_gate(false);
    WAIT_TOLD(&early.g);
    let_go();
    join(thread);
    CHECK_IS(early.rc, 0);
    CHECK_TEXT(early.endpoint, "slow:*1");
    CHECK_IS(early.size, 8);
    dies(&early.g);
    end_scene(&s);
}

int main(void)
{
    begin();
    RUN(all_who_wait_are_told_that_it_is_closed);
    RUN(a_granted_message_is_still_received_after_the_close);
    RUN(linger_is_set_before_the_close);
    RUN(a_socket_that_is_dropped_with_somebody_waiting_is_freed_by_the_last);
    RUN(a_close_while_a_receiver_is_inside_waits_for_it_to_get_out);
    RUN(a_close_while_a_sender_is_inside_waits_for_it_to_get_out);
    RUN(a_close_while_the_watch_is_inside_waits_for_it_to_get_out);
    RUN(an_event_of_a_closed_socket_is_not_told_to_another);
    RUN(a_closed_socket_is_not_watched_any_more);
    RUN(a_blocking_call_is_made_by_the_companion);
    RUN(the_one_on_watch_is_not_asked_for_a_blocking_call);
    RUN(a_bind_holds_its_socket_and_nothing_else);
    RUN(a_socket_closed_while_a_bind_is_inside_closes_when_that_gets_out);
    RUN(an_abandoned_bind_comes_to_its_end_and_the_socket_lives_on);
    RUN(a_queued_bind_that_is_cancelled_is_not_made);
    RUN(a_bind_that_is_abandoned_while_it_ends_is_done_with_once);
    RUN(an_abandoned_bind_that_ends_while_its_companion_is_closed_is_done_with_once);
    RUN(a_socket_in_full_use_is_closed_and_all_who_use_it_are_told);
    RUN(a_bind_that_returns_while_its_greenlet_looks_gives_its_endpoint_with_its_result);
    return 0;
}
