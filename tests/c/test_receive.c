/* Receiving: at once, after a wait, by many, and by some that go away in the middle of it. */
#include "scene.h"

#define MANY 8

static void a_message_that_lies_there_is_received_at_once(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    int before = living_companions();
    g.slot = malloc(sizeof *g.slot);
    CHECK(g.slot);
    CHECK_IS(recv_now(&g, s.socket), -EAGAIN);
    CHECK_IS(read_slot(&g, try_recv(s.socket, NULL, g.slot, 0)), GZH_WAIT);
    fake_deliver(s.zmq, "hello");
    CHECK_IS(read_slot(&g, try_recv(s.socket, NULL, g.slot, 0)), 5);
    CHECK_TEXT(g.text, "hello");
    fake_deliver(s.zmq, "");
    CHECK_IS(recv_now(&g, s.socket), 0);
    CHECK_TEXT(g.text, "");
    CHECK_IS(living_companions(), before);
    free(g.slot);
    end_scene(&s);
}

static void a_blocking_call_says_yield_when_the_slice_is_used_up(void)
{
    scene s = begin_scene(ZMQ_PULL);
    gzh_slot *slot = malloc(sizeof *slot);
    CHECK(slot);
    fake_deliver(s.zmq, "hello");
    gzh_slice(0);
    pause_us(1);
    CHECK_IS(try_recv(s.socket, NULL, slot, 0), GZH_YIELD);
    CHECK_IS(try_poll(s.socket, NULL, ZMQ_POLLIN, 0), GZH_YIELD);
    CHECK_IS(poll_now(s.socket, ZMQ_POLLIN), ZMQ_POLLIN);
    CHECK_IS(try_recv(s.socket, NULL, slot, ZMQ_DONTWAIT), 5);
    gzh_slice(3600ull * 1000000000);
    free(slot);
    end_scene(&s);
}

static void what_does_not_fit_the_slot_comes_whole(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    fake_deliver(s.zmq, "a|bc||d|efg|h");
    CHECK_IS(try_recv(s.socket, NULL, g.slot, 0), GZH_PARTS);
    CHECK_IS(g.slot->parts, 6);
    CHECK_IS(read_slot(&g, GZH_PARTS), 0);
    CHECK_TEXT(g.text, "a|bc||d|efg|h");
    fake_deliver(s.zmq, "a|bc||d|efg|h");
    CHECK_IS(read_slot(&g, try_recv(s.socket, NULL, g.slot, GZH_KEEP)), 0);
    CHECK_TEXT(g.text, "a|bc||d|efg|h");
    fake_deliver_size(s.zmq, GZH_SLOT_BYTES);
    CHECK_IS(try_recv(s.socket, NULL, g.slot, 0), GZH_SLOT_BYTES);
    fake_deliver_size(s.zmq, GZH_SLOT_BYTES + 1);
    CHECK_IS(try_recv(s.socket, NULL, g.slot, 0), GZH_WHOLE);
    CHECK_IS(gzh_message_size(g.slot->whole, 0), GZH_SLOT_BYTES + 1);
    gzh_message_free(g.slot->whole);
    /* The same after a wait. */
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
    fake_deliver_size(s.zmq, GZH_SLOT_BYTES + 1);
    WAIT_TOLD(&g);
    CHECK_IS(gzh_end(g.companion, g.slot, 0, false), GZH_WHOLE);
    gzh_message_free(g.slot->whole);
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "x|y");
    WAIT_TOLD(&g);
    CHECK_IS(read_slot(&g, gzh_end(g.companion, g.slot, GZH_KEEP, false)), 0);
    CHECK_TEXT(g.text, "x|y");
    dies(&g);
    end_scene(&s);
}

static void a_receiver_waits_and_is_granted(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    for (int i = 0; i < 3; i++) {
        CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
        CHECK_IS(end_wait(&g), GZH_WAIT);
        NOT_TOLD(&g);
        fake_deliver(s.zmq, "a|b");
        WAIT_TOLD(&g);
        CHECK_IS(end_wait(&g), 0);
        CHECK_TEXT(g.text, "a|b");
    }
    int living, parked, on_watch;
    gzh_companion_counts(&living, &parked, &on_watch);
    CHECK(on_watch > 0);
    dies(&g);
    end_scene(&s);
}

