/* Proxies: what they carry, when they wait, how they are ended, and that nothing is lost by it. */
#include "scene.h"

#include "proxy.h"

/* A frontend, a backend, and whatever a test needs more, in one context. */
typedef struct {
    gzh_context *context;
    gzh_socket *socket[5];
    void *zmq[5];
    int count;
} stage;

static gzh_socket *on_stage(stage *s, int type)
{
    gzh_socket *made;
    CHECK_IS(gzh_socket_open(s->context, type, &made), 0);
    s->zmq[s->count] = gzh_socket_underlying(made);
    zmq_of_last_scene = s->zmq[s->count];
    s->socket[s->count++] = made;
    return made;
}

static stage begin_stage(int frontend, int backend)
{
    stage s = {.count = 0};
    CHECK_IS(gzh_context_new(1, &s.context), 0);
    last_words = describe_scene;
    on_stage(&s, frontend);
    on_stage(&s, backend);
    return s;
}

static void end_stage(stage *s)
{
    for (int i = 0; i < s->count; i++)
        gzh_socket_drop(s->socket[i]);
    gzh_context_drop(s->context);
    nothing_is_left();
}

static int ask_proxy(greenlet *g, gzh_socket *frontend, gzh_socket *backend, gzh_socket *capture,
                     gzh_socket *control)
{
    gzh_socket *sockets[4] = {frontend, backend, capture, control};
    return gzh_proxy(g->companion, sockets, NULL, NULL);
}

static int end_proxy(greenlet *g)
{
    int rc;
    do
        WAIT_TOLD(g);
    while ((rc = gzh_proxy_end(g->companion)) == GZH_WAIT);
    return rc;
}

static void cancel_proxy(greenlet *g)
{
    if (gzh_companion_cancel(g->companion) == GZH_ABANDONED) { /* on a busy machine */
        dies(g);
        born(g);
    }
}

/* It has begun: until then those who came before are served. */
static void until_held(gzh_socket *s)
{
    int type;
    UNTIL(get_option(s, ZMQ_TYPE, &type) == GZH_WAIT);
}

/* What the other side of a socket finds, in g->text. */
static const char *taken(greenlet *g, void *zmq)
{
    UNTIL(fake_take(zmq, NULL, g->text, sizeof g->text));
    return g->text;
}

static void messages_go_both_ways_whole_and_in_order(void)
{
    stage s = begin_stage(ZMQ_DEALER, ZMQ_DEALER);
    greenlet a;
    char text[32];
    born(&a);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
    for (int i = 0; i < 50; i++) {
        snprintf(text, sizeof text, i % 2 ? "m%d" : "m%d|b|c|d|e|f", i);
        fake_deliver(s.zmq[0], text);
        fake_deliver(s.zmq[1], text);
    }
    for (int i = 0; i < 50; i++) {
        snprintf(text, sizeof text, i % 2 ? "m%d" : "m%d|b|c|d|e|f", i);
        CHECK_TEXT(taken(&a, s.zmq[1]), text);
        CHECK_TEXT(taken(&a, s.zmq[0]), text);
    }
    cancel_proxy(&a);
    dies(&a);
    end_stage(&s);
}

static void nothing_is_received_that_the_other_side_cannot_take(void)
{
    stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
    greenlet a;
    born(&a);
    set_option(s.socket[1], ZMQ_SNDHWM, 2);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
    for (int i = 1; i <= 4; i++)
        fake_deliver(s.zmq[0], i == 1 ? "m1" : i == 2 ? "m2" : i == 3 ? "m3" : "m4");
    UNTIL(fake_sent(s.zmq[1]) == 2);
    pause_us(5000);
    CHECK_IS(fake_sent(s.zmq[1]), 2);
    CHECK_TEXT(taken(&a, s.zmq[1]), "m1");
    UNTIL(fake_sent(s.zmq[1]) == 2);
    cancel_proxy(&a);
    CHECK_IS(recv_now(&a, s.socket[0]), 2);
    CHECK_TEXT(a.text, "m4");
    CHECK_IS(recv_now(&a, s.socket[0]), -EAGAIN);
    CHECK_TEXT(taken(&a, s.zmq[1]), "m2");
    CHECK_TEXT(taken(&a, s.zmq[1]), "m3");
    dies(&a);
    end_stage(&s);
}

