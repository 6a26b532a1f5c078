/* Sending: at once, blocked at the high-water mark, cancelled, refused in the middle of a message. */
#include "scene.h"

#define MANY 6

static void taken_is(scene *s, const char *text)
{
    char found[256];
    CHECK(fake_take(s->zmq, NULL, found, sizeof found));
    CHECK_TEXT(found, text);
}

static void what_there_is_room_for_is_sent_at_once(void)
{
    scene s = begin_scene(ZMQ_PUSH);
    const void *const parts[3] = {"tw", "", "oXY"};
    const size_t sizes[3] = {2, 0, 3};
    int before = living_companions();
    CHECK_IS(set_option(s.socket, ZMQ_SNDHWM, 4), 0);
    CHECK_IS(gzh_send(s.socket, "one", 3, 0), 0);
    CHECK_IS(gzh_send_parts(s.socket, parts, sizes, 2, 0), 0);
    CHECK_IS(gzh_send_parts(s.socket, parts, sizes, 3, 0), 0);
    CHECK_IS(send_now(s.socket, "a|b|c|d|e|f"), 0);
    CHECK_IS(gzh_send(s.socket, "four", 4, ZMQ_DONTWAIT), -EAGAIN);
    CHECK_IS(gzh_send(s.socket, "four", 4, 0), GZH_WAIT);
    CHECK_IS(gzh_send_parts(s.socket, parts, sizes, 3, ZMQ_DONTWAIT), -EAGAIN);
    CHECK_IS(gzh_send_parts(s.socket, parts, sizes, 3, 0), GZH_WAIT);
    CHECK_IS(gzh_send_parts(s.socket, parts, sizes, 3, ZMQ_SNDMORE), GZH_LOOK);
    CHECK_IS(send_now(s.socket, "a|b"), -EAGAIN);
    CHECK_IS(set_option(s.socket, ZMQ_SNDTIMEO, 0), 0);
    CHECK_IS(gzh_send(s.socket, "four", 4, 0), -EAGAIN);
    taken_is(&s, "one");
    taken_is(&s, "tw|");
    taken_is(&s, "tw||oXY");
    taken_is(&s, "a|b|c|d|e|f");
    CHECK_IS(fake_sent(s.zmq), 0);
    CHECK_IS(living_companions(), before);
    end_scene(&s);
}

/* libzmq looks for news only now and then when it sends. */
static void a_nonblocking_send_sees_room_that_libzmq_has_not_looked_for(void)
{
    scene s = begin_scene(ZMQ_PUSH);
    fake_throttle(1000);
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "one"), 0);
    CHECK_IS(send_now(s.socket, "two"), -EAGAIN);
    taken_is(&s, "one");
    CHECK_IS(send_now(s.socket, "two"), 0);
    greenlet g;
    born(&g);
    taken_is(&s, "two");
    CHECK_IS(ask_send(&g, s.socket, "three"), GZH_WAIT); /* refused at first, then told at once */
    CHECK_IS(wait_on(&g, GZH_WAIT), 0);
    CHECK_IS(ask_send(&g, s.socket, "four"), GZH_WAIT);
    NOT_TOLD(&g);
    taken_is(&s, "three");
    CHECK_IS(wait_on(&g, GZH_WAIT), 0);
    fake_throttle(1);
    dies(&g);
    end_scene(&s);
}

static void blocked_senders_are_served_first_come_first_served(void)
{
    scene s = begin_scene(ZMQ_PUSH);
    greenlet g[MANY];
    char text[32];
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "m0|end"), 0);
    for (int i = 0; i < MANY; i++) {
        born(&g[i]);
        snprintf(text, sizeof text, "m%d|end", i + 1);
        CHECK_IS(ask_send(&g[i], s.socket, text), GZH_WAIT);
    }
    CHECK_IS(send_now(s.socket, "pushing in"), -EAGAIN);
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "m%d|end", i);
        taken_is(&s, text);
        if (i == 0)
            CHECK_IS(gzh_send(s.socket, "pushing in", 10, ZMQ_DONTWAIT), -EAGAIN);
        WAIT_TOLD(&g[i]);
        if (i + 1 < MANY)
            CHECK(!is_told(&g[i + 1], 0));
        CHECK_IS(end_other(&g[i]), 0);
        dies(&g[i]);
    }
    end_scene(&s);
}

