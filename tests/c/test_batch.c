/* Several messages in one call: how many, of what kind, when not; and the second thread that begins to
 * receive or to poll while the first has some that it has not shared yet. */
#include "scene.h"

/* What Python has: messages that were taken in one call and are anybody's, and a lock that lets one thread
 * at a time look at them. */
static struct {
    pthread_mutex_t mutex;
    int ready[4096], head, tail;
} shared = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* The numbers of a batch of messages like "m17" or "m17|x". */
static int numbers_in(const gzh_slot *slot, int *number)
{
    const char *from = slot->data;
    CHECK_IS(slot->parts, slot->several * slot->each);
    for (int part = 0; part < slot->parts; part++) {
        size_t size = (size_t)slot->size[part];
        char text[32];
        CHECK(size < sizeof text);
        memcpy(text, from, size);
        text[size] = 0;
        if (part % slot->each == 0)
            number[part / slot->each] = number_in(text);
        else
            CHECK_TEXT(text, "x");
        from += size;
    }
    return slot->several;
}

static void deliver_numbers(void *zmq, int from, int to, const char *form)
{
    char text[32];
    for (int i = from; i <= to; i++) {
        snprintf(text, sizeof text, form, i);
        CHECK(fake_deliver(zmq, text));
    }
}

/* One call: the numbers that it brought; a batch counts as shared. */
static int take_some(greenlet *g, gzh_socket *s, int *number)
{
    int rc = gzh_recv(s, NULL, g->slot, ZMQ_DONTWAIT);
    if (rc == GZH_SEVERAL) {
        int count = numbers_in(g->slot, number);
        CHECK_IS(gzh_socket_shared(s), 0);
        return count;
    }
    CHECK_IS(g->slot->several, 0);
    if (rc == -EAGAIN)
        return 0;
    rc = read_slot(g, rc);
    CHECK(rc >= 0);
    *number = number_in(g->text);
    return 1;
}

/* Brings the socket to where its next call takes as many as it ever does.  Returns how many that were. */
static int warm_up(greenlet *g, const scene *s, const char *form)
{
    int number[GZH_BATCH], most = 1, next = 1, last = 0;
    for (int i = 0; i < 100 && last < GZH_BATCH; i++) { /* the coarse clock may tick in between: a few times */
        deliver_numbers(s->zmq, next, next + GZH_BATCH * 3 - 1, form);
        for (int count; (count = take_some(g, s->socket, number)) > 0; last = count) {
            CHECK_IS(number[0], next);
            CHECK_IS(number[count - 1], next + count - 1);
            next += count;
            most = count > most ? count : most;
        }
    }
    return most;
}

static void call_until_several(greenlet *g, const scene *s)
{
    int rc;
    UNTIL((deliver_numbers(s->zmq, 1, 40, "m%d"), rc = gzh_recv(s->socket, NULL, g->slot, 0)) == GZH_SEVERAL);
}

static void in_a_flood_each_call_takes_at_most_twice_as_many_as_the_last(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    int number[GZH_BATCH], next = 1, last = 0, most = 0;
    born(&g);
    deliver_numbers(s.zmq, 1, 20000, "m%d");
    for (int count; (count = take_some(&g, s.socket, number)) > 0; last = count) {
        CHECK(count <= GZH_BATCH && count <= (last ? 2 * last : 1));
        for (int i = 0; i < count; i++)
            CHECK_IS(number[i], next++);
        most = count > most ? count : most;
    }
    CHECK_IS(next, 20001);
    CHECK_IS(most, GZH_BATCH);
    dies(&g);
    end_scene(&s);
}

static void a_flood_that_runs_dry_for_a_moment_goes_on_where_it_was(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    int number[GZH_BATCH];
    born(&g);
    bool went_on = false;
    for (int i = 0; i < 500 && !went_on; i++) { /* the coarse clock may tick in between */
        warm_up(&g, &s, "m%d");
        deliver_numbers(s.zmq, 1, GZH_BATCH, "m%d");
        went_on = take_some(&g, s.socket, number) == GZH_BATCH;
        while (take_some(&g, s.socket, number) > 0)
            ;
    }
    CHECK(went_on);
    dies(&g);
    end_scene(&s);
}