static void what_was_in_hand_when_it_ended_is_received_next(void)
{
    stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
    greenlet a, b;
    born(&a);
    born(&b);
    fake_deliver(s.zmq[0], "m1|x");
    fake_deliver(s.zmq[0], "m2");
    fake_fail_sends(s.zmq[1], EAGAIN, 1000000);
    for (int again = 0; again < 2; again++) {
        stop_at("proxy: a message in hand");
        CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
        wait_stopped();
        let_go();
        pause_us(2000);
        cancel_proxy(&a);
    }
    fake_fail_sends(s.zmq[1], EAGAIN, 0);
    CHECK_IS(do_recv(&b, s.socket[0]), 0);
    CHECK_TEXT(b.text, "m1|x");
    CHECK_IS(recv_now(&b, s.socket[0]), 2);
    CHECK_TEXT(b.text, "m2");
    CHECK_IS(fake_sent(s.zmq[1]), 0);
    dies(&a);
    dies(&b);
    end_stage(&s);
}

static void each_message_is_captured_once_whatever_is_refused(void)
{
    stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
    greenlet a;
    gzh_socket *capture = on_stage(&s, ZMQ_PUSH);
    born(&a);
    set_option(capture, ZMQ_SNDHWM, 1);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], capture, NULL), GZH_WAIT);
    fake_deliver(s.zmq[0], "m1|x");
    fake_deliver(s.zmq[0], "m2");
    fake_deliver(s.zmq[0], "m3");
    UNTIL(fake_sent(s.zmq[1]) == 1); /* it waits for the capture socket */
    pause_us(2000);
    CHECK_IS(fake_sent(s.zmq[1]), 1);
    cancel_proxy(&a);
    /* Captured, but not sent. */
    CHECK_TEXT(taken(&a, s.zmq[2]), "m1|x");
    fake_fail_sends(s.zmq[1], EAGAIN, 1000);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], capture, NULL), GZH_WAIT);
    UNTIL(fake_sent(s.zmq[2]) == 1);
    pause_us(2000);
    cancel_proxy(&a);
    fake_fail_sends(s.zmq[1], EAGAIN, 0);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], capture, NULL), GZH_WAIT);
    UNTIL(fake_sent(s.zmq[1]) == 2);
    CHECK_TEXT(taken(&a, s.zmq[2]), "m2");
    CHECK_TEXT(taken(&a, s.zmq[2]), "m3");
    UNTIL(fake_sent(s.zmq[1]) == 3);
    CHECK_IS(fake_sent(s.zmq[2]), 0);
    CHECK_TEXT(taken(&a, s.zmq[1]), "m1|x");
    CHECK_TEXT(taken(&a, s.zmq[1]), "m2");
    CHECK_TEXT(taken(&a, s.zmq[1]), "m3");
    cancel_proxy(&a);
    dies(&a);
    end_stage(&s);
}

static void go_on_to(const char *place)
{
    stop_at(place);
    let_go();
    wait_stopped();
}

/* A receive consumes the signal that the same socket has room again, while its message cannot go. */
static void room_that_comes_while_a_message_in_hand_is_refused_is_seen(void)
{
    stage s = begin_stage(ZMQ_DEALER, ZMQ_DEALER);
    void *front = s.zmq[0], *back = s.zmq[1];
    greenlet a;
    born(&a);
    /* So that the 100th receive is the one of m2: libzmq looks at its mailbox then, also if it need not. */
    for (int i = 0; i < 97; i++)
        CHECK_IS(recv_now(&a, s.socket[0]), -EAGAIN);
    fake_refuse(front, true);
    fake_fail_sends(back, EAGAIN, 2);
    stop_at("proxy: a message in hand");
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
    fake_deliver(front, "m1");
    wait_stopped();
    go_on_to("proxy: about to look"); /* refused: all that back says is asked for, which wakes it at once */
    stop_at("proxy: about to look");
    let_go(); /* refused again: now it waits */
    fake_deliver(back, "b1");
    wait_stopped();
    go_on_to("proxy: about to look"); /* m1 has gone, and nothing more was there */
    CHECK_IS(fake_sent(back), 1);
    fake_deliver(front, "m2");
    fake_fail_sends(back, EAGAIN, 1);
    go_on_to("proxy: has looked");
    fake_refuse(front, false);
    let_go();
    CHECK_TEXT(taken(&a, front), "b1");
    CHECK_TEXT(taken(&a, back), "m1");
    CHECK_TEXT(taken(&a, back), "m2");
    cancel_proxy(&a);
    dies(&a);
    end_stage(&s);
}

