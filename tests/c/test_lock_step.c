/* REQ and REP, whose sends and receives take turns.  A message that csrc has fetched and no greenlet
 * has taken counts as not received yet. */
#include "scene.h"

static void a_reply_must_be_taken_before_the_next_request(void)
{
    scene s = begin_scene(ZMQ_REQ);
    greenlet a;
    int events;
    born(&a);
    CHECK_IS(ask_recv(&a, s.socket), -EFSM);
    CHECK_IS(send_now(s.socket, "question"), 0);
    CHECK_IS(send_now(s.socket, "another"), -EFSM);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "answer");
    WAIT_TOLD(&a);
    CHECK_IS(send_now(s.socket, "another"), -EFSM);
    CHECK_IS(poll_now(s.socket, ZMQ_POLLOUT), 0);
    until_nobody_is_inside(s.socket);
    CHECK_IS(get_option(s.socket, ZMQ_EVENTS, &events), 0);
    CHECK_IS(events & ZMQ_POLLOUT, 0);
    CHECK_IS(end_wait(&a), 6);
    CHECK_IS(poll_now(s.socket, ZMQ_POLLOUT), ZMQ_POLLOUT);
    CHECK_IS(send_now(s.socket, "another"), 0);
    dies(&a);
    end_scene(&s);
}

static void a_reply_whose_receiver_was_killed_is_the_next_ones(void)
{
    scene s = begin_scene(ZMQ_REQ);
    greenlet a, b;
    born(&a);
    born(&b);
    CHECK_IS(send_now(s.socket, "question"), 0);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "answer");
    WAIT_TOLD(&a);
    CHECK_IS(gzh_companion_cancel(a.companion), 0);
    CHECK_IS(send_now(s.socket, "another"), -EFSM);
    CHECK_IS(poll_now(s.socket, ZMQ_POLLIN | ZMQ_POLLOUT), ZMQ_POLLIN);
    CHECK_IS(recv_now(&b, s.socket), 6);
    CHECK_IS(send_now(s.socket, "another"), 0);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

static void only_one_of_two_receivers_can_have_the_reply(void)
{
    scene s = begin_scene(ZMQ_REQ);
    greenlet a, b;
    born(&a);
    born(&b);
    CHECK_IS(send_now(s.socket, "question"), 0);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(ask_recv(&b, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "answer");
    CHECK_IS(wait_on(&a, GZH_WAIT), 6);
    CHECK_IS(wait_on(&b, GZH_WAIT), -EFSM);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

static void one_who_polls_for_pollout_is_told_when_the_reply_is_taken(void)
{
    for (int at_once = 0; at_once < 2; at_once++) {
        scene s = begin_scene(ZMQ_REQ);
        greenlet a, b, c;
        born(&a);
        born(&b);
        born(&c);
        CHECK_IS(send_now(s.socket, "question"), 0);
        CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
        CHECK_IS(try_poll(s.socket, b.companion, ZMQ_POLLOUT, 0), GZH_WAIT);
        fake_deliver(s.zmq, "answer");
        WAIT_TOLD(&a);
        NOT_TOLD(&b);
        if (at_once) {
            CHECK_IS(gzh_companion_cancel(a.companion), 0);
            NOT_TOLD(&b);
            CHECK_IS(recv_now(&c, s.socket), 6);
        } else
            CHECK_IS(end_wait(&a), 6);
        CHECK_IS(wait_on(&b, GZH_WAIT), ZMQ_POLLOUT);
        dies(&a);
        dies(&b);
        dies(&c);
        end_scene(&s);
    }
}

/* The sender finds an owner, and is queued behind it: the rule holds for it as for one at once. */
static void *binds_slowly(void *argument)
{
    struct { greenlet *g; gzh_socket *s; } *both = argument;
    CHECK_IS(wait_on(both->g, ask_call(both->g, both->s, GZH_BIND, "slow:x")), 0);
    return NULL;
}

static void a_sender_that_had_to_queue_is_held_to_its_turn_too(void)
{
    scene s = begin_scene(ZMQ_REQ);
    greenlet a, b, c;
    struct { greenlet *g; gzh_socket *s; } both = {&c, s.socket};
    born(&a);
    born(&b);
    born(&c);
    CHECK_IS(send_now(s.socket, "question"), 0);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "answer");
    WAIT_TOLD(&a);
    fake_gate(true);
    pthread_t thread = start(binds_slowly, &both);
    UNTIL(fake_at_gate() == 1);
    CHECK_IS(ask_send(&b, s.socket, "another"), GZH_WAIT);
    fake_gate(false);
    join(thread);
    CHECK_IS(wait_on(&b, GZH_WAIT), -EFSM);
    CHECK_IS(fake_sent(s.zmq), 1);
    CHECK_IS(end_wait(&a), 6);
    CHECK_IS(send_now(s.socket, "another"), 0);
    dies(&a);
    dies(&b);
    dies(&c);
    end_scene(&s);
}

/* No event of libzmq's would ever show that these are out of turn. */
static void calls_that_had_to_queue_are_told_that_it_is_not_their_turn(void)
{
    scene s = begin_scene(ZMQ_REQ);
    greenlet a, b, c;
    struct { greenlet *g; gzh_socket *s; } both = {&b, s.socket};
    born(&a);
    born(&b);
    born(&c);
    for (int turn = 0; turn < 2; turn++) {
        fake_gate(true);
        pthread_t thread = start(binds_slowly, &both);
        UNTIL(fake_at_gate() == 1);
        CHECK_IS(try_poll(s.socket, c.companion, ZMQ_POLLIN, 0), GZH_WAIT);
        CHECK_IS(turn ? ask_send(&a, s.socket, "another") : ask_recv(&a, s.socket), GZH_WAIT);
        fake_gate(false);
        join(thread);
        CHECK_IS(wait_on(&a, GZH_WAIT), -EFSM);
        CHECK_IS(gzh_companion_cancel(c.companion), 0);
        if (turn == 0)
            CHECK_IS(send_now(s.socket, "question"), 0);
    }
    CHECK_IS(fake_sent(s.zmq), 1);
    dies(&a);
    dies(&b);
    dies(&c);
    end_scene(&s);
}

static void a_relaxed_request_drops_the_reply_that_nobody_took(void)
{
    scene s = begin_scene(ZMQ_REQ);
    greenlet a;
    born(&a);
    CHECK_IS(set_option(s.socket, ZMQ_REQ_RELAXED, 1), 0);
    CHECK_IS(send_now(s.socket, "question 1"), 0);
    CHECK_IS(send_now(s.socket, "question 2"), 0);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "answer 2");
    WAIT_TOLD(&a);
    CHECK_IS(gzh_companion_cancel(a.companion), 0);
    CHECK_IS(poll_now(s.socket, ZMQ_POLLIN | ZMQ_POLLOUT),
             ZMQ_POLLIN | ZMQ_POLLOUT);
    CHECK_IS(send_now(s.socket, "question 3"), 0);
    CHECK_IS(recv_now(&a, s.socket), -EAGAIN);
    fake_deliver(s.zmq, "answer 3");
    CHECK_IS(do_recv(&a, s.socket), 8);
    CHECK_TEXT(a.text, "answer 3");
    dies(&a);
    end_scene(&s);
}