static void a_batch_that_was_lent_when_they_came_to_an_end_is_to_be_put_back(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    int number[GZH_BATCH];
    born(&g);
    call_until_several(&g, &s);
    gzh_socket_one_by_one(s.socket);
    CHECK_IS(gzh_socket_shared(s.socket), 1);
    for (int i = 0; i < 50; i++) {
        deliver_numbers(s.zmq, 1, 40, "m%d");
        while (take_some(&g, s.socket, number) > 0)
            CHECK_IS(g.slot->several, 0);
    }
    dies(&g);
    end_scene(&s);
}

static void messages_of_several_parts_come_together_while_they_have_as_many(void)
{
    static const char *const form[] = {"m%d", "m%d|x", "m%d|x|x", "m%d|x|x|x|x"};
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    int number[GZH_BATCH], next = 1, sent = 0, several = 0;
    unsigned state = 5;
    born(&g);
    for (int i = 0; i < 400; i++) {
        int kind = (int)dice(&state, 4), count = (int)dice(&state, 30);
        deliver_numbers(s.zmq, sent + 1, sent + count, form[kind]);
        sent += count;
    }
    for (int count; (count = take_some(&g, s.socket, number)) > 0;) {
        several += count > 1;
        for (int i = 0; i < count; i++)
            CHECK_IS(number[i], next++);
    }
    CHECK_IS(next, sent + 1);
    CHECK(several > 100);
    dies(&g);
    end_scene(&s);
}

static void a_batch_ends_where_a_message_has_no_room_and_that_comes_next(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    CHECK_IS(warm_up(&g, &s, "m%d"), GZH_BATCH);
    for (int size = 20000; size <= 140000; size += 10000) {
        int taken = 0;
        for (int i = 0; i < 60; i++)
            CHECK(fake_deliver_size(s.zmq, (size_t)size));
        while (taken < 60) {
            int rc = gzh_recv(s.socket, NULL, g.slot, ZMQ_DONTWAIT);
            if (rc == GZH_SEVERAL) {
                CHECK_IS(g.slot->each, 1);
                CHECK(g.slot->several * size <= GZH_SLOT_BYTES);
                taken += g.slot->several;
                CHECK_IS(gzh_socket_shared(s.socket), 0);
            } else if (rc == GZH_WHOLE) {
                CHECK(size > GZH_SLOT_BYTES);
                CHECK_IS(gzh_message_size(g.slot->whole, 0), size);
                gzh_message_free(g.slot->whole);
                taken++;
            } else {
                CHECK_IS(rc, size);
                taken++;
            }
        }
        CHECK_IS(gzh_recv(s.socket, NULL, g.slot, ZMQ_DONTWAIT), -EAGAIN);
    }
    dies(&g);
    end_scene(&s);
}

static void an_error_in_the_middle_of_a_batch_comes_after_what_came_before_it(void)
{
    for (int nth = 1; nth < 6; nth++) {
        scene s = begin_scene(ZMQ_PULL);
        greenlet g;
        int number[GZH_BATCH], got = 0, rc = 0;
        born(&g);
        warm_up(&g, &s, "m%d");
        deliver_numbers(s.zmq, 1, nth, "m%d");
        CHECK_IS(gzh_context_shutdown(s.context), 0);
        for (;;) {
            rc = gzh_recv(s.socket, NULL, g.slot, 0);
            if (rc < 0 && rc != GZH_SEVERAL)
                break;
            got += rc == GZH_SEVERAL ? numbers_in(g.slot, number) : 1;
            if (rc == GZH_SEVERAL)
                gzh_socket_shared(s.socket);
        }
        CHECK_IS(rc, -ETERM);
        CHECK(got <= nth);
        dies(&g);
        end_scene(&s);
    }
}

static void nobody_gets_several_who_wants_one_or_the_message_itself(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    warm_up(&g, &s, "m%d");
    deliver_numbers(s.zmq, 1, 400, "m%d");
    for (int i = 1; i <= 200; i++) {
        CHECK(gzh_recv(s.socket, NULL, g.slot, GZH_ONE) > 0);
        CHECK_IS(g.slot->several, 0);
    }
    CHECK_IS(read_slot(&g, gzh_recv(s.socket, NULL, g.slot, GZH_KEEP)), 0);
    CHECK_TEXT(g.text, "m201");
    /* And none after that: in a batch there are bytes alone. */
    for (int i = 202; i <= 400; i++) {
        CHECK(read_slot(&g, gzh_recv(s.socket, NULL, g.slot, 0)) > 0);
        CHECK_IS(number_in(g.text), i);
    }
    dies(&g);
    end_scene(&s);
}