/* POLLOUT all the time, and refused for one peer's sake: no event tells when that one has room. */
static void a_router_that_refuses_is_tried_again_when_its_peer_has_room(void)
{
    for (int turn = 0; turn < 60; turn++) {
        stage s = begin_stage(ZMQ_DEALER, ZMQ_ROUTER);
        greenlet a;
        born(&a);
        set_option(s.socket[1], ZMQ_SNDHWM, 1);
        fake_throttle(turn % 3 + 1);
        shake(true);
        CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
        for (int i = 0; i < 5; i++)
            fake_deliver(s.zmq[0], "peer|m");
        for (int i = 0; i < 5; i++) {
            UNTIL(fake_take(s.zmq[1], "peer", a.text, sizeof a.text));
            fake_deliver(s.zmq[1], "back");
        }
        for (int i = 0; i < 5; i++)
            CHECK_TEXT(taken(&a, s.zmq[0]), "back");
        cancel_proxy(&a);
        shake(false);
        fake_throttle(1);
        dies(&a);
        end_stage(&s);
    }
}

static void req_and_rep_take_turns(void)
{
    stage s = begin_stage(ZMQ_REP, ZMQ_REQ);
    greenlet a;
    born(&a);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
    fake_deliver(s.zmq[0], "question 1");
    fake_deliver(s.zmq[0], "question 2");
    for (int i = 1; i <= 2; i++) {
        CHECK_TEXT(taken(&a, s.zmq[1]), i == 1 ? "question 1" : "question 2");
        fake_deliver(s.zmq[1], "answer");
        CHECK_TEXT(taken(&a, s.zmq[0]), "answer");
    }
    cancel_proxy(&a);
    dies(&a);
    end_stage(&s);
}

static void one_socket_may_be_both_sides(void)
{
    stage s = begin_stage(ZMQ_REP, ZMQ_REP);
    greenlet a;
    born(&a);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[0], NULL, NULL), GZH_WAIT);
    fake_deliver(s.zmq[0], "one|x");
    fake_deliver(s.zmq[0], "two");
    CHECK_TEXT(taken(&a, s.zmq[0]), "one|x");
    CHECK_TEXT(taken(&a, s.zmq[0]), "two");
    cancel_proxy(&a);
    dies(&a);
    end_stage(&s);
}

static void a_control_socket_pauses_resumes_counts_and_ends(void)
{
    stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
    greenlet a;
    gzh_socket *control = on_stage(&s, ZMQ_REP);
    born(&a);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, control), GZH_WAIT);
    fake_deliver(s.zmq[0], "m1");
    CHECK_TEXT(taken(&a, s.zmq[1]), "m1");
    fake_deliver(s.zmq[2], "PAUSE");
    CHECK_TEXT(taken(&a, s.zmq[2]), "");
    fake_deliver(s.zmq[0], "m2|three");
    pause_us(3000);
    CHECK_IS(fake_sent(s.zmq[1]), 0);
    fake_deliver(s.zmq[2], "what?");
    CHECK_TEXT(taken(&a, s.zmq[2]), "");
    fake_deliver(s.zmq[2], "RESUME");
    CHECK_TEXT(taken(&a, s.zmq[2]), "");
    CHECK_TEXT(taken(&a, s.zmq[1]), "m2|three");
    fake_deliver(s.zmq[2], "STATISTICS");
    /* As text it ends at the first zero byte; Python's tests read the numbers. */
    CHECK(taken(&a, s.zmq[2]) != NULL);
    fake_deliver(s.zmq[2], "TERMINATE");
    CHECK_IS(end_proxy(&a), 0);
    CHECK_TEXT(taken(&a, s.zmq[2]), "");
    dies(&a);
    end_stage(&s);
}

