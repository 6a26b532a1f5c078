/* The moment before a wait: when there is one, what ends it, and what the thread does in it for others. */
#include <poll.h>

#include "crowd.h"
#include "watch.h"

#define LONG 2000000000 /* nanoseconds */

/* ---- what an answer is expected after ---------------------------------------------------------- */

static bool expects_an_answer(gzh_socket *s)
{
    gzh_sleep(3000000); /* the hub has not turned just now: only for an answer is it worth to linger */
    bool expects = gzh_socket_linger(s, -1, 0, true) != GZH_WAIT;
    CHECK_IS(gzh_socket_linger(s, -1, 0, true), GZH_WAIT); /* it was asked in vain */
    return expects;
}

static void an_answer_is_expected_after_whatever_way_to_send_and_until_a_message_came(void)
{
    static const void *const parts[2] = {"a", "b"};
    static const size_t sizes[2] = {1, 1};
    static const int one_each[2] = {1, 1};
    scene s = begin_scene(ZMQ_DEALER);
    greenlet g;
    born(&g);
    CHECK(!expects_an_answer(s.socket));
    CHECK_IS(send_now(s.socket, "a"), 0);
    CHECK(expects_an_answer(s.socket));
    CHECK_IS(gzh_send(s.socket, "a", 1, 0), 0);
    CHECK(expects_an_answer(s.socket));
    CHECK_IS(gzh_send_many(s.socket, parts, sizes, one_each, 2, 0), 2);
    CHECK(expects_an_answer(s.socket));
    fake_refuse(s.zmq, true);
    CHECK_IS(ask_send(&g, s.socket, "b"), GZH_WAIT);
    CHECK(!expects_an_answer(s.socket));
    fake_refuse(s.zmq, false);
    CHECK_IS(wait_on(&g, GZH_WAIT), 0);
    CHECK(expects_an_answer(s.socket));
    CHECK_IS(send_now(s.socket, "a"), 0);
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "answer");
    CHECK_IS(wait_on(&g, GZH_WAIT), 6);
    CHECK(!expects_an_answer(s.socket));
    dies(&g);
    end_scene(&s);
}

static int linger_just_after_a_wait(greenlet *g, const scene *s, bool with_news)
{
    CHECK_IS(ask_recv(g, s->socket), GZH_WAIT);
    fake_deliver(s->zmq, "first");
    CHECK_IS(wait_on(g, GZH_WAIT), 5);
    if (with_news)
        fake_deliver(s->zmq, "second");
    int rc = gzh_socket_linger(s->socket, -1, 0, true);
    if (with_news)
        CHECK_IS(read_slot(g, gzh_recv(s->socket, NULL, g->slot, ZMQ_DONTWAIT)), 6);
    return rc;
}

static void where_messages_just_come_it_dozes_and_only_just_after_the_hub_has_turned(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    int rc;
    born(&g);
    gzh_sleep(3000000);
    CHECK_IS(gzh_socket_linger(s.socket, -1, 0, true), GZH_WAIT);
    /* (GZH_WAIT: the machine took its time meanwhile.) */
    UNTIL((rc = linger_just_after_a_wait(&g, &s, false)) != GZH_WAIT);
    CHECK_IS(rc, GZH_NO_NEWS);
    UNTIL((rc = linger_just_after_a_wait(&g, &s, true)) != GZH_WAIT);
    CHECK_IS(rc, GZH_NEWS);
    for (int i = 0; i < 20; i++) {
        linger_just_after_a_wait(&g, &s, false);
        CHECK_IS(gzh_socket_linger(s.socket, -1, LONG, false), GZH_WAIT); /* others wait */
    }
    dies(&g);
    end_scene(&s);
}

static void *receives_too(void *socket)
{
    greenlet g;
    born(&g);
    CHECK_IS(gzh_recv(socket, NULL, g.slot, ZMQ_DONTWAIT), GZH_LOOK);
    dies(&g);
    return NULL;
}

static void none_dozes_whom_another_threads_receiver_could_overtake(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    UNTIL(linger_just_after_a_wait(&g, &s, false) != GZH_WAIT);
    join(start(receives_too, s.socket));
    for (int i = 0; i < 20; i++)
        CHECK_IS(linger_just_after_a_wait(&g, &s, false), GZH_WAIT);
    dies(&g);
    end_scene(&s);
}

/* ---- what ends the moment ------------------------------------------------------------------------- */

/* What is ready for another greenlet makes its hub's descriptor readable: here it is the pipe itself. */
static int linger_beside(const greenlet *other, gzh_socket *socket)
{
    CHECK_IS(send_now(socket, "asked"), 0);
    return gzh_socket_linger(socket, gzh_companion_fd(other->companion), LONG, true);
}

