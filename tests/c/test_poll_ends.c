/* Polls of several sockets that are closed, end, or have somebody inside; and thousands of rounds of
 * several who poll the same. */
#include "crowd.h"

/* ---- the ends --------------------------------------------------------------------------------- */

static void a_closed_socket_is_an_error_and_named(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    gzh_socket_close(c.socket[2], NULL);
    CHECK_IS(wait_poll(&g, items), -ENOTSOCK);
    CHECK_IS(items[2].events, -ENOTSOCK);
    CHECK_IS(ask_poll(&g, items), -ENOTSOCK);
    CHECK_IS(items[2].events, -ENOTSOCK);
    fake_deliver(c.zmq[0], "hello"); /* it is on none of the others */
    NOT_TOLD(&g);
    items[2].socket = c.socket[1];
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    CHECK_IS(wait_poll(&g, items), 1);
    dies(&g);
    end_crowd(&c);
}

static void a_context_that_ends_tells_those_who_poll(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &c, 0); /* whatever is asked for */
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    CHECK_IS(gzh_context_shutdown(c.first.context), 0);
    CHECK_IS(wait_poll(&g, items), -ETERM);
    CHECK_IS(look(items), -ETERM);
    dies(&g);
    end_crowd(&c);
}

static void sockets_that_are_dropped_while_they_are_polled_go_with_the_poll(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    for (int i = 0; i < MANY; i++)
        gzh_socket_drop(c.socket[i]);
    gzh_context_drop(c.first.context);
    CHECK_IS(wait_poll(&g, items), -ENOTSOCK);
    dies(&g);
    nothing_is_left();
}

static void *polls_and_ends(void *argument)
{
    gzh_poll_item items[MANY];
    gzh_companion *companion;
    fill(items, argument, ZMQ_POLLIN);
    CHECK_IS(gzh_companion_open(&companion), 0); /* its greenlet never ends */
    CHECK_IS(gzh_poll_begin(items, MANY, companion), GZH_WAIT);
    return companion;
}

static void a_thread_that_ends_leaves_nothing_of_its_poll(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    void *companion;
    greenlet g;
    gzh_poll_item items[MANY];
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT); /* so that the other is not on watch */
    CHECK_IS(pthread_join(start(polls_and_ends, &c), &companion), 0);
    CHECK_IS(end_poll(&g, items, true), -EAGAIN);
    CHECK_IS(gzh_poll_end(items, MANY, companion, true), GZH_WAIT);
    for (int i = 0; i < MANY; i++) {
        fake_deliver(c.zmq[i], "hello");
        CHECK_IS(recv_now(&g, c.socket[i]), 5);
    }
    gzh_companion_close(companion);
    dies(&g);
    end_crowd(&c);
}

/* ---- others inside ---------------------------------------------------------------------------- */

typedef struct {
    greenlet g;
    gzh_socket *socket;
} binder;

static void *binds_slowly(void *argument)
{
    binder *b = argument;
    CHECK_IS(wait_on(&b->g, ask_call(&b->g, b->socket, GZH_BIND, "slow:x")), 0);
    return NULL;
}

static void a_socket_that_another_is_inside_is_no_news_until_he_is_out(void)
{
    crowd c = begin_crowd(ZMQ_PULL);
    gzh_poll_item items[MANY];
    binder b = {.socket = c.socket[1]};
    greenlet g;
    born(&g);
    born(&b.g);
    fill(items, &c, ZMQ_POLLIN);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT); /* g's companion goes on watch, if any does */
    CHECK_IS(end_poll(&g, items, true), -EAGAIN);
    fake_gate(true);
    pthread_t thread = start(binds_slowly, &b);
    UNTIL(fake_at_gate() == 1);
    fake_deliver(c.zmq[1], "hello");
    CHECK_IS(look(items), 0);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    NOT_TOLD(&g);
    fake_deliver(c.zmq[3], "hello");
    CHECK_IS(wait_poll(&g, items), 1);
    CHECK_IS(look(items), 1);
    CHECK_IS(items[3].events, ZMQ_POLLIN);
    CHECK_IS(recv_now(&g, c.socket[3]), 5);
    CHECK_IS(ask_poll(&g, items), GZH_WAIT);
    NOT_TOLD(&g);
    fake_gate(false);
    join(thread);
    CHECK_IS(wait_poll(&g, items), 1);
    CHECK_IS(items[1].events, ZMQ_POLLIN);
    dies(&g);
    dies(&b.g);
    end_crowd(&c);
}

/* ---- many rounds ------------------------------------------------------------------------------ */

#define ROUNDS 1500
#define POLLERS 3