static void a_rep_answers_one_request_after_the_other(void)
{
    scene s = begin_scene(ZMQ_REP);
    greenlet a, b;
    char text[64];
    born(&a);
    born(&b);
    CHECK_IS(ask_send(&a, s.socket, "answer"), -EFSM);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(ask_recv(&b, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "q1");
    fake_deliver(s.zmq, "q2");
    WAIT_TOLD(&a);
    CHECK_IS(send_now(s.socket, "too early"), -EFSM);
    CHECK_IS(end_wait(&a), 2);
    CHECK_TEXT(a.text, "q1");
    /* As libzmq does it: while an answer is due nobody receives. */
    CHECK_IS(wait_on(&b, GZH_WAIT), -EFSM);
    CHECK_IS(send_now(s.socket, "a1"), 0);
    CHECK_IS(do_recv(&b, s.socket), 2);
    CHECK_TEXT(b.text, "q2");
    CHECK_IS(send_now(s.socket, "a2"), 0);
    CHECK(fake_take(s.zmq, NULL, text, sizeof text));
    CHECK_TEXT(text, "a1");
    dies(&a);
    dies(&b);
    end_scene(&s);
}

static void a_request_refused_midway_counts_as_sent(void)
{
    scene s = begin_scene(ZMQ_REQ);
    greenlet a;
    born(&a);
    fake_refuse_part(s.zmq, 1, 1);
    CHECK_IS(send_now(s.socket, "a|b|c"), 0);
    CHECK_IS(fake_sent(s.zmq), 0);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    dies(&a);
    end_scene(&s);
}

/* ---- many rounds ------------------------------------------------------------------------------ */

#define ROUNDS 3000

static struct {
    gzh_socket *socket;
    void *zmq;
} pair;

/* The REP on the other side. */
static void *answers(void *argument)
{
    char text[64];
    unsigned state = 5;
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        UNTIL(fake_take(pair.zmq, NULL, text, sizeof text));
        dawdle(&state, 100);
        fake_deliver(pair.zmq, text);
    }
    return NULL;
}

static atomic_bool stop_polling;

static void *polls_for_both(void *argument)
{
    unsigned state = 6;
    greenlet g;
    (void)argument;
    born(&g);
    while (!atomic_load(&stop_polling)) {
        int rc = try_poll(pair.socket, g.companion, ZMQ_POLLIN | ZMQ_POLLOUT, 0);
        CHECK_IS(rc, GZH_WAIT);
        dawdle(&state, 100);
        if (dice(&state, 2))
            rc = gzh_end(g.companion, NULL, 0, true);
        else
            CHECK_IS(gzh_companion_cancel(g.companion), 0);
        CHECK(rc > 0 || rc == -EAGAIN || rc == GZH_WAIT);
    }
    dies(&g);
    return NULL;
}

static int ask_anew(gzh_socket *s)
{
    until_nobody_is_inside(s);
    return gzh_send(s, "question", 8, 0);
}