static void receivers_get_one_message_each_first_come_first_served(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g[MANY];
    char text[16];
    for (int i = 0; i < MANY; i++) {
        born(&g[i]);
        CHECK_IS(ask_recv(&g[i], s.socket), GZH_WAIT);
    }
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "m%d", i);
        fake_deliver(s.zmq, text);
    }
    for (int i = MANY - 1; i >= 0; i--)
        WAIT_TOLD(&g[i]);
    /* They run in any order; that decides who gets which, but the messages keep theirs. */
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "m%d", i);
        CHECK(end_wait(&g[i]) >= 0);
        CHECK_TEXT(g[i].text, text);
        dies(&g[i]);
    }
    end_scene(&s);
}

static void one_message_wakes_one_receiver(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g[3];
    for (int i = 0; i < 3; i++) {
        born(&g[i]);
        CHECK_IS(ask_recv(&g[i], s.socket), GZH_WAIT);
    }
    fake_deliver(s.zmq, "only");
    WAIT_TOLD(&g[0]);
    NOT_TOLD(&g[1]);
    NOT_TOLD(&g[2]);
    CHECK_IS(end_wait(&g[0]), 4);
    for (int i = 0; i < 3; i++)
        dies(&g[i]);
    end_scene(&s);
}

static void a_receiver_killed_in_the_queue_takes_nothing(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet a, b;
    born(&a);
    born(&b);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(ask_recv(&b, s.socket), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(a.companion), 0);
    CHECK_IS(gzh_companion_cancel(a.companion), 0);
    fake_deliver(s.zmq, "for b");
    CHECK_IS(wait_on(&b, GZH_WAIT), 5);
    NOT_TOLD(&a);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

static void a_killed_reader_leaves_the_message_for_the_next_one(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet a, b;
    born(&a);
    born(&b);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(ask_recv(&b, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "m1");
    WAIT_TOLD(&a);
    NOT_TOLD(&b);
    CHECK_IS(gzh_companion_cancel(a.companion), 0);
    WAIT_TOLD(&b);
    CHECK_IS(end_wait(&b), 2);
    CHECK_TEXT(b.text, "m1");
    /* And where nobody waits, for the next call. */
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "m2");
    WAIT_TOLD(&a);
    CHECK_IS(gzh_companion_cancel(a.companion), 0);
    CHECK_IS(poll_now(s.socket, ZMQ_POLLIN), ZMQ_POLLIN);
    int events;
    until_nobody_is_inside(s.socket);
    CHECK_IS(get_option(s.socket, ZMQ_EVENTS, &events), 0);
    CHECK_IS(events & ZMQ_POLLIN, ZMQ_POLLIN);
    fake_deliver(s.zmq, "m3");
    CHECK_IS(recv_now(&b, s.socket), 2);
    CHECK_TEXT(b.text, "m2");
    CHECK_IS(recv_now(&b, s.socket), 2);
    CHECK_TEXT(b.text, "m3");
    dies(&a);
    dies(&b);
    end_scene(&s);
}

/* The message is in the hand of the thread on watch when its receiver goes. */
static void a_receiver_that_leaves_while_its_message_is_fetched_loses_nothing(void)
{
    for (int kill = 0; kill < 2; kill++)
        for (int others = 0; others < 2; others++) {
            scene s = begin_scene(ZMQ_PULL);
            greenlet a, b;
            born(&a);
            born(&b);
            CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
            if (others)
                CHECK_IS(ask_recv(&b, s.socket), GZH_WAIT);
            stop_at("serve: received, not granted");
            fake_deliver(s.zmq, "m1");
            wait_stopped();
            if (kill)
                CHECK_IS(gzh_companion_cancel(a.companion), 0);
            else
                CHECK_IS(gzh_end(a.companion, a.slot, 0, true), -EAGAIN);
            let_go();
            if (others)
                CHECK_IS(wait_on(&b, GZH_WAIT), 2);
            else
                UNTIL(read_slot(&b, try_recv(s.socket, NULL, b.slot, 0)) == 2);
            CHECK_TEXT(b.text + strlen(b.text), "");
            dies(&a);
            dies(&b);
            end_scene(&s);
        }
}

static void giving_up_after_the_grant_returns_the_message(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet a;
    born(&a);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "m1");
    WAIT_TOLD(&a);
    CHECK_IS(gzh_end(a.companion, a.slot, 0, true), 2);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(gzh_end(a.companion, a.slot, 0, true), -EAGAIN);
    dies(&a);
    end_scene(&s);
}