static void a_killed_sender_sends_nothing_and_the_next_one_goes_on(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    greenlet a, b, c;
    born(&a);
    born(&b);
    born(&c);
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "first"), 0);
    CHECK_IS(ask_send(&a, s.socket, "a|1"), GZH_WAIT);
    CHECK_IS(ask_send(&b, s.socket, "b|1"), GZH_WAIT);
    CHECK_IS(ask_send(&c, s.socket, "c|1"), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(a.companion), 0);
    CHECK(!gzh_companion_has_sent(a.companion));
    CHECK_IS(gzh_end(b.companion, NULL, 0, true), -EAGAIN);
    taken_is(&s, "first");
    CHECK_IS(wait_on(&c, GZH_WAIT), 0);
    taken_is(&s, "c|1");
    CHECK_IS(fake_sent(s.zmq), 0);
    dies(&a);
    dies(&b);
    dies(&c);
    end_scene(&s);
}

static void *kills(void *argument)
{
    greenlet *g = argument;
    CHECK_IS(gzh_companion_cancel(g->companion), 0);
    CHECK(gzh_companion_has_sent(g->companion));
    return NULL;
}

static void *loses_patience(void *argument)
{
    greenlet *g = argument;
    CHECK_IS(gzh_end(g->companion, NULL, 0, true), 0); /* it was sent, so that is what it is told */
    return NULL;
}

static void a_sender_that_leaves_while_its_message_is_being_sent_knows_what_became_of_it(void)
{
    for (int kill = 0; kill < 2; kill++) {
        scene s = begin_scene(ZMQ_PUSH);
        greenlet g;
        born(&g);
        set_option(s.socket, ZMQ_SNDHWM, 1);
        CHECK_IS(send_now(s.socket, "first"), 0);
        CHECK_IS(ask_send(&g, s.socket, "second"), GZH_WAIT);
        stop_at("serve: sending");
        taken_is(&s, "first");
        wait_stopped();
        pthread_t thread = start(kill ? kills : loses_patience, &g);
        pause_us(1000);
        let_go();
        join(thread);
        taken_is(&s, "second");
        dies(&g);
        end_scene(&s);
    }
}

/* ---- refused in the middle -------------------------------------------------------------------- */

static void a_message_refused_midway_is_sent_whole_from_its_first_part(void)
{
    const int types[] = {ZMQ_PUSH, ZMQ_DEALER, ZMQ_PAIR};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        for (int index = 1; index < 4; index++) {
            scene s = begin_scene(types[i]);
            greenlet g;
            born(&g);
            fake_refuse_part(s.zmq, index, 1);
            CHECK_IS(do_send(&g, s.socket, "a|b|c|d"), 0);
            taken_is(&s, "a|b|c|d");
            fake_refuse_part(s.zmq, index, 3);
            CHECK_IS(do_send(&g, s.socket, "e|f|g|h|i|j"), 0);
            taken_is(&s, "e|f|g|h|i|j");
            fake_refuse_part(s.zmq, index, 5);
            CHECK_IS(send_now(s.socket, "k|l|m|n"), -EAGAIN);
            CHECK_IS(fake_sent(s.zmq), 0);
            fake_refuse_part(s.zmq, index, 0);
            CHECK_IS(send_now(s.socket, "k|l|m|n"), 0);
            taken_is(&s, "k|l|m|n");
            dies(&g);
            end_scene(&s);
        }
}

/* Held up by its peer in the middle of the message, and again with the beginning. */
static void a_message_refused_midway_can_wait_for_room(void)
{
    scene s = begin_scene(ZMQ_PUSH);
    greenlet g;
    born(&g);
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "first"), 0);
    fake_refuse_part(s.zmq, 2, 1);
    CHECK_IS(ask_send(&g, s.socket, "a|b|c|d"), GZH_WAIT);
    taken_is(&s, "first");
    CHECK_IS(wait_on(&g, GZH_WAIT), 0);
    taken_is(&s, "a|b|c|d");
    dies(&g);
    end_scene(&s);
}