static struct {
    crowd c;
    atomic_int received, delivered;
    atomic_bool stop;
} stage;

/* Polls all, takes what is there, and now and then leaves early. */
static void *polls_and_takes(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &stage.c, ZMQ_POLLIN);
    while (atomic_load(&stage.received) < ROUNDS) {
        int rc = gzh_poll_look(items, MANY, ZMQ_DONTWAIT);
        if (rc == 0) {
            rc = ask_poll(&g, items);
            CHECK_IS(rc, GZH_WAIT);
            switch (dice(&state, 4)) {
            case 0:
                dawdle(&state, 200);
                CHECK_IS(gzh_companion_cancel(g.companion), 0);
                continue;
            case 1:
                dawdle(&state, 200);
                rc = end_poll(&g, items, true);
                CHECK(rc == -EAGAIN || rc > 0);
                break;
            default:
                rc = wait_poll(&g, items);
                CHECK(rc > 0);
            }
            fill(items, &stage.c, ZMQ_POLLIN);
            continue;
        }
        CHECK(rc > 0);
        for (int i = 0; i < MANY; i++)
            if (items[i].events) {
                rc = read_slot(&g, try_recv(stage.c.socket[i], NULL, g.slot, ZMQ_DONTWAIT | GZH_ONE));
                if (rc >= 0)
                    atomic_fetch_add(&stage.received, 1);
                else
                    CHECK_IS(rc, -EAGAIN);
            }
        fill(items, &stage.c, ZMQ_POLLIN);
    }
    atomic_store(&stage.stop, true);
    dies(&g);
    return NULL;
}

/* Others on the same sockets: each look may eat the signal that a poll waits for. */
static void *disturbs(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    greenlet g;
    int value;
    born(&g);
    while (!atomic_load(&stage.stop)) {
        gzh_socket *s = stage.c.socket[dice(&state, MANY)];
        int rc;
        switch (dice(&state, 4)) {
        case 0:
            rc = get_option(s, ZMQ_EVENTS, &value);
            CHECK(rc == 0 || rc == GZH_WAIT);
            break;
        case 1:
            rc = ask_recv(&g, s);
            if (rc == GZH_WAIT) {
                dawdle(&state, 100);
                CHECK_IS(gzh_companion_cancel(g.companion), 0);
            } else
                atomic_fetch_add(&stage.received, 1);
            break;
        case 2:
            CHECK_IS(try_poll(s, g.companion, ZMQ_POLLIN, 0), GZH_WAIT);
            dawdle(&state, 100);
            CHECK_IS(gzh_companion_cancel(g.companion), 0);
            break;
        default:
            CHECK(try_poll(s, NULL, ZMQ_POLLIN, ZMQ_DONTWAIT) >= 0);
        }
        dawdle(&state, 100);
    }
    dies(&g);
    return NULL;
}

static void several_who_poll_miss_nothing_for_thousands_of_rounds(void)
{
    unsigned state = 5;
    pthread_t thread[POLLERS], other;
    stage.c = begin_crowd(ZMQ_PULL);
    atomic_store(&stage.received, 0);
    atomic_store(&stage.stop, false);
    fake_jitter(true);
    shake(true);
    for (long i = 0; i < POLLERS; i++)
        thread[i] = start(polls_and_takes, (void *)(i + 21));
    other = start(disturbs, (void *)7l);
    for (int i = 0; i < ROUNDS; i++) {
        /* One at a time, so that all of them wait for it. */
        UNTIL(atomic_load(&stage.received) == i);
        dawdle(&state, 100);
        CHECK(fake_deliver(stage.c.zmq[dice(&state, MANY)], "m"));
    }
    UNTIL(atomic_load(&stage.received) == ROUNDS);
    atomic_store(&stage.stop, true);
    join(other);
    for (int i = 0; i < 2 * POLLERS; i++) /* some wait for what will not come */
        fake_deliver(stage.c.zmq[i % MANY], "end");
    for (int i = 0; i < POLLERS; i++)
        join(thread[i]);
    fake_jitter(false);
    shake(false);
    end_crowd(&stage.c);
}

int main(void)
{
    begin();
    RUN(a_closed_socket_is_an_error_and_named);
    RUN(a_context_that_ends_tells_those_who_poll);
    RUN(sockets_that_are_dropped_while_they_are_polled_go_with_the_poll);
    RUN(a_thread_that_ends_leaves_nothing_of_its_poll);
    RUN(a_socket_that_another_is_inside_is_no_news_until_he_is_out);
    RUN(several_who_poll_miss_nothing_for_thousands_of_rounds);
    return 0;
}
