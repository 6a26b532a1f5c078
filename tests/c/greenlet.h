/* What Python does around the C calls, in small: a thread (or, where nobody must run meanwhile,
 * the test itself) that has a companion, waits in poll(2) for its descriptor and ends its waits.
 * And the pause points, which tests use to stop a thread in the middle of csrc. */
#ifndef GREENLET_H
#define GREENLET_H

#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include "check.h"
#include "socket.h"

#define UNUSED __attribute__((unused))

typedef struct {
    gzh_companion *companion;
    gzh_slot *slot; /* too large for a stack that has many */
    char text[256];
} greenlet;

UNUSED static void born(greenlet *g)
{
    g->slot = malloc(sizeof *g->slot);
    CHECK(g->slot);
    CHECK_IS(gzh_companion_open(&g->companion), 0);
    g->text[0] = 0;
}

UNUSED static void dies(greenlet *g)
{
    gzh_companion_close(g->companion);
    free(g->slot);
}

/* Is it told within so many milliseconds? */
UNUSED static bool is_told(const greenlet *g, int milliseconds)
{
    struct pollfd fd = {.fd = gzh_companion_fd(g->companion), .events = POLLIN};
    int rc;
    while ((rc = poll(&fd, 1, milliseconds)) == -1 && errno == EINTR)
        ;
    return rc == 1;
}

#define WAIT_TOLD(g) CHECK(is_told(g, PATIENCE_MS))
/* Nobody can prove that something never comes; a few milliseconds find most. */
#define NOT_TOLD(g) CHECK(!is_told(g, 5))

/* ---- messages as text, parts divided by '|' ------------------------------------------------- */

UNUSED static gzh_message *message_of(const char *text)
{
    gzh_message *m = gzh_message_new();
    CHECK(m);
    for (const char *end;; text = end + 1) {
        end = strchr(text, '|');
        CHECK_IS(gzh_message_add(m, text, end ? (size_t)(end - text) : strlen(text)), 0);
        if (!end)
            return m;
    }
}

/* What a receive has found, into g->text: the size of the only part, or 0; other results are passed
 * on. */
UNUSED static int read_slot(greenlet *g, int rc)
{
    size_t used = 0;
    if (rc >= 0) {
        CHECK_IS(g->slot->parts, 1);
        CHECK_IS(g->slot->size[0], rc);
    } else if (rc == GZH_WHOLE) {
        gzh_message *m = g->slot->whole;
        for (int i = 0; i < gzh_message_parts(m); i++) {
            size_t size = gzh_message_size(m, i);
            CHECK(used + size + 2 <= sizeof g->text);
            if (i)
                g->text[used++] = '|';
            memcpy(g->text + used, gzh_message_data(m, i), size);
            used += size;
        }
        g->text[used] = 0;
        gzh_message_free(m);
        return 0;
    } else if (rc != GZH_PARTS)
        return rc;
    const char *from = g->slot->data;
    for (int i = 0; i < g->slot->parts; i++) {
        size_t size = (size_t)g->slot->size[i];
        CHECK(used + size + 2 <= sizeof g->text);
        if (i)
            g->text[used++] = '|';
        memcpy(g->text + used, from, size);
        used += size;
        from += size;
    }
    g->text[used] = 0;
    return rc >= 0 ? rc : 0;
}

/* ---- the steps ------------------------------------------------------------------------------ */

/* A thread that comes to a socket after another is sent away once, to look at what that one has shared:
 * here it never has any. */
UNUSED static int try_recv(gzh_socket *s, gzh_companion *companion, gzh_slot *slot, int flags)
{
    int rc;
    while ((rc = gzh_recv(s, companion, slot, flags)) == GZH_LOOK)
        ;
    return rc;
}

UNUSED static int try_poll(gzh_socket *s, gzh_companion *companion, int mask, int flags)
{
    int rc;
    while ((rc = gzh_poll(s, companion, mask, flags)) == GZH_LOOK)
        ;
    return rc;
}

/* Only the first half of a wait: what gzh_recv says. */
UNUSED static int ask_recv(greenlet *g, gzh_socket *s)
{
    return read_slot(g, try_recv(s, g->companion, g->slot, GZH_ONE));
}

UNUSED static int ask_send(greenlet *g, gzh_socket *s, const char *text)
{
    gzh_message *m = message_of(text);
    int rc = gzh_send_message(s, g->companion, m, 0);
    gzh_message_free(m);
    return rc;
}

UNUSED static int ask_call(greenlet *g, gzh_socket *s, int operation, const char *endpoint)
{
    size_t size = strlen(endpoint) + 1;
    char copy[64];
    strcpy(copy, endpoint);
    return gzh_call(s, g->companion, operation, 0, copy, &size);
}

/* The second half, once it is told. */
UNUSED static int end_wait(greenlet *g)
{
    return read_slot(g, gzh_end(g->companion, g->slot, 0, false));
}

UNUSED static int end_other(greenlet *g)
{
    return gzh_end(g->companion, g->slot, 0, false);
}