static void a_refusal_though_libzmq_said_it_could_send_is_tried_again(void)
{
    scene s = begin_scene(ZMQ_PUSH);
    greenlet g;
    born(&g);
    fake_fail_sends(s.zmq, EAGAIN, 4);
    CHECK_IS(do_send(&g, s.socket, "a|b"), 0);
    taken_is(&s, "a|b");
    fake_fail_sends(s.zmq, EFSM, 1);
    CHECK_IS(do_send(&g, s.socket, "c"), -EFSM);
    dies(&g);
    end_scene(&s);
}

/* ---- a ROUTER that must not drop: POLLOUT is always there, and says nothing ------------------------ */

static void a_router_waits_for_its_peer_and_not_in_circles(void)
{
    scene s = begin_scene(ZMQ_ROUTER);
    greenlet g;
    char text[64];
    born(&g);
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "A|1"), 0);
    CHECK_IS(ask_send(&g, s.socket, "A|2"), GZH_WAIT);
    CHECK_IS(poll_now(s.socket, ZMQ_POLLOUT), ZMQ_POLLOUT);
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    NOT_TOLD(&g);
    pause_us(100000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    CHECK((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 < 50);
    CHECK(fake_take(s.zmq, "A", text, sizeof text));
    CHECK_IS(wait_on(&g, GZH_WAIT), 0);
    CHECK(fake_take(s.zmq, "A", text, sizeof text));
    CHECK_TEXT(text, "A|2");
    dies(&g);
    end_scene(&s);
}

/* With poll(2) a signal that somebody has eaten cannot be seen any more, which only a socket whose
 * POLLOUT is no promise needs (watch.c): the tests of that are for epoll. */
#ifdef GZH_WATCH_POLL
#define SEES_EATEN_SIGNALS false
#else
#define SEES_EATEN_SIGNALS true
#endif
#define BLIND "poll(2) does not see a signal that somebody has eaten"

/* Room is made between the refusal and the owner's last look, which eats the signal of it. */
static void a_router_is_told_of_room_though_the_signal_is_eaten(void)
{
    scene s = begin_scene(ZMQ_ROUTER);
    greenlet g;
    char text[64];
    born(&g);
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "A|1"), 0);
    for (int i = 2; i < 20; i++) {
        snprintf(text, sizeof text, "A|%d", i);
        CHECK_IS(ask_send(&g, s.socket, text), GZH_WAIT);
        pause_us(1000);
        stop_at("serve: sent or refused");
        fake_deliver(s.zmq, "A|news, of no use to the sender");
        wait_stopped();
        CHECK(fake_take(s.zmq, "A", text, sizeof text));
        CHECK_IS(number_in(text), i - 1);
        let_go();
        CHECK_IS(wait_on(&g, GZH_WAIT), 0);
    }
    dies(&g);
    end_scene(&s);
}

/* The first in the queue waits for A, the second for B, which has room. */
static void when_the_first_sender_leaves_the_second_is_tried(void)
{
    for (int kill = 0; kill < 2; kill++) {
        scene s = begin_scene(ZMQ_ROUTER);
        greenlet a, b;
        char text[64];
        born(&a);
        born(&b);
        set_option(s.socket, ZMQ_SNDHWM, 1);
        CHECK_IS(send_now(s.socket, "A|1"), 0);
        CHECK_IS(ask_send(&a, s.socket, "A|2"), GZH_WAIT);
        CHECK_IS(ask_send(&b, s.socket, "B|1"), GZH_WAIT);
        pause_us(2000);
        if (kill)
            CHECK_IS(gzh_companion_cancel(a.companion), 0);
        else
            CHECK_IS(gzh_end(a.companion, NULL, 0, true), -EAGAIN);
        CHECK_IS(wait_on(&b, GZH_WAIT), 0);
        CHECK(fake_take(s.zmq, "B", text, sizeof text));
        CHECK_TEXT(text, "B|1");
        dies(&a);
        dies(&b);
        end_scene(&s);
    }
}