static void options_bring_no_batches_back_to_who_wanted_the_message_itself(void)
{
    static const int option[] = {ZMQ_RCVHWM, ZMQ_CONFLATE};
    for (int i = 0; i < 2; i++) {
        scene s = begin_scene(ZMQ_PULL);
        greenlet g;
        born(&g);
        deliver_numbers(s.zmq, 1, 1, "m%d");
        CHECK_IS(read_slot(&g, gzh_recv(s.socket, NULL, g.slot, GZH_KEEP)), 0);
        CHECK_IS(set_option(s.socket, option[i], 0), 0);
        CHECK_IS(warm_up(&g, &s, "m%d"), 1);
        dies(&g);
        end_scene(&s);
    }
}

static void there_are_no_batches_while_others_wait(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g, other;
    int number[GZH_BATCH];
    born(&g);
    born(&other);
    CHECK_IS(warm_up(&g, &s, "m%d"), GZH_BATCH);
    for (int polls = 0; polls < 2; polls++)
        for (int i = 0; i < 20; i++) {
            if (polls)
                CHECK_IS(gzh_poll(s.socket, other.companion, ZMQ_POLLIN, 0), GZH_WAIT);
            else
                CHECK_IS(gzh_recv(s.socket, other.companion, other.slot, 0), GZH_WAIT);
            stop_at("watch: between event and ready");
            deliver_numbers(s.zmq, 1, 2 * GZH_BATCH, "m%d");
            /* (It is not stopped if it was past that place, on an earlier errand.) */
            UNTIL(is_stopped() || is_told(&other, 0));
            until_nobody_is_inside(s.socket);
            bool waits = !polls || !is_told(&other, 0); /* for a message; or was granted one and has not run */
            CHECK(take_some(&g, s.socket, number) <= 1 || !waits);
            stop_at("nowhere");
            let_go();
            int rc = wait_on(&other, GZH_WAIT);
            CHECK(polls ? rc == ZMQ_POLLIN : rc > 0);
            until_nobody_is_inside(s.socket);
            while (take_some(&g, s.socket, number) > 0)
                ;
        }
    dies(&g);
    dies(&other);
    end_scene(&s);
}

static void there_are_none_on_sockets_that_take_turns(void)
{
    scene s = begin_scene(ZMQ_REP);
    greenlet g;
    born(&g);
    for (int i = 1; i <= 200; i++) {
        deliver_numbers(s.zmq, 2 * i, 2 * i + 1, "m%d");
        CHECK(recv_now(&g, s.socket) > 0);
        CHECK_IS(number_in(g.text), i + 1);
        CHECK_IS(g.slot->several, 0);
        CHECK_IS(send_now(s.socket, "reply"), 0);
    }
    dies(&g);
    end_scene(&s);
}

/* ---- a second thread ---------------------------------------------------------------------------------- */

#define FOR_EVER (3600ull * 1000000000)

static struct {
    gzh_socket *socket;
    bool polls;
    atomic_int rc;
} second;

static void *asks_whether_it_may_send(void *unused)
{
    (void)unused;
    gzh_slice(FOR_EVER);
    atomic_store(&second.rc, gzh_poll(second.socket, NULL, ZMQ_POLLOUT, 0));
    return NULL;
}

static void who_polls_only_for_room_waits_for_no_batch_and_ends_none(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    greenlet g;
    born(&g);
    call_until_several(&g, &s);
    second.socket = s.socket;
    join(start(asks_whether_it_may_send, NULL));
    CHECK_IS(atomic_load(&second.rc), ZMQ_POLLOUT);
    CHECK(gzh_socket_lent(s.socket));
    CHECK_IS(gzh_socket_shared(s.socket), 0);
    call_until_several(&g, &s);
    CHECK_IS(gzh_socket_shared(s.socket), 0);
    dies(&g);
    end_scene(&s);
}

static void *asks_once(void *unused)
{
    greenlet g;
    (void)unused;
    born(&g);
    gzh_slice(FOR_EVER);
    atomic_store(&second.rc, second.polls ? gzh_poll(second.socket, NULL, ZMQ_POLLIN, 0)
                                          : gzh_recv(second.socket, NULL, g.slot, 0));
    dies(&g);
    return NULL;
}

