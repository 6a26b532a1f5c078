/* Contexts: ended by one, by several, by nobody, and with all that still hangs on them. */
#include "scene.h"

/* For a blocking call: not the companion on watch. */
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

static int end_term(greenlet *g)
{
    int rc;
    do {
        WAIT_TOLD(g);
        rc = gzh_context_end_term(g->companion);
    } while (rc == GZH_WAIT);
    return rc;
}

static void a_context_without_sockets_ends_at_once(void)
{
    gzh_context *c;
    greenlet g;
    CHECK_IS(gzh_context_new(2, &c), 0);
    CHECK_IS(gzh_context_get(c, ZMQ_IO_THREADS), 2);
    CHECK_IS(gzh_context_set(c, ZMQ_MAX_SOCKETS, 5), 0);
    CHECK_IS(gzh_context_get(c, ZMQ_MAX_SOCKETS), 5);
    CHECK_IS(gzh_context_set(c, 4711, 5), -EINVAL);
    CHECK(!gzh_context_ended(c));
    born_free(&g);
    CHECK_IS(gzh_context_term(c, g.companion), GZH_WAIT);
    CHECK_IS(end_term(&g), 0);
    CHECK(gzh_context_ended(c));
    CHECK_IS(gzh_context_term(c, g.companion), 0);
    /* libzmq has freed it: nobody may hand it the pointer any more. */
    gzh_socket *s;
    CHECK_IS(gzh_socket_open(c, ZMQ_PULL, &s), -ETERM);
    CHECK_IS(gzh_context_get(c, ZMQ_IO_THREADS), -ETERM);
    CHECK_IS(gzh_context_set(c, ZMQ_MAX_SOCKETS, 5), -ETERM);
    CHECK_IS(gzh_context_shutdown(c), -ETERM);
    gzh_context_drop(c);
    dies(&g);
    nothing_is_left();
}