static void many_commands_hold_up_neither_messages_nor_the_end(void)
{
    for (int closed = 0; closed < 2; closed++) {
        stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
        greenlet a;
        gzh_socket *control = on_stage(&s, ZMQ_PULL);
        born(&a);
        fake_deliver(s.zmq[0], "m1");
        for (int i = 0; i < (closed ? 10 : 5000); i++)
            fake_deliver(s.zmq[2], "RESUME");
        fake_deliver(s.zmq[2], "TERMINATE");
        stop_at("proxy: a command in hand");
        CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, control), GZH_WAIT);
        wait_stopped();
        if (closed)
            gzh_socket_close(s.socket[0], NULL);
        let_go();
        CHECK_IS(end_proxy(&a), closed ? -ENOTSOCK : 0);
        CHECK_IS(fake_sent(s.zmq[1]), closed ? 0 : 1);
        dies(&a);
        end_stage(&s);
    }
}

static void the_last_command_of_a_burst_is_answered_too(void)
{
    stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
    greenlet a;
    gzh_socket *control = on_stage(&s, ZMQ_REP);
    born(&a);
    for (int i = 0; i < 1000; i++)
        fake_deliver(s.zmq[2], "RESUME");
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, control), GZH_WAIT);
    UNTIL(fake_sent(s.zmq[2]) == 1000);
    cancel_proxy(&a);
    dies(&a);
    end_stage(&s);
}

/* ---- ends ------------------------------------------------------------------------------------- */

static void a_close_or_the_end_of_the_context_ends_it(void)
{
    for (int which = 0; which < 4; which++) {
        stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
        greenlet a;
        gzh_socket *capture = on_stage(&s, ZMQ_PUSH);
        born(&a);
        CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], capture, NULL), GZH_WAIT);
        fake_deliver(s.zmq[0], "m1");
        CHECK_TEXT(taken(&a, s.zmq[1]), "m1");
        if (which < 3) {
            gzh_socket_close(s.socket[which], NULL);
            CHECK_IS(end_proxy(&a), -ENOTSOCK);
            CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], capture, NULL), GZH_WAIT);
            CHECK_IS(end_proxy(&a), -ENOTSOCK);
            UNTIL(fake_sockets() == 2);
        } else {
            CHECK_IS(gzh_context_shutdown(s.context), 0);
            CHECK_IS(end_proxy(&a), -ETERM);
        }
        dies(&a);
        end_stage(&s);
    }
}

static void those_who_ask_meanwhile_wait_and_are_served_afterwards(void)
{
    stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
    greenlet a, b, c;
    int value;
    born(&a);
    born(&b);
    born(&c);
    CHECK_IS(ask_recv(&b, s.socket[0]), GZH_WAIT); /* it came before, and waits all the same */
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
    until_held(s.socket[0]);
    fake_deliver(s.zmq[0], "m1");
    CHECK_TEXT(taken(&a, s.zmq[1]), "m1");
    CHECK_IS(try_recv(s.socket[0], NULL, b.slot, ZMQ_DONTWAIT), -EAGAIN);
    CHECK_IS(send_nonblocking(s.socket[1], "no"), -EAGAIN);
    CHECK_IS(get_option(s.socket[0], ZMQ_TYPE, &value), GZH_WAIT);
    CHECK_IS(ask_send(&c, s.socket[1], "later"), GZH_WAIT);
    NOT_TOLD(&b);
    NOT_TOLD(&c);
    cancel_proxy(&a);
    CHECK_IS(wait_on(&c, GZH_WAIT), 0);
    CHECK_TEXT(taken(&c, s.zmq[1]), "later");
    fake_deliver(s.zmq[0], "m2");
    CHECK_IS(wait_on(&b, GZH_WAIT), 2);
    dies(&a);
    dies(&b);
    dies(&c);
    end_stage(&s);
}

static void what_a_killed_receiver_leaves_is_carried_on(void)
{
    stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
    greenlet a, b;
    born(&a);
    born(&b);
    CHECK_IS(ask_recv(&b, s.socket[0]), GZH_WAIT);
    fake_deliver(s.zmq[0], "m1");
    WAIT_TOLD(&b);
    until_nobody_is_inside(s.socket[0]);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
    until_held(s.socket[0]);
    pause_us(2000);
    CHECK_IS(fake_sent(s.zmq[1]), 0);
    CHECK_IS(gzh_companion_cancel(b.companion), 0);
    CHECK_TEXT(taken(&a, s.zmq[1]), "m1");
    cancel_proxy(&a);
    dies(&a);
    dies(&b);
    end_stage(&s);
}

static struct {
    greenlet *g;
    gzh_socket *s;
} binder;