/* Between a receive that found nothing and the end of its turn as owner there is a moment in which
 * the watch can only leave word. */
static void *asks_and_waits(void *argument)
{
    struct { greenlet *g; gzh_socket *s; } *both = argument;
    CHECK_IS(do_recv(both->g, both->s), 2);
    return NULL;
}

static void a_message_that_arrives_while_a_receiver_queues_is_not_missed(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet a, b;
    struct { greenlet *g; gzh_socket *s; } both = {&b, s.socket};
    born(&a);
    born(&b);
    /* The socket is in the watch from here on. */
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(a.companion), 0);
    for (int i = 0; i < 20; i++) {
        stop_at("take: received");
        pthread_t thread = start(asks_and_waits, &both);
        wait_stopped();
        fake_deliver(s.zmq, "m1");
        pause_us(2000); /* the watch sees it, and finds an owner */
        let_go();
        join(thread);
    }
    dies(&a);
    dies(&b);
    end_scene(&s);
}

static void *looks_once(void *argument)
{
    struct { greenlet *g; gzh_socket *s; } *both = argument;
    CHECK_IS(recv_now(both->g, both->s), -EAGAIN);
    return NULL;
}

/* The same, where the one that found nothing does not wait, but another has begun to. */
static void a_message_is_not_missed_by_one_who_queued_behind_a_nonblocking_call(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet a, b;
    struct { greenlet *g; gzh_socket *s; } both = {&b, s.socket};
    born(&a);
    born(&b);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(a.companion), 0);
    for (int late = 0; late < 2; late++) {
        stop_at("take: received");
        pthread_t thread = start(looks_once, &both);
        wait_stopped();
        if (late)
            fake_deliver(s.zmq, "m1");
        CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
        if (!late)
            fake_deliver(s.zmq, "m1");
        pause_us(2000);
        let_go();
        join(thread);
        CHECK_IS(wait_on(&a, GZH_WAIT), 2);
    }
    dies(&a);
    dies(&b);
    end_scene(&s);
}