static void all_who_wait_are_told_of_the_term(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    greenlet reader[3], writer, poller, ender;
    for (int i = 0; i < 3; i++)
        born(&reader[i]);
    born(&writer);
    born(&poller);
    born_free(&ender);
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "one"), 0);
    for (int i = 0; i < 3; i++)
        CHECK_IS(ask_recv(&reader[i], s.socket), GZH_WAIT);
    CHECK_IS(ask_send(&writer, s.socket, "two|three"), GZH_WAIT);
    CHECK_IS(try_poll(s.socket, poller.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    int rc = gzh_context_term(s.context, ender.companion);
    CHECK_IS(rc, GZH_WAIT);
    for (int i = 0; i < 3; i++)
        CHECK_IS(wait_on(&reader[i], GZH_WAIT), -ETERM);
    CHECK_IS(wait_on(&writer, GZH_WAIT), -ETERM);
    CHECK_IS(wait_on(&poller, GZH_WAIT), -ETERM);
    CHECK_IS(ask_recv(&reader[0], s.socket), -ETERM);
    CHECK_IS(send_now(s.socket, "late"), -ETERM);
    int value;
    until_nobody_is_inside(s.socket);
    CHECK_IS(get_option(s.socket, ZMQ_EVENTS, &value), -ETERM);
    NOT_TOLD(&ender);
    gzh_socket_close(s.socket, NULL);
    CHECK_IS(end_term(&ender), 0);
    for (int i = 0; i < 3; i++)
        dies(&reader[i]);
    dies(&writer);
    dies(&poller);
    dies(&ender);
    end_scene(&s);
}

static void *sets_slowly(void *context)
{
    CHECK_IS(gzh_context_set(context, ZMQ_MAX_SOCKETS, FAKE_SLOW_VALUE), 0);
    return NULL;
}

static void a_term_waits_for_calls_that_are_inside_with_the_context(void)
{
    gzh_context *c;
    greenlet g;
    CHECK_IS(gzh_context_new(1, &c), 0);
    void *zmq_context = gzh_context_underlying(c);
    born_free(&g);
    fake_gate(true);
    pthread_t thread = start(sets_slowly, c);
    UNTIL(fake_at_gate() == 1);
    CHECK_IS(gzh_context_term(c, g.companion), GZH_WAIT);
    NOT_TOLD(&g);
    CHECK(!fake_is_terminating(zmq_context));
    fake_gate(false);
    join(thread);
    CHECK_IS(end_term(&g), 0);
    gzh_context_drop(c);
    dies(&g);
    nothing_is_left();
}

static void a_message_that_was_granted_before_the_term_is_received(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet a, b;
    born(&a);
    born(&b);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(ask_recv(&b, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "m1");
    WAIT_TOLD(&a);
    CHECK_IS(gzh_context_shutdown(s.context), 0);
    CHECK_IS(wait_on(&b, GZH_WAIT), -ETERM);
    CHECK_IS(end_wait(&a), 2);
    gzh_socket *other;
    CHECK_IS(gzh_socket_open(s.context, ZMQ_PULL, &other), -ETERM);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

static void one_term_is_in_flight_and_later_ones_join_it(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet first, second, third;
    born_free(&first);
    born_free(&second);
    born_free(&third);
    CHECK_IS(gzh_context_term(s.context, first.companion), GZH_WAIT);
    CHECK_IS(gzh_context_term(s.context, first.companion), GZH_BUSY);
    CHECK_IS(gzh_context_term(s.context, second.companion), GZH_WAIT);
    CHECK_IS(gzh_context_term(s.context, third.companion), GZH_WAIT);
    NOT_TOLD(&first);
    NOT_TOLD(&second);
    CHECK_IS(gzh_context_end_term(second.companion), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(third.companion), 0); /* a guest may leave */
    gzh_socket_close(s.socket, NULL);
    CHECK_IS(end_term(&first), 0);
    CHECK_IS(end_term(&second), 0);
    NOT_TOLD(&third);
    dies(&first);
    dies(&second);
    dies(&third);
    end_scene(&s);
}

static void an_abandoned_term_goes_on_and_others_may_wait_for_it(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet first, second;
    void *zmq_context = gzh_context_underlying(s.context);
    born_free(&first);
    born_free(&second);
    CHECK_IS(gzh_context_term(s.context, first.companion), GZH_WAIT);
    UNTIL(fake_is_terminating(zmq_context));
    CHECK_IS(gzh_companion_cancel(first.companion), GZH_ABANDONED);
    /* Its thread is inside for long yet: not for anybody else. */
    CHECK_IS(ask_call(&first, s.socket, GZH_BIND, "tcp://x"), GZH_BUSY);
    dies(&first);
    CHECK_IS(gzh_context_term(s.context, second.companion), GZH_WAIT);
    gzh_socket_close(s.socket, NULL);
    CHECK_IS(end_term(&second), 0);
    dies(&second);
    end_scene(&s);
}

static void a_context_dropped_under_an_abandoned_term_is_freed_by_that(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born_free(&g);
    CHECK_IS(gzh_context_term(s.context, g.companion), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(g.companion), GZH_ABANDONED);
    dies(&g);
    gzh_context_drop(s.context);
    gzh_socket_drop(s.socket);
    nothing_is_left();
}

static void a_dropped_context_ends_in_the_background(void)
{
    scene s = begin_scene(ZMQ_PULL);
    void *zmq_context = gzh_context_underlying(s.context);
    greenlet g;
    born(&g);
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
    gzh_context_drop(s.context); /* with a socket open, and somebody waiting on it */
    CHECK_IS(wait_on(&g, GZH_WAIT), -ETERM);
    UNTIL(fake_is_terminating(zmq_context));
    gzh_socket_drop(s.socket);
    dies(&g);
    nothing_is_left();
}

static void a_shadow_is_left_to_its_owner(void)
{
    gzh_context *c, *shadow;
    gzh_socket *s, *s_shadow;
    greenlet g;
    CHECK_IS(gzh_context_new(1, &c), 0);
    CHECK_IS(gzh_context_shadow(gzh_context_underlying(c), &shadow), 0);
    CHECK_IS(gzh_socket_open(shadow, ZMQ_PULL, &s), 0);
    CHECK_IS(gzh_socket_wrap(gzh_socket_underlying(s), true, &s_shadow), 0);
    born_free(&g);
    CHECK_IS(ask_recv(&g, s_shadow), GZH_WAIT);
    fake_deliver(gzh_socket_underlying(s), "hello");
    CHECK_IS(wait_on(&g, GZH_WAIT), 5);
    gzh_socket_drop(s_shadow);
    CHECK_IS(fake_sockets(), 1);
    fake_deliver(gzh_socket_underlying(s), "again");
    CHECK_IS(do_recv(&g, s), 5);
    gzh_socket_drop(s);
    gzh_context_drop(shadow);
    CHECK_IS(fake_contexts(), 1);
    CHECK_IS(gzh_context_get(c, ZMQ_IO_THREADS), 1);
    gzh_context_drop(c);
    dies(&g);
    nothing_is_left();
}

static void a_socket_that_cannot_be_had_is_an_error(void)
{
    gzh_context *c;
    gzh_socket *s;
    CHECK_IS(gzh_context_new(1, &c), 0);
    fake_fail_socket(EMFILE);
    CHECK_IS(gzh_socket_open(c, ZMQ_PULL, &s), -EMFILE);
    CHECK_IS(gzh_socket_open(c, ZMQ_PULL, &s), 0);
    gzh_socket_drop(s);
    gzh_context_drop(c);
    nothing_is_left();
}

/* ---- many rounds ---------------------------------------------------------------------------- */

static atomic_int working;

static void *works_until_it_ends(void *argument)
{
    gzh_socket *socket = argument;
    unsigned state = (unsigned)(uintptr_t)&state;
    greenlet g;
    int rc = 0, value;
    born(&g);
    atomic_fetch_add(&working, 1);
    while (rc != -ETERM && rc != -ENOTSOCK) {
        switch (dice(&state, 4)) {
        case 0:
            rc = do_send(&g, socket, "a|b");
            break;
        case 1:
            rc = do_poll(&g, socket, ZMQ_POLLIN);
            break;
        case 2:
            rc = get_option(socket, ZMQ_EVENTS, &value);
            break;
        default:
            rc = do_recv(&g, socket);
        }
        CHECK(rc >= 0 || rc == -ETERM || rc == -ENOTSOCK || rc == GZH_WAIT);
    }
    gzh_socket_close(socket, NULL);
    dies(&g);
    return NULL;
}

static void *opens_sockets_until_it_ends(void *argument)
{
    gzh_context *c = argument;
    int rc;
    gzh_socket *s;
    atomic_fetch_add(&working, 1);
    while ((rc = gzh_socket_open(c, ZMQ_PULL, &s)) == 0) {
        CHECK(gzh_context_get(c, ZMQ_IO_THREADS) != 0);
        gzh_socket_drop(s);
    }
    CHECK_IS(rc, -ETERM);
    CHECK_IS(gzh_socket_open(c, ZMQ_PULL, &s), -ETERM);
    return NULL;
}

static void *ends_it(void *argument)
{
    greenlet g;
    born_free(&g);
    int rc = gzh_context_term(argument, g.companion);
    if (rc == GZH_WAIT)
        rc = end_term(&g);
    CHECK_IS(rc, 0);
    dies(&g);
    return NULL;
}

static void a_context_in_full_use_ends_and_all_who_use_it_are_told(void)
{
    for (int round = 0; round < 100; round++) {
        scene s = begin_scene(ZMQ_DEALER);
        unsigned state = (unsigned)round;
        pthread_t thread[6];
        char text[64];
        shake(true);
        atomic_store(&working, 0);
        set_option(s.socket, ZMQ_SNDHWM, 2);
        for (int i = 0; i < 3; i++)
            thread[i] = start(works_until_it_ends, s.socket);
        thread[3] = start(opens_sockets_until_it_ends, s.context);
        UNTIL(atomic_load(&working) == 4);
        for (int i = 0; i < 10; i++) {
            fake_deliver(s.zmq, "hello");
            fake_take(s.zmq, NULL, text, sizeof text);
            dawdle(&state, 60);
        }
        thread[4] = start(ends_it, s.context);
        thread[5] = start(ends_it, s.context);
        for (int i = 0; i < 6; i++)
            join(thread[i]);
        shake(false);
        end_scene(&s);
    }
}

int main(void)
{
    begin();
    RUN(a_context_without_sockets_ends_at_once);
    RUN(all_who_wait_are_told_of_the_term);
    RUN(a_term_waits_for_calls_that_are_inside_with_the_context);
    RUN(a_message_that_was_granted_before_the_term_is_received);
    RUN(one_term_is_in_flight_and_later_ones_join_it);
    RUN(an_abandoned_term_goes_on_and_others_may_wait_for_it);
    RUN(a_context_dropped_under_an_abandoned_term_is_freed_by_that);
    RUN(a_dropped_context_ends_in_the_background);
    RUN(a_shadow_is_left_to_its_owner);
    RUN(a_socket_that_cannot_be_had_is_an_error);
    RUN(a_context_in_full_use_ends_and_all_who_use_it_are_told);
    return 0;
}