static void a_second_thread_waits_until_the_first_has_shared_and_then_looks(void)
{
    for (int polls = 0; polls < 2; polls++) {
        scene s = begin_scene(ZMQ_PULL);
        greenlet g;
        int number[GZH_BATCH];
        born(&g);
        call_until_several(&g, &s);
        CHECK(gzh_socket_lent(s.socket));
        second.socket = s.socket;
        second.polls = polls;
        atomic_store(&second.rc, 0);
        stop_at("batch: waits until it is shared");
        pthread_t thread = start(asks_once, NULL);
        wait_stopped();
        CHECK_IS(atomic_load(&second.rc), 0);
        CHECK_IS(gzh_socket_shared(s.socket), 0);
        let_go();
        join(thread);
        CHECK_IS(atomic_load(&second.rc), GZH_LOOK);
        /* From now on one at a time, whatever is set. */
        for (int i = 0; i < 30; i++) {
            deliver_numbers(s.zmq, 1, 20, "m%d");
            CHECK_IS(set_option(s.socket, ZMQ_RCVHWM, i % 2 ? 0 : 2000), 0);
            for (int k = 0; k < 20; k++)
                CHECK_IS(take_some(&g, s.socket, number), 1);
        }
        dies(&g);
        end_scene(&s);
    }
}

static void a_second_thread_that_comes_while_the_batch_is_taken_waits_too(void)
{
    for (int polls = 0; polls < 2; polls++) {
        scene s = begin_scene(ZMQ_PULL);
        greenlet g;
        born(&g);
        warm_up(&g, &s, "m%d");
        second.socket = s.socket;
        second.polls = polls;
        atomic_store(&second.rc, 0);
        pthread_t thread;
        stop_at("batch: waits until it is shared");
        /* The owner is in libzmq all the while; the other has found one, and it is not to queue. */
        thread = start(asks_once, NULL);
        int rc, rounds = 0;
        do {
            deliver_numbers(s.zmq, 1, 40, "m%d");
            rc = gzh_recv(s.socket, NULL, g.slot, 0);
        } while (rc != GZH_SEVERAL && !is_stopped() && atomic_load(&second.rc) == 0 && ++rounds < 100000);
        if (rc == GZH_SEVERAL)
            CHECK_IS(gzh_socket_shared(s.socket), 0);
        stop_at("nowhere");
        let_go();
        join(thread);
        CHECK_IS(atomic_load(&second.rc), GZH_LOOK);
        dies(&g);
        end_scene(&s);
    }
}