/* Both, and the loop: a wake-up is a hint. */
UNUSED static int wait_on(greenlet *g, int rc)
{
    while (rc == GZH_WAIT) {
        WAIT_TOLD(g);
        rc = gzh_end(g->companion, g->slot, 0, false);
    }
    return rc;
}

UNUSED static int do_recv(greenlet *g, gzh_socket *s)
{
    return read_slot(g, wait_on(g, try_recv(s, g->companion, g->slot, GZH_ONE)));
}

UNUSED static int do_send(greenlet *g, gzh_socket *s, const char *text)
{
    return wait_on(g, ask_send(g, s, text));
}

UNUSED static int do_poll(greenlet *g, gzh_socket *s, int mask)
{
    return wait_on(g, try_poll(s, g->companion, mask, 0));
}

UNUSED static int get_option(gzh_socket *s, int option, int *value)
{
    size_t size = sizeof *value;
    return gzh_call(s, NULL, GZH_GET, option, value, &size);
}

/* Whoever granted may be inside the socket for some microseconds more, and what does not block says
 * "again" then.  That is as it should be, and not what most tests are about. */
UNUSED static void until_nobody_is_inside(gzh_socket *s)
{
    int type;
    UNTIL(get_option(s, ZMQ_TYPE, &type) != GZH_WAIT);
}

UNUSED static int set_option(gzh_socket *s, int option, int value)
{
    size_t size = sizeof value;
    int rc;
    UNTIL((rc = gzh_call(s, NULL, GZH_SET, option, &value, &size)) != GZH_WAIT);
    return rc;
}

UNUSED static int recv_now(greenlet *g, gzh_socket *s)
{
    until_nobody_is_inside(s);
    return read_slot(g, try_recv(s, NULL, g->slot, ZMQ_DONTWAIT | GZH_ONE));
}

UNUSED static int send_nonblocking(gzh_socket *s, const char *text)
{
    gzh_message *m = message_of(text);
    int rc = gzh_send_message(s, NULL, m, ZMQ_DONTWAIT);
    CHECK_IS(gzh_message_parts(m) == 0, rc == 0); /* refused, it is whole */
    gzh_message_free(m);
    return rc;
}

UNUSED static int send_now(gzh_socket *s, const char *text)
{
    until_nobody_is_inside(s);
    return send_nonblocking(s, text);
}

UNUSED static int poll_now(gzh_socket *s, int mask)
{
    until_nobody_is_inside(s);
    return try_poll(s, NULL, mask, ZMQ_DONTWAIT);
}

/* ---- threads and dice ----------------------------------------------------------------------- */

UNUSED static pthread_t start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    CHECK_IS(pthread_create(&thread, NULL, run, argument), 0);
    return thread;
}

UNUSED static void join(pthread_t thread)
{
    CHECK_IS(pthread_join(thread, NULL), 0);
}

UNUSED static unsigned dice(unsigned *state, unsigned sides)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 16) % sides;
}

/* Some microseconds, in which others may be anywhere. */
UNUSED static void dawdle(unsigned *state, unsigned turns)
{
    unsigned count = dice(state, turns + 1);
    if (count % 7 == 0)
        sched_yield();
    for (volatile unsigned i = 0; i < count * 10; i++)
        ;
}

UNUSED static int living_companions(void)
{
    int living, parked, on_watch;
    gzh_companion_counts(&living, &parked, &on_watch);
    return living;
}

/* ---- pause points --------------------------------------------------------------------------- */

static _Atomic(const char *) stop_place;
static atomic_int stops, goes;
static atomic_bool shaking;

/* The first thread that comes by stays there until let_go. */
static void on_pause(const char *place)
{
    static _Thread_local unsigned state;
    const char *wanted = atomic_load(&stop_place);
    if (wanted && !strcmp(wanted, place) &&
        atomic_compare_exchange_strong(&stop_place, &wanted, NULL)) {
        int ticket = atomic_fetch_add(&stops, 1) + 1;
        UNTIL(atomic_load(&goes) >= ticket);
    } else if (atomic_load_explicit(&shaking, memory_order_relaxed)) {
        if (!state)
            state = (unsigned)(uintptr_t)&state;
        if (dice(&state, 4) == 0)
            dawdle(&state, 200);
    }
}

UNUSED static void stop_at(const char *place)
{
    atomic_store(&stop_place, place);
}

UNUSED static bool is_stopped(void)
{
    return atomic_load(&stops) > atomic_load(&goes);
}

UNUSED static void wait_stopped(void)
{
    UNTIL(is_stopped());
}

UNUSED static void let_go(void)
{
    atomic_store(&goes, atomic_load(&stops));
}

/* At every pause point, now and then, some time passes. */
UNUSED static void shake(bool on)
{
    atomic_store(&shaking, on);
}

/* Once, first of all in main. */
UNUSED static void begin(void)
{
    begin_checks();
    gzh_pause_hook = on_pause; /* before there are threads: it is a plain variable */
    gzh_slice(3600ull * 1000000000);
}

#endif
