/* Readers beside writers on one socket, and others who look at it all the time: each call may eat
 * the signal that somebody else waits for.  No wait may be missed, and none is saved by a timeout:
 * one that takes longer than a test's patience is a failure. */
#include "scene.h"
#include "watch.h"

static struct {
    gzh_socket *socket;
    void *zmq;
    int rounds;
    atomic_bool stop;
    atomic_int received, sent;
} stage;

static void set_stage(const scene *s)
{
    stage.socket = s->socket;
    stage.zmq = s->zmq;
    atomic_store(&stage.stop, false);
    atomic_store(&stage.received, 0);
    atomic_store(&stage.sent, 0);
}

static void *reads(void *argument)
{
    greenlet g;
    (void)argument;
    born(&g);
    for (int i = 1; i <= stage.rounds; i++) {
        CHECK(do_recv(&g, stage.socket) >= 0);
        CHECK_IS(number_in(g.text), i);
        atomic_store(&stage.received, i);
    }
    dies(&g);
    return NULL;
}

static void *writes(void *argument)
{
    unsigned state = 3;
    greenlet g;
    char text[32];
    (void)argument;
    born(&g);
    for (int i = 1; i <= stage.rounds; i++) {
        snprintf(text, sizeof text, dice(&state, 2) ? "w%d" : "w%d|x", i);
        CHECK_IS(do_send(&g, stage.socket, text), 0);
        atomic_store(&stage.sent, i);
    }
    dies(&g);
    return NULL;
}

/* The other side: sends one when the last was received, and reads one when the high-water mark is
 * reached, so that both directions wait nearly always. */
static void play_the_other_side(void)
{
    unsigned state = 4;
    char text[64];
    int delivered = 0, taken = 0;
    uint64_t progress = gzh_now_ns();
    while (atomic_load(&stage.received) < stage.rounds || taken < stage.rounds) {
        bool moved = false;
        if (delivered < stage.rounds && atomic_load(&stage.received) == delivered) {
            snprintf(text, sizeof text, "r%d", ++delivered);
            CHECK(fake_deliver(stage.zmq, text));
            moved = true;
        }
        dawdle(&state, 30);
        if (fake_take(stage.zmq, NULL, text, sizeof text)) {
            CHECK_IS(number_in(text), ++taken);
            moved = true;
        }
        dawdle(&state, 30);
        if (moved)
            progress = gzh_now_ns();
        else if (gzh_now_ns() - progress > PATIENCE_MS * 1000000ull)
            give_up(__FILE__, __LINE__, "a wake-up was missed");
        else
            sched_yield();
    }
}

static void *looks_at_events(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    int value;
    while (!atomic_load(&stage.stop)) {
        int rc = get_option(stage.socket, dice(&state, 2) ? ZMQ_EVENTS : ZMQ_LINGER, &value);
        CHECK(rc == 0 || rc == GZH_WAIT);
        rc = try_poll(stage.socket, NULL, ZMQ_POLLIN | ZMQ_POLLOUT, ZMQ_DONTWAIT);
        CHECK(rc >= 0);
        dawdle(&state, 100);
    }
    return NULL;
}

static void *polls(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    greenlet g;
    born(&g);
    while (!atomic_load(&stage.stop)) {
        CHECK_IS(try_poll(stage.socket, g.companion, dice(&state, 2) ? ZMQ_POLLIN : ZMQ_POLLOUT, 0),
                 GZH_WAIT);
        dawdle(&state, 200);
        int rc = gzh_end(g.companion, NULL, 0, true);
        CHECK(rc == ZMQ_POLLIN || rc == ZMQ_POLLOUT || rc == -EAGAIN);
    }
    dies(&g);
    return NULL;
}

/* Blocking calls take the socket away from all others for a while. */
static void *connects(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    greenlet g;
    born(&g);
    while (!atomic_load(&stage.stop)) {
        int rc = ask_call(&g, stage.socket, dice(&state, 2) ? GZH_BIND : GZH_DISCONNECT, "tcp://x");
        if (rc == GZH_BUSY) { /* it is on watch: another for this */
            greenlet other;
            born(&other);
            dies(&g);
            g = other;
            continue;
        }
        CHECK_IS(wait_on(&g, rc), 0);
        dawdle(&state, 300);
    }
    dies(&g);
    return NULL;
}

/* One that looks without waiting, and one that begins to wait and stops again. */
static void *tries(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    greenlet g;
    born(&g);
    while (!atomic_load(&stage.stop)) {
        CHECK_IS(set_option(stage.socket, ZMQ_LINGER, (int)dice(&state, 100)), 0);
        if (try_poll(stage.socket, g.companion, ZMQ_POLLIN, 0) == GZH_WAIT)
            CHECK_IS(gzh_companion_cancel(g.companion), 0);
        dawdle(&state, 200);
    }
    dies(&g);
    return NULL;
}

/* Does what the watch is about to do, as who stays awake does. */
static void *helps(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    while (!atomic_load(&stage.stop)) {
        gzh_watch_help();
        dawdle(&state, 10);
    }
    return NULL;
}

static void play(void *(*const disturbers[])(void *), int count, int rounds, int throttle,
                 bool shaken)
{
    scene s = begin_scene(ZMQ_DEALER);
    pthread_t thread[6];
    set_stage(&s);
    stage.rounds = rounds;
    CHECK_IS(set_option(s.socket, ZMQ_SNDHWM, 1), 0);
    fake_throttle(throttle);
    fake_jitter(shaken);
    shake(shaken);
    pthread_t reader = start(reads, NULL), writer = start(writes, NULL);
    for (long i = 0; i < count; i++)
        thread[i] = start(disturbers[i], (void *)(i + 11));
    play_the_other_side();
    join(reader);
    join(writer);
    atomic_store(&stage.stop, true);
    for (int i = 0; i < count; i++)
        join(thread[i]);
    fake_throttle(1);
    fake_jitter(false);
    shake(false);
    end_scene(&s);
}

static void a_reader_beside_a_writer_misses_no_wake_up(void)
{
    play(NULL, 0, 4000, 1, false);
    play(NULL, 0, 4000, 50, true);
}

static void nor_when_others_look_at_events_and_options(void)
{
    void *(*const disturbers[])(void *) = {looks_at_events};
    play(disturbers, 1, 4000, 5, true);
}

static void nor_when_others_poll(void)
{
    void *(*const disturbers[])(void *) = {polls, tries};
    play(disturbers, 2, 4000, 5, true);
}

static void nor_when_others_make_blocking_calls(void)
{
    void *(*const disturbers[])(void *) = {connects};
    play(disturbers, 1, 4000, 5, true);
}

static void nor_when_others_do_the_watchs_work(void)
{
    void *(*const disturbers[])(void *) = {helps, helps};
    play(disturbers, 2, 4000, 1, false);
    play(disturbers, 2, 4000, 5, true);
}

static void nor_when_they_do_it_all_at_once(void)
{
    void *(*const disturbers[])(void *) = {looks_at_events, polls, tries, connects, helps, helps};
    play(disturbers, 4, 1500, 20, true);
    play(disturbers, 6, 1500, 20, true);
}

int main(void)
{
    begin();
    RUN(a_reader_beside_a_writer_misses_no_wake_up);
    RUN(nor_when_others_look_at_events_and_options);
    RUN(nor_when_others_poll);
    RUN(nor_when_others_make_blocking_calls);
    RUN_IF(CAN_HELP, nor_when_others_do_the_watchs_work, HELPLESS);
    RUN(nor_when_they_do_it_all_at_once);
    return 0;
}