static void news_end_it(void)
{
    crowd c = begin_crowd(ZMQ_DEALER);
    gzh_poll_item items[MANY];
    greenlet g;
    born(&g);
    fill(items, &c, ZMQ_POLLIN);
    CHECK_IS(send_now(c.socket[1], "asked"), 0);
    fake_deliver(c.zmq[2], "news");
    CHECK_IS(gzh_poll_linger(items, MANY, -1, LONG, true), GZH_NEWS);
    CHECK_IS(read_slot(&g, gzh_recv(c.socket[2], NULL, g.slot, ZMQ_DONTWAIT)), 4);
    dies(&g);
    end_crowd(&c);
}

static void what_the_watch_has_brought_for_another_ends_it(void)
{
    crowd c = begin_crowd(ZMQ_DEALER);
    greenlet g;
    born(&g);
    CHECK_IS(ask_recv(&g, c.socket[1]), GZH_WAIT);
    fake_deliver(c.zmq[1], "other");
    WAIT_TOLD(&g);
    CHECK_IS(linger_beside(&g, c.socket[0]), GZH_GAVE_WAY);
    CHECK_IS(wait_on(&g, GZH_WAIT), 5);
    dies(&g);
    end_crowd(&c);
}

/* The watch is held up with something else. */
static void what_comes_for_another_is_brought_by_who_stays_awake(void)
{
    crowd c = begin_crowd(ZMQ_DEALER);
    greenlet g, late;
    born(&g);
    born(&late);
    CHECK_IS(ask_recv(&g, c.socket[1]), GZH_WAIT);
    CHECK_IS(ask_recv(&late, c.socket[2]), GZH_WAIT);
    stop_at("watch: between event and ready");
    fake_deliver(c.zmq[2], "late");
    wait_stopped();
    fake_deliver(c.zmq[1], "other");
    CHECK_IS(linger_beside(&g, c.socket[0]), GZH_HELPED);
    CHECK_IS(wait_on(&g, GZH_WAIT), 5);
    NOT_TOLD(&late);
    let_go();
    CHECK_IS(wait_on(&late, GZH_WAIT), 4);
    dies(&g);
    dies(&late);
    end_crowd(&c);
}

static void who_helps_where_there_is_nothing_to_do_says_so(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
    UNTIL(!gzh_watch_help());
    struct pollfd watch = {.fd = gzh_watch_fd(), .events = POLLIN};
    CHECK_IS(poll(&watch, 1, 0), 0);
    CHECK_IS(gzh_companion_cancel(g.companion), 0);
    dies(&g);
    end_scene(&s);
}

static void it_is_not_tried_where_another_waits_for_the_same(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    greenlet g;
    born(&g);
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
    CHECK_IS(send_now(s.socket, "asked"), 0);
    CHECK_IS(gzh_socket_linger(s.socket, -1, LONG, true), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(g.companion), 0);
    CHECK_IS(try_poll(s.socket, g.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    CHECK_IS(gzh_socket_linger(s.socket, -1, LONG, true), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(g.companion), 0);
    CHECK_IS(gzh_socket_linger(s.socket, -1, 0, true), GZH_NO_NEWS);
    dies(&g);
    end_scene(&s);
}

static void it_is_not_tried_where_another_was_granted_a_message_and_has_not_run(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    greenlet g;
    born(&g);
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "its");
    WAIT_TOLD(&g);
    CHECK_IS(send_now(s.socket, "asked"), 0);
    CHECK_IS(gzh_socket_linger(s.socket, -1, LONG, true), GZH_WAIT);
    CHECK_IS(wait_on(&g, GZH_WAIT), 3);
    dies(&g);
    end_scene(&s);
}

int main(void)
{
    begin();
    RUN(an_answer_is_expected_after_whatever_way_to_send_and_until_a_message_came);
    RUN(where_messages_just_come_it_dozes_and_only_just_after_the_hub_has_turned);
    RUN(none_dozes_whom_another_threads_receiver_could_overtake);
    RUN(news_end_it);
    RUN(what_the_watch_has_brought_for_another_ends_it);
    RUN_IF(CAN_HELP, what_comes_for_another_is_brought_by_who_stays_awake, HELPLESS);
    RUN_IF(CAN_HELP, who_helps_where_there_is_nothing_to_do_says_so, HELPLESS);
    RUN(it_is_not_tried_where_another_waits_for_the_same);
    RUN(it_is_not_tried_where_another_was_granted_a_message_and_has_not_run);
    return 0;
}