/* The owner has given up on the queue, and is about to look for the last time, when its first goes. */
static void a_sender_behind_one_that_leaves_is_tried_though_the_owner_has_given_up(void)
{
    scene s = begin_scene(ZMQ_ROUTER);
    greenlet a, b;
    char text[64];
    born(&a);
    born(&b);
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "A|1"), 0);
    CHECK_IS(ask_send(&a, s.socket, "A|2"), GZH_WAIT);
    CHECK_IS(ask_send(&b, s.socket, "B|1"), GZH_WAIT);
    pause_us(2000);
    stop_at("serve: sent or refused");
    fake_deliver(s.zmq, "A|news, of no use to the sender");
    wait_stopped();
    stop_at("serve: about to look");
    let_go();
    wait_stopped();
    CHECK_IS(gzh_companion_cancel(a.companion), 0);
    let_go();
    CHECK_IS(wait_on(&b, GZH_WAIT), 0);
    CHECK(fake_take(s.zmq, "B", text, sizeof text));
    dies(&a);
    dies(&b);
    end_scene(&s);
}

/* Others look at the socket all the time and eat its signals, which POLLOUT does not remember. */
static struct {
    gzh_socket *socket;
    void *zmq;
    atomic_bool stop;
    atomic_int sent;
} crowd;

static void *looks_at_events(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    int events;
    while (!atomic_load(&crowd.stop)) {
        int rc = get_option(crowd.socket, ZMQ_EVENTS, &events);
        CHECK(rc == 0 || rc == GZH_WAIT);
        dawdle(&state, 60);
    }
    return NULL;
}

#define ROUTED 3000

static void *sends_to_a(void *argument)
{
    greenlet g;
    char text[32];
    (void)argument;
    born(&g);
    for (int i = 1; i <= ROUTED; i++) {
        snprintf(text, sizeof text, "A|m%d", i);
        CHECK_IS(do_send(&g, crowd.socket, text), 0);
        atomic_store(&crowd.sent, i);
    }
    dies(&g);
    return NULL;
}

static void a_blocked_router_misses_no_signal_that_others_have_eaten(void)
{
    scene s = begin_scene(ZMQ_ROUTER);
    char text[64];
    unsigned state = 99;
    set_option(s.socket, ZMQ_SNDHWM, 1);
    crowd.socket = s.socket;
    crowd.zmq = s.zmq;
    atomic_store(&crowd.stop, false);
    fake_jitter(true);
    shake(true);
    pthread_t sender = start(sends_to_a, NULL), looker = start(looks_at_events, (void *)1);
    for (int i = 1; i <= ROUTED; i++) {
        UNTIL(fake_sent(s.zmq) > 0);
        dawdle(&state, 100);
        CHECK(fake_take(s.zmq, "A", text, sizeof text));
        CHECK_IS(number_in(text), i);
    }
    join(sender);
    atomic_store(&crowd.stop, true);
    join(looker);
    fake_jitter(false);
    shake(false);
    end_scene(&s);
}

/* ---- many rounds ---------------------------------------------------------------------------------- */

#define SENDERS 4
#define EACH 2500