static void *binds_slowly(void *unused)
{
    (void)unused;
    CHECK_IS(wait_on(binder.g, ask_call(binder.g, binder.s, GZH_BIND, "slow:x")), 0);
    return NULL;
}

static void *binds_slowly_and_is_told(void *unused)
{
    (void)unused;
    CHECK_IS(wait_on(binder.g, ask_call(binder.g, binder.s, GZH_BIND, "slow:x")), -ENOTSOCK);
    return NULL;
}

static void it_waits_for_a_slow_bind_and_may_leave_before(void)
{
    for (int leave = 0; leave < 3; leave++) {
        stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
        greenlet a, b;
        born(&a);
        born(&b);
        binder.g = &b;
        binder.s = s.socket[1];
        fake_gate(true);
        pthread_t thread = start(binds_slowly, NULL);
        UNTIL(fake_at_gate() == 1);
        fake_deliver(s.zmq[0], "m1");
        CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
        NOT_TOLD(&a);
        if (leave == 1)
            cancel_proxy(&a);
        if (leave == 2) {
            gzh_socket_close(s.socket[0], NULL);
            CHECK_IS(end_proxy(&a), -ENOTSOCK);
        }
        fake_gate(false);
        join(thread);
        if (leave == 0) {
            CHECK_TEXT(taken(&a, s.zmq[1]), "m1");
            cancel_proxy(&a);
        }
        dies(&a);
        dies(&b);
        end_stage(&s);
    }
}

static void one_that_waits_for_a_socket_which_is_closed_tells_its_greenlet_when_it_has_left(void)
{
    stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
    greenlet a, b;
    born(&a);
    born(&b);
    binder.g = &b;
    binder.s = s.socket[1];
    fake_gate(true);
    pthread_t thread = start(binds_slowly_and_is_told, NULL);
    UNTIL(fake_at_gate() == 1);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
    until_held(s.socket[0]);
    pause_us(2000); /* the other one is asked for too */
    stop_at("proxy: about to leave");
    gzh_socket_close(s.socket[1], NULL);
    wait_stopped();
    NOT_TOLD(&a);
    let_go();
    CHECK_IS(end_proxy(&a), -ENOTSOCK);
    fake_gate(false);
    join(thread);
    dies(&a);
    dies(&b);
    end_stage(&s);
}