static void who_waits_already_when_a_batch_is_shared_late_is_sent_to_look(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g, reader, poller;
    int number[GZH_BATCH];
    born(&g);
    born(&reader);
    born(&poller);
    call_until_several(&g, &s);
    CHECK(numbers_in(g.slot, number) > 1);
    second.socket = s.socket;
    second.polls = false;
    join(start(asks_once, NULL)); /* and loses its patience */
    CHECK_IS(atomic_load(&second.rc), GZH_LOOK);
    gzh_slot *slot = malloc(sizeof *slot);
    CHECK(slot);
    while (gzh_recv(s.socket, NULL, slot, ZMQ_DONTWAIT) > 0)
        ;
    free(slot);
    CHECK_IS(gzh_recv(s.socket, reader.companion, reader.slot, 0), GZH_WAIT);
    CHECK_IS(gzh_poll(s.socket, poller.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    NOT_TOLD(&reader);
    CHECK_IS(gzh_socket_shared(s.socket), 0);
    CHECK_IS(wait_on(&reader, GZH_WAIT), GZH_LOOK);
    CHECK_IS(wait_on(&poller, GZH_WAIT), ZMQ_POLLIN);
    dies(&g);
    dies(&reader);
    dies(&poller);
    end_scene(&s);
}

static void what_is_put_back_is_told_to_who_polls(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    gzh_message *m = message_of("m1");
    CHECK_IS(try_poll(s.socket, g.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    CHECK_IS(gzh_socket_put_back(s.socket, &m, 1), 0);
    CHECK_IS(wait_on(&g, GZH_WAIT), ZMQ_POLLIN);
    CHECK_IS(recv_now(&g, s.socket), 2);
    gzh_message_free(m);
    dies(&g);
    end_scene(&s);
}

static void what_is_shared_after_a_close_is_nobodys(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    call_until_several(&g, &s);
    gzh_socket_close(s.socket, NULL);
    CHECK_IS(gzh_socket_shared(s.socket), -ENOTSOCK);
    dies(&g);
    end_scene(&s);
}

static struct {
    gzh_socket *socket[2];
    int sent_to_look;
} turns;

static void *receives_by_turns(void *unused)
{
    greenlet g;
    (void)unused;
    born(&g);
    gzh_slice(FOR_EVER);
    for (int i = 0; i < 100; i++)
        turns.sent_to_look += gzh_recv(turns.socket[i % 2], NULL, g.slot, ZMQ_DONTWAIT) == GZH_LOOK;
    dies(&g);
    return NULL;
}

static void a_second_thread_of_two_sockets_is_sent_to_look_once_for_each(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    turns.socket[0] = s.socket;
    CHECK_IS(gzh_socket_open(s.context, ZMQ_PULL, &turns.socket[1]), 0);
    for (int i = 0; i < 2; i++)
        CHECK_IS(gzh_recv(turns.socket[i], NULL, g.slot, ZMQ_DONTWAIT), -EAGAIN);
    join(start(receives_by_turns, NULL));
    CHECK_IS(turns.sent_to_look, 2);
    dies(&g);
    gzh_socket_drop(turns.socket[1]);
    end_scene(&s);
}

/* ---- what comes while a batch is being taken ---------------------------------------------------------- */

static struct {
    gzh_socket *socket;
    int rc, several;
} taker;

static void *takes_many(void *unused)
{
    greenlet g;
    (void)unused;
    born(&g);
    gzh_slice(FOR_EVER);
    taker.rc = gzh_recv_many(taker.socket, g.slot, 0, 10);
    taker.several = g.slot->several;
    dies(&g);
    return NULL;
}

static void who_queues_while_many_are_taken_gets_the_one_that_did_not_fit(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    deliver_numbers(s.zmq, 1, 3, "m%d");
    deliver_numbers(s.zmq, 4, 4, "m%d|x");
    taker.socket = s.socket;
    stop_at("batch: begun");
    pthread_t thread = start(takes_many, NULL);
    wait_stopped();
    CHECK_IS(try_recv(s.socket, g.companion, g.slot, GZH_ONE), GZH_WAIT);
    let_go();
    join(thread);
    CHECK_IS(taker.rc, GZH_SEVERAL);
    CHECK_IS(taker.several, 3);
    CHECK_IS(wait_on(&g, GZH_WAIT), GZH_PARTS);
    dies(&g);
    end_scene(&s);
}

static void *takes_what_is_there(void *zmq)
{
    greenlet g;
    born(&g);
    gzh_slice(FOR_EVER);
    deliver_numbers(zmq, 1, 3, "m%d");
    /* One, then two; or, if the coarse clock ticks in between, one after the other. */
    for (int left = 3; left > 0; left -= taker.several ? taker.several : 1) {
        taker.rc = gzh_recv(taker.socket, NULL, g.slot, 0);
        taker.several = taker.rc == GZH_SEVERAL ? g.slot->several : 0;
        CHECK(taker.rc > 0 || taker.rc == GZH_SEVERAL);
    }
    dies(&g);
    return NULL;
}

static void who_lost_its_patience_before_the_batch_was_taken_is_sent_to_look_when_it_is_shared(void)
{
    for (bool several = false; !several;) {
        scene s = begin_scene(ZMQ_PULL);
        greenlet g;
        born(&g);
        taker.socket = s.socket;
        stop_at("batch: begun");
        pthread_t thread = start(takes_what_is_there, s.zmq);
        wait_stopped();
        CHECK_IS(gzh_recv(s.socket, NULL, g.slot, 0), GZH_LOOK); /* it has waited in vain */
        CHECK_IS(gzh_recv(s.socket, g.companion, g.slot, 0), GZH_WAIT);
        let_go();
        join(thread);
        several = taker.rc == GZH_SEVERAL;
        if (several) {
            NOT_TOLD(&g); /* it was quicker than they */
            CHECK_IS(gzh_socket_shared(s.socket), 0);
            CHECK_IS(wait_on(&g, GZH_WAIT), GZH_LOOK);
        }
        dies(&g);
        end_scene(&s);
    }
}

/* ---- many rounds ---------------------------------------------------------------------------------------- */

#define MESSAGES 60

static struct {
    gzh_socket *socket;
    atomic_int received, waiting;
    atomic_char seen[MESSAGES + 1];
    unsigned seed;
} race;

static int pop(void)
{
    pthread_mutex_lock(&shared.mutex);
    int number = shared.head < shared.tail ? shared.ready[shared.head++] : 0;
    pthread_mutex_unlock(&shared.mutex);
    return number;
}

/* As Python does it; 0: all have been received. */
static int receive_one(greenlet *g, unsigned *state)
{
    int number[GZH_BATCH], rc, found;
    for (;;) {
        if ((found = pop()) > 0)
            return found;
        rc = gzh_recv(race.socket, NULL, g->slot, 0);
        if (rc == GZH_SEVERAL) {
            int count = numbers_in(g->slot, number);
            dawdle(state, 100);
            pthread_mutex_lock(&shared.mutex);
            for (int i = 1; i < count; i++)
                shared.ready[shared.tail++] = number[i];
            pthread_mutex_unlock(&shared.mutex);
            gzh_socket_shared(race.socket);
            return number[0];
        }
        if (rc == GZH_LOOK)
            continue;
        if (rc == GZH_WAIT) {
            bool polls = dice(state, 2);
            rc = polls ? gzh_poll(race.socket, g->companion, ZMQ_POLLIN, 0)
                       : gzh_recv(race.socket, g->companion, g->slot, 0);
            while (rc == GZH_WAIT) {
                if (is_told(g, 1))
                    rc = gzh_end(g->companion, g->slot, 0, false);
                else if (atomic_load(&race.received) == MESSAGES)
                    rc = gzh_end(g->companion, g->slot, 0, true);
                else {
                    pthread_mutex_lock(&shared.mutex);
                    bool lies = shared.head < shared.tail;
                    pthread_mutex_unlock(&shared.mutex);
                    CHECK(!lies); /* one waits in C, and there is something for it here */
                }
            }
            if (rc == -EAGAIN && atomic_load(&race.received) == MESSAGES)
                return 0;
            if (polls || rc == GZH_LOOK)
                continue;
        }
        rc = read_slot(g, rc);
        CHECK(rc >= 0);
        return number_in(g->text);
    }
}

static void *receives(void *argument)
{
    unsigned state = race.seed + (unsigned)(uintptr_t)argument;
    int last = 0, number;
    greenlet g;
    born(&g);
    gzh_slice(FOR_EVER);
    dawdle(&state, argument ? 2000 : 50);
    while (atomic_load(&race.received) < MESSAGES && (number = receive_one(&g, &state)) > 0) {
        CHECK(number > last);
        last = number;
        CHECK_IS(atomic_fetch_add(&race.seen[number], 1), 0);
        atomic_fetch_add(&race.received, 1);
        dawdle(&state, 20);
    }
    dies(&g);
    return NULL;
}

static void threads_that_begin_in_the_middle_of_a_flood_lose_nothing_and_keep_order(void)
{
    shake(true);
    for (unsigned round = 0; round < 1500; round++) {
        scene s = begin_scene(ZMQ_PULL);
        pthread_t thread[3];
        long count = 2 + round % 2;
        memset(&race, 0, sizeof race);
        race.socket = s.socket;
        race.seed = round * 7919 + 1;
        shared.head = shared.tail = 0;
        deliver_numbers(s.zmq, 1, MESSAGES - 10, "m%d");
        for (long i = 0; i < count; i++)
            thread[i] = start(receives, (void *)i);
        unsigned state = round + 3;
        for (int i = MESSAGES - 9; i <= MESSAGES; i++) {
            dawdle(&state, 200);
            deliver_numbers(s.zmq, i, i, "m%d");
        }
        for (long i = 0; i < count; i++)
            join(thread[i]);
        CHECK_IS(atomic_load(&race.received), MESSAGES);
        end_scene(&s);
    }
    shake(false);
}

/* ---- the watch, told to rest ------------------------------------------------------------------------------ */

static void a_waiter_is_told_after_the_watch_was_told_to_rest(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    unsigned state = 9;
    born(&g);
    shake(true);
    for (int i = 0; i < 3000; i++) {
        CHECK_IS(try_recv(s.socket, g.companion, g.slot, GZH_ONE), GZH_WAIT);
        if (i % 3 == 0) { /* nobody waits when this arrives: the watch is to rest */
            CHECK_IS(gzh_companion_cancel(g.companion), 0);
            fake_deliver(s.zmq, "m1");
            dawdle(&state, 300);
            CHECK_IS(recv_now(&g, s.socket), 2);
            continue;
        }
        dawdle(&state, 300);
        fake_deliver(s.zmq, "m1");
        CHECK_IS(wait_on(&g, GZH_WAIT), 2);
    }
    shake(false);
    dies(&g);
    end_scene(&s);
}

static void a_waiter_that_comes_while_the_watch_is_being_told_to_rest_is_told(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    for (int i = 0; i < 20; i++) {
        CHECK_IS(try_recv(s.socket, g.companion, g.slot, GZH_ONE), GZH_WAIT);
        CHECK_IS(gzh_companion_cancel(g.companion), 0);
        stop_at("watch: between event and ready");
        fake_deliver(s.zmq, "m1"); /* arms are as the last waiter left them */
        if (i == 0)
            wait_stopped();
        else
            pause_us(300);
        stop_at("nowhere");
        CHECK_IS(recv_now(&g, s.socket), 2);
        CHECK_IS(try_recv(s.socket, g.companion, g.slot, GZH_ONE), GZH_WAIT);
        let_go();
        pause_us(300);
        fake_deliver(s.zmq, "m2");
        CHECK_IS(wait_on(&g, GZH_WAIT), 2);
    }
    dies(&g);
    end_scene(&s);
}

static void the_watch_survives_a_shadowed_socket_that_its_maker_has_closed(void)
{
    void *context = zmq_ctx_new(), *zmq = zmq_socket(context, ZMQ_PULL);
    gzh_socket *shadow;
    greenlet g;
    born(&g);
    CHECK_IS(gzh_socket_wrap(zmq, true, &shadow), 0);
    CHECK_IS(try_recv(shadow, g.companion, g.slot, GZH_ONE), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(g.companion), 0);
    fake_reap_at_once(true);
    stop_at("watch: between event and ready");
    CHECK(fake_deliver(zmq, "m1")); /* nobody waits: the watch is to rest */
    wait_stopped();
    CHECK_IS(zmq_close(zmq), 0);
    let_go();
    pause_us(2000);
    fake_reap_at_once(false);
    dies(&g);
    gzh_socket_drop(shadow);
    CHECK_IS(zmq_ctx_term(context), 0);
    nothing_is_left();
}

int main(void)
{
    begin();
    RUN(in_a_flood_each_call_takes_at_most_twice_as_many_as_the_last);
    RUN(a_flood_that_runs_dry_for_a_moment_goes_on_where_it_was);
    RUN(a_batch_that_was_lent_when_they_came_to_an_end_is_to_be_put_back);
    RUN(messages_of_several_parts_come_together_while_they_have_as_many);
    RUN(a_batch_ends_where_a_message_has_no_room_and_that_comes_next);
    RUN(an_error_in_the_middle_of_a_batch_comes_after_what_came_before_it);
    RUN(nobody_gets_several_who_wants_one_or_the_message_itself);
    RUN(options_bring_no_batches_back_to_who_wanted_the_message_itself);
    RUN(there_are_no_batches_while_others_wait);
    RUN(there_are_none_on_sockets_that_take_turns);
    RUN(a_second_thread_waits_until_the_first_has_shared_and_then_looks);
    RUN(a_second_thread_that_comes_while_the_batch_is_taken_waits_too);
    RUN(who_waits_already_when_a_batch_is_shared_late_is_sent_to_look);
    RUN(what_is_put_back_is_told_to_who_polls);
    RUN(what_is_shared_after_a_close_is_nobodys);
    RUN(who_polls_only_for_room_waits_for_no_batch_and_ends_none);
    RUN(a_second_thread_of_two_sockets_is_sent_to_look_once_for_each);
    RUN(who_queues_while_many_are_taken_gets_the_one_that_did_not_fit);
    RUN(who_lost_its_patience_before_the_batch_was_taken_is_sent_to_look_when_it_is_shared);
    RUN(threads_that_begin_in_the_middle_of_a_flood_lose_nothing_and_keep_order);
    RUN(a_waiter_is_told_after_the_watch_was_told_to_rest);
    RUN(a_waiter_that_comes_while_the_watch_is_being_told_to_rest_is_told);
    RUN(the_watch_survives_a_shadowed_socket_that_its_maker_has_closed);
    return 0;
}