static void *sends_many(void *argument)
{
    int self = (int)(intptr_t)argument;
    unsigned state = (unsigned)self;
    char text[64];
    greenlet g;
    born(&g);
    for (int i = 1; i <= EACH;) {
        int rc, how = (int)dice(&state, 6);
        snprintf(text, sizeof text, "s%d|%d|%d|end", self, i, i);
        if (how == 0)
            rc = send_nonblocking(crowd.socket, text);
        else {
            rc = ask_send(&g, crowd.socket, text);
            if (rc == GZH_WAIT && how == 1) {
                dawdle(&state, 50);
                rc = gzh_end(g.companion, NULL, 0, true);
            } else if (rc == GZH_WAIT && how == 2) {
                /* Killed, it does not know; so this one may come or not. */
                snprintf(text, sizeof text, "s%d|%d|0|end", self, i);
                rc = gzh_end(g.companion, NULL, 0, true);
                CHECK(rc == 0 || rc == -EAGAIN);
                if (rc == 0) {
                    i++;
                    continue;
                }
                rc = ask_send(&g, crowd.socket, text);
                if (rc == GZH_WAIT) {
                    dawdle(&state, 50);
                    CHECK_IS(gzh_companion_cancel(g.companion), 0);
                    rc = -EAGAIN;
                } else if (rc == 0)
                    rc = -EAGAIN; /* the one with the 0 does not count */
            } else
                rc = wait_on(&g, rc);
        }
        if (rc == -EAGAIN)
            continue;
        CHECK_IS(rc, 0);
        i++;
    }
    dies(&g);
    return NULL;
}

static void every_multipart_arrives_once_and_whole(bool refuse_parts)
{
    scene s = begin_scene(ZMQ_DEALER);
    pthread_t thread[SENDERS];
    int last[SENDERS] = {0}, found = 0, sender, number, copy;
    unsigned state = 77;
    char text[64], end[8];
    set_option(s.socket, ZMQ_SNDHWM, 2);
    crowd.socket = s.socket;
    shake(true);
    fake_throttle(3);
    for (long i = 0; i < SENDERS; i++)
        thread[i] = start(sends_many, (void *)i);
    while (found < SENDERS * EACH) {
        UNTIL(fake_sent(s.zmq) > 0);
        CHECK(fake_take(s.zmq, NULL, text, sizeof text));
        CHECK_IS(sscanf(text, "s%d|%d|%d|%7s", &sender, &number, &copy, end), 4);
        CHECK_TEXT(end, "end");
        if (copy == 0)
            continue;
        CHECK_IS(number, copy);
        CHECK_IS(number, last[sender] + 1);
        last[sender] = number;
        found++;
        if (refuse_parts && dice(&state, 8) == 0)
            fake_refuse_part(s.zmq, 1 + (int)dice(&state, 3), 1);
        dawdle(&state, 40);
    }
    fake_refuse_part(s.zmq, 0, 0);
    for (int i = 0; i < SENDERS; i++)
        join(thread[i]);
    shake(false);
    fake_throttle(1);
    end_scene(&s);
}

static void many_senders_send_every_multipart_once_and_whole(void)
{
    every_multipart_arrives_once_and_whole(false);
}

static void many_senders_send_every_multipart_once_and_whole_though_parts_are_refused(void)
{
    every_multipart_arrives_once_and_whole(true);
}

int main(void)
{
    begin();
    RUN(what_there_is_room_for_is_sent_at_once);
    RUN(a_nonblocking_send_sees_room_that_libzmq_has_not_looked_for);
    RUN(blocked_senders_are_served_first_come_first_served);
    RUN(a_killed_sender_sends_nothing_and_the_next_one_goes_on);
    RUN(a_sender_that_leaves_while_its_message_is_being_sent_knows_what_became_of_it);
    RUN(a_message_refused_midway_is_sent_whole_from_its_first_part);
    RUN(a_message_refused_midway_can_wait_for_room);
    RUN(a_refusal_though_libzmq_said_it_could_send_is_tried_again);
    RUN(a_router_waits_for_its_peer_and_not_in_circles);
    RUN_IF(SEES_EATEN_SIGNALS, a_router_is_told_of_room_though_the_signal_is_eaten, BLIND);
    RUN(when_the_first_sender_leaves_the_second_is_tried);
    RUN(a_sender_behind_one_that_leaves_is_tried_though_the_owner_has_given_up);
    RUN_IF(SEES_EATEN_SIGNALS, a_blocked_router_misses_no_signal_that_others_have_eaten, BLIND);
    RUN(many_senders_send_every_multipart_once_and_whole);
    RUN(many_senders_send_every_multipart_once_and_whole_though_parts_are_refused);
    return 0;
}