static void a_nonblocking_receive_takes_only_what_the_waiting_leave(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet a, b;
    born(&a);
    born(&b);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    stop_at("watch: between event and ready");
    fake_deliver(s.zmq, "m1");
    wait_stopped();
    CHECK_IS(recv_now(&b, s.socket), -EAGAIN);
    fake_deliver(s.zmq, "m2");
    CHECK_IS(recv_now(&b, s.socket), 2);
    CHECK_TEXT(b.text, "m1"); /* a was granted; what is taken is taken in order */
    let_go();
    CHECK_IS(wait_on(&a, GZH_WAIT), 2);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

/* The first was granted one of forty messages and has not run yet; the second wants some too. */
static scene begin_flood(greenlet *granted, greenlet *other)
{
    scene s = begin_scene(ZMQ_PULL);
    born(granted);
    born(other);
    CHECK_IS(ask_recv(granted, s.socket), GZH_WAIT);
    for (int i = 0; i < 40; i++)
        fake_deliver(s.zmq, "m");
    WAIT_TOLD(granted);
    return s;
}

static int take_a_few(greenlet *g, gzh_socket *socket)
{
    int taken = 0;
    until_nobody_is_inside(socket);
    while (try_recv(socket, NULL, g->slot, 0) == 1)
        taken++;
    return taken;
}

static void receivers_at_once_take_only_a_few_before_the_granted(void)
{
    greenlet a, b;
    scene s = begin_flood(&a, &b);
    int taken = take_a_few(&b, s.socket);
    CHECK(taken > 0 && taken < 20);
    CHECK_IS(try_recv(s.socket, b.companion, b.slot, 0), GZH_WAIT);
    CHECK_IS(end_wait(&a), 1);
    CHECK_IS(wait_on(&b, GZH_WAIT), 1);
    until_nobody_is_inside(s.socket);
    CHECK_IS(try_recv(s.socket, NULL, b.slot, 0), 1);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

static void who_has_let_others_run_takes_a_few_as_they_have(void)
{
    greenlet a, b;
    scene s = begin_flood(&a, &b);
    int few = take_a_few(&b, s.socket);
    CHECK(few > 0);
    CHECK_IS(take_a_few(&b, s.socket), 0);
    gzh_slice(3600ull * 1000000000);
    CHECK_IS(take_a_few(&b, s.socket), few);
    CHECK_IS(take_a_few(&b, s.socket), 0);
    CHECK_IS(end_wait(&a), 1);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

static void a_few_are_reckoned_by_all_who_share_also_while_they_let_others_run(void)
{
    enum { ALL = 8 };
    scene s = begin_scene(ZMQ_PULL);
    greenlet g[ALL];
    int had = 0;
    for (int i = 0; i < ALL; i++) {
        born(&g[i]);
        CHECK_IS(ask_recv(&g[i], s.socket), GZH_WAIT);
    }
    for (int i = 0; i < 3000; i++)
        fake_deliver(s.zmq, "m");
    for (int i = 0; had < 1000; i = (i + 1) % ALL) {
        CHECK_IS(wait_on(&g[i], GZH_WAIT), 1);
        had += 1 + take_a_few(&g[i], s.socket);
        CHECK_IS(ask_recv(&g[i], s.socket), GZH_WAIT);
    }
    for (int i = 1; i < ALL; i++)
        CHECK_IS(wait_on(&g[i], GZH_WAIT), 1); /* and they wait no more, as if their slice were over */
    WAIT_TOLD(&g[0]);
    gzh_slice(3600ull * 1000000000);
    CHECK(take_a_few(&g[1], s.socket) <= (had + ALL) / ALL);
    CHECK_IS(end_wait(&g[0]), 1);
    for (int i = 0; i < ALL; i++)
        dies(&g[i]);
    end_scene(&s);
}

static void errors_of_the_call_come_to_the_caller_and_stop_nobody_else(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet a, b;
    born(&a);
    born(&b);
    fake_fail_receives(s.zmq, EFSM, 1);
    CHECK_IS(ask_recv(&a, s.socket), -EFSM);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(ask_recv(&b, s.socket), GZH_WAIT);
    fake_fail_receives(s.zmq, EFSM, 1);
    fake_deliver(s.zmq, "m1");
    CHECK_IS(do_recv(&a, s.socket), GZH_BUSY); /* it waits already */
    CHECK_IS(wait_on(&a, GZH_WAIT), -EFSM);
    CHECK_IS(wait_on(&b, GZH_WAIT), 2);
    CHECK_IS(send_now(s.socket, "x"), -ENOTSUP);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

/* ---- many rounds ------------------------------------------------------------------------------ */

#define ROUNDS 12000
#define RECEIVERS 4

static struct {
    gzh_socket *socket;
    atomic_int received;
    atomic_char seen[ROUNDS + 1];
    bool may_leave;
} flock;

/* Waits, and now and then loses its patience: is killed or gives up. */
static void *receives_impatiently(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    int last = 0;
    greenlet g;
    born(&g);
    while (atomic_load(&flock.received) < ROUNDS) {
        int rc = ask_recv(&g, flock.socket);
        unsigned how = flock.may_leave ? dice(&state, 4) : 3;
        if (rc == GZH_WAIT && how < 2) {
            dawdle(&state, 100);
            if (how == 0) {
                CHECK_IS(gzh_companion_cancel(g.companion), 0);
                continue;
            }
            rc = read_slot(&g, gzh_end(g.companion, g.slot, 0, true));
            if (rc == -EAGAIN)
                continue;
        }
        while (rc == GZH_WAIT) {
            if (is_told(&g, 20))
                rc = end_wait(&g);
            else if (atomic_load(&flock.received) == ROUNDS)
                rc = read_slot(&g, gzh_end(g.companion, g.slot, 0, true));
            else if (!is_told(&g, PATIENCE_MS))
                give_up(__FILE__, __LINE__, "a wake-up was missed");
        }
        if (rc == -EAGAIN)
            continue;
        CHECK(rc >= 0);
        int number = number_in(g.text);
        CHECK(number > last); /* each sees them in order */
        last = number;
        CHECK_IS(atomic_fetch_add(&flock.seen[number], 1), 0);
        atomic_fetch_add(&flock.received, 1);
    }
    dies(&g);
    return NULL;
}

static void every_message_is_received_once(bool may_leave, bool shaken)
{
    scene s = begin_scene(ZMQ_PULL);
    pthread_t thread[RECEIVERS];
    unsigned state = 4711;
    char text[16];
    memset(&flock, 0, sizeof flock);
    flock.socket = s.socket;
    flock.may_leave = may_leave;
    shake(shaken);
    fake_jitter(shaken);
    for (long i = 0; i < RECEIVERS; i++)
        thread[i] = start(receives_impatiently, (void *)(i + 1));
    for (int i = 1; i <= ROUNDS; i++) {
        snprintf(text, sizeof text, "m%d", i);
        fake_deliver(s.zmq, text);
        /* Never far ahead: what lies there is received at once, and nobody waits. */
        uint64_t end = gzh_now_ns() + PATIENCE_MS * 1000000ull;
        while (atomic_load(&flock.received) < i - 2) {
            sched_yield();
            if (gzh_now_ns() > end)
                give_up(__FILE__, __LINE__, "the receivers have stopped");
        }
        dawdle(&state, 50);
    }
    for (int i = 0; i < RECEIVERS; i++)
        join(thread[i]);
    CHECK_IS(atomic_load(&flock.received), ROUNDS);
    shake(false);
    fake_jitter(false);
    end_scene(&s);
}

static void many_receivers_receive_every_message_once_and_in_order(void)
{
    every_message_is_received_once(false, false);
}

static void receivers_that_come_and_go_lose_nothing(void)
{
    every_message_is_received_once(true, false);
}

static void receivers_that_come_and_go_lose_nothing_when_all_threads_dawdle(void)
{
    every_message_is_received_once(true, true);
}

static void however_long_a_flood_lasts_nobody_takes_very_many_while_another_waits(void)
{
    enum { FLOOD = 60000 };
    scene s = begin_scene(ZMQ_PULL);
    greenlet a, b;
    int taken = 0;
    born(&a);
    born(&b);
    CHECK_IS(ask_recv(&b, s.socket), GZH_WAIT);
    for (int i = 0; i < 2 * FLOOD; i++)
        fake_deliver(s.zmq, "m");
    WAIT_TOLD(&b); /* and does not run */
    until_nobody_is_inside(s.socket);
    for (int i = 0; i < FLOOD; i++)
        CHECK_IS(try_recv(s.socket, NULL, a.slot, ZMQ_DONTWAIT | GZH_ONE), 1);
    while (try_recv(s.socket, NULL, a.slot, GZH_ONE) == 1)
        taken++;
    CHECK(taken > 1000 && taken <= 10000);
    CHECK_IS(end_wait(&b), 1);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

int main(void)
{
    begin();
    RUN(a_message_that_lies_there_is_received_at_once);
    RUN(a_blocking_call_says_yield_when_the_slice_is_used_up);
    RUN(what_does_not_fit_the_slot_comes_whole);
    RUN(a_receiver_waits_and_is_granted);
    RUN(receivers_get_one_message_each_first_come_first_served);
    RUN(one_message_wakes_one_receiver);
    RUN(a_receiver_killed_in_the_queue_takes_nothing);
    RUN(a_killed_reader_leaves_the_message_for_the_next_one);
    RUN(a_receiver_that_leaves_while_its_message_is_fetched_loses_nothing);
    RUN(giving_up_after_the_grant_returns_the_message);
    RUN(a_message_that_arrives_while_a_receiver_queues_is_not_missed);
    RUN(a_message_is_not_missed_by_one_who_queued_behind_a_nonblocking_call);
    RUN(a_nonblocking_receive_takes_only_what_the_waiting_leave);
    RUN(receivers_at_once_take_only_a_few_before_the_granted);
    RUN(who_has_let_others_run_takes_a_few_as_they_have);
    RUN(a_few_are_reckoned_by_all_who_share_also_while_they_let_others_run);
    RUN(errors_of_the_call_come_to_the_caller_and_stop_nobody_else);
    RUN(many_receivers_receive_every_message_once_and_in_order);
    RUN(receivers_that_come_and_go_lose_nothing);
    RUN(receivers_that_come_and_go_lose_nothing_when_all_threads_dawdle);
    RUN(however_long_a_flood_lasts_nobody_takes_very_many_while_another_waits);
    return 0;
}