/* Its answer came while it slept. */
static void is_answered(scene *s, greenlet *g)
{
    CHECK_IS(ask_recv(g, s->socket), GZH_WAIT);
    fake_deliver(s->zmq, "answer");
    CHECK_IS(wait_on(g, GZH_WAIT), 6);
}

static void one_that_comes_from_a_sleep_may_send_though_its_slice_is_over(void)
{
    scene s = begin_scene(ZMQ_REQ);
    greenlet g;
    born(&g);
    gzh_slice(0);
    pause_us(1);
    CHECK_IS(ask_anew(s.socket), GZH_YIELD); /* it has not slept yet */
    gzh_slice(3600ull * 1000000000);
    CHECK_IS(ask_anew(s.socket), 0);
    is_answered(&s, &g);
    int rc = GZH_YIELD;
    for (int i = 0; i < 100 && rc == GZH_YIELD; i++) { /* once would do, if nothing ever stopped this thread */
        gzh_slice(0);
        pause_us(1);
        rc = ask_anew(s.socket);
    }
    CHECK_IS(rc, 0);
    is_answered(&s, &g);
    gzh_slice(0);
    pause_us(11000); /* nor for ever: the hub should have turned long ago */
    CHECK_IS(ask_anew(s.socket), GZH_YIELD);
    gzh_slice(3600ull * 1000000000);
    dies(&g);
    end_scene(&s);
}

static void one_whose_answer_was_there_yields_when_its_slice_is_over(void)
{
    scene s = begin_scene(ZMQ_REQ);
    greenlet g;
    born(&g);
    CHECK_IS(ask_anew(s.socket), 0);
    fake_deliver(s.zmq, "answer");
    until_nobody_is_inside(s.socket);
    CHECK_IS(try_recv(s.socket, NULL, g.slot, 0), GZH_WAIT); /* so soon nobody looks */
    CHECK_IS(try_recv(s.socket, NULL, g.slot, 0), 6);
    gzh_slice(0);
    pause_us(1);
    CHECK_IS(ask_anew(s.socket), GZH_YIELD);
    gzh_slice(3600ull * 1000000000);
    dies(&g);
    end_scene(&s);
}

static void an_answer_that_a_poll_has_told_of_is_there_at_once(void)
{
    scene s = begin_scene(ZMQ_REQ);
    greenlet g;
    born(&g);
    CHECK_IS(ask_anew(s.socket), 0);
    CHECK_IS(poll_now(s.socket, ZMQ_POLLIN), 0);
    fake_deliver(s.zmq, "answer");
    CHECK_IS(poll_now(s.socket, ZMQ_POLLIN), ZMQ_POLLIN);
    until_nobody_is_inside(s.socket);
    CHECK_IS(try_recv(s.socket, NULL, g.slot, 0), 6);
    dies(&g);
    end_scene(&s);
}

static void requests_and_replies_take_turns_for_thousands_of_rounds(void)
{
    scene s = begin_scene(ZMQ_REQ);
    greenlet g;
    char text[64];
    unsigned state = 9;
    pair.socket = s.socket;
    pair.zmq = s.zmq;
    atomic_store(&stop_polling, false);
    shake(true);
    born(&g);
    pthread_t peer = start(answers, NULL), poller = start(polls_for_both, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(text, sizeof text, "q%d|x", i);
        CHECK_IS(do_send(&g, s.socket, text), 0);
        if (dice(&state, 4) == 0) {
            int rc = ask_recv(&g, s.socket);
            if (rc == GZH_WAIT) {
                dawdle(&state, 200);
                CHECK_IS(gzh_companion_cancel(g.companion), 0);
                rc = do_recv(&g, s.socket);
            }
            CHECK_IS(rc, 0);
        } else
            CHECK_IS(do_recv(&g, s.socket), 0);
        CHECK_TEXT(g.text, text);
    }
    join(peer);
    atomic_store(&stop_polling, true);
    join(poller);
    shake(false);
    dies(&g);
    end_scene(&s);
}

int main(void)
{
    begin();
    RUN(a_reply_must_be_taken_before_the_next_request);
    RUN(a_reply_whose_receiver_was_killed_is_the_next_ones);
    RUN(only_one_of_two_receivers_can_have_the_reply);
    RUN(one_who_polls_for_pollout_is_told_when_the_reply_is_taken);
    RUN(a_sender_that_had_to_queue_is_held_to_its_turn_too);
    RUN(calls_that_had_to_queue_are_told_that_it_is_not_their_turn);
    RUN(a_relaxed_request_drops_the_reply_that_nobody_took);
    RUN(a_rep_answers_one_request_after_the_other);
    RUN(a_request_refused_midway_counts_as_sent);
    RUN(one_that_comes_from_a_sleep_may_send_though_its_slice_is_over);
    RUN(one_whose_answer_was_there_yields_when_its_slice_is_over);
    RUN(an_answer_that_a_poll_has_told_of_is_there_at_once);
    RUN(requests_and_replies_take_turns_for_thousands_of_rounds);
    return 0;
}