static void one_that_shares_a_socket_begins_when_the_other_has_ended(void)
{
    stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
    greenlet a, b, c, d;
    gzh_socket *other = on_stage(&s, ZMQ_PUSH);
    born(&a);
    born(&b);
    born(&c);
    born(&d);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
    CHECK_IS(ask_proxy(&b, s.socket[0], other, NULL, NULL), GZH_WAIT);
    CHECK_IS(ask_proxy(&c, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
    fake_deliver(s.zmq[0], "m1");
    CHECK_TEXT(taken(&a, s.zmq[1]), "m1");
    CHECK_IS(send_now(other, "free"), 0); /* the one that waits holds nothing */
    CHECK_TEXT(taken(&b, s.zmq[2]), "free");
    cancel_proxy(&a);
    fake_deliver(s.zmq[0], "m2");
    CHECK_TEXT(taken(&b, s.zmq[2]), "m2");
    cancel_proxy(&c); /* while it waits */
    CHECK_IS(ask_proxy(&d, other, s.socket[1], NULL, NULL), GZH_WAIT);
    gzh_socket_close(s.socket[1], NULL);
    CHECK_IS(end_proxy(&d), -ENOTSOCK);
    fake_deliver(s.zmq[0], "m3");
    CHECK_TEXT(taken(&b, s.zmq[2]), "m3");
    cancel_proxy(&b);
    dies(&a);
    dies(&b);
    dies(&c);
    dies(&d);
    end_stage(&s);
}

static void one_that_cannot_leave_at_once_is_left_to_itself(void)
{
    stage s = begin_stage(ZMQ_PULL, ZMQ_PUSH);
    greenlet a, b;
    born(&a);
    born(&b);
    stop_at("proxy: a message in hand");
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_WAIT);
    fake_deliver(s.zmq[0], "m1");
    wait_stopped();
    CHECK_IS(gzh_companion_cancel(a.companion), GZH_ABANDONED);
    CHECK_IS(ask_proxy(&a, s.socket[0], s.socket[1], NULL, NULL), GZH_BUSY);
    CHECK_IS(ask_recv(&b, s.socket[0]), GZH_WAIT);
    let_go();
    UNTIL(fake_sent(s.zmq[1]) == 1); /* it was on its way */
    fake_deliver(s.zmq[0], "m2");
    CHECK_IS(wait_on(&b, GZH_WAIT), 2);
    dies(&a);
    dies(&b);
    end_stage(&s);
}

/* ---- many ------------------------------------------------------------------------------------- */

#define SOCKETS 4
#define MESSAGES 600

static stage crowd;
static atomic_bool all_passed;

/* Proxies between PAIRs chosen by the dice, for moments; each turns a message back to whoever it
 * comes from sooner or later, as the test delivers what it takes. */
static void *comes_and_goes(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    while (!atomic_load(&all_passed)) {
        greenlet g;
        born(&g);
        gzh_socket *frontend = crowd.socket[dice(&state, SOCKETS)];
        gzh_socket *backend = crowd.socket[dice(&state, SOCKETS)];
        CHECK_IS(ask_proxy(&g, frontend, backend, NULL, NULL), GZH_WAIT);
        pause_us((long)dice(&state, 300));
        cancel_proxy(&g);
        dies(&g);
    }
    return NULL;
}

static void proxies_that_come_and_go_lose_nothing_and_never_wait_for_one_another(void)
{
    pthread_t threads[3];
    crowd = begin_stage(ZMQ_PAIR, ZMQ_PAIR);
    on_stage(&crowd, ZMQ_PAIR);
    on_stage(&crowd, ZMQ_PAIR);
    for (int i = 0; i < SOCKETS; i++)
        set_option(crowd.socket[i], ZMQ_SNDHWM, 2);
    atomic_store(&all_passed, false);
    shake(true);
    for (int i = 0; i < 3; i++)
        threads[i] = start(comes_and_goes, (void *)(uintptr_t)(i + 1));
    char text[64];
    int found = 0, delivered = 0;
    bool seen[MESSAGES] = {false};
    uint64_t end = gzh_now_ns() + PATIENCE_MS * 1000000ull;
    while (found < MESSAGES) {
        CHECK(gzh_now_ns() < end);
        if (delivered < MESSAGES && delivered < found + 20) {
            snprintf(text, sizeof text, delivered % 3 ? "m%d" : "m%d|tail", delivered);
            fake_deliver(crowd.zmq[delivered % SOCKETS], text);
            delivered++;
        }
        for (int i = 0; i < SOCKETS; i++)
            while (fake_take(crowd.zmq[i], NULL, text, sizeof text)) {
                int number = number_in(text);
                CHECK(!seen[number]);
                CHECK((strchr(text, '|') != NULL) == (number % 3 == 0));
                seen[number] = true;
                found++;
            }
        pause_us(20);
    }
    atomic_store(&all_passed, true);
    for (int i = 0; i < 3; i++)
        join(threads[i]);
    shake(false);
    end_stage(&crowd);
}

int main(void)
{
    begin();
    RUN(messages_go_both_ways_whole_and_in_order);
    RUN(nothing_is_received_that_the_other_side_cannot_take);
    RUN(what_was_in_hand_when_it_ended_is_received_next);
    RUN(each_message_is_captured_once_whatever_is_refused);
    RUN(room_that_comes_while_a_message_in_hand_is_refused_is_seen);
    RUN(a_router_that_refuses_is_tried_again_when_its_peer_has_room);
    RUN(req_and_rep_take_turns);
    RUN(one_socket_may_be_both_sides);
    RUN(a_control_socket_pauses_resumes_counts_and_ends);
    RUN(many_commands_hold_up_neither_messages_nor_the_end);
    RUN(the_last_command_of_a_burst_is_answered_too);
    RUN(a_close_or_the_end_of_the_context_ends_it);
    RUN(those_who_ask_meanwhile_wait_and_are_served_afterwards);
    RUN(what_a_killed_receiver_leaves_is_carried_on);
    RUN(it_waits_for_a_slow_bind_and_may_leave_before);
    RUN(one_that_waits_for_a_socket_which_is_closed_tells_its_greenlet_when_it_has_left);
    RUN(one_that_shares_a_socket_begins_when_the_other_has_ended);
    RUN(one_that_cannot_leave_at_once_is_left_to_itself);
    RUN(proxies_that_come_and_go_lose_nothing_and_never_wait_for_one_another);
    return 0;
}
