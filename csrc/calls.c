/* DESIGN
 *
 * A context has a state of its own, because zmq_ctx_term frees libzmq's: after that nobody may
 * hand the pointer to libzmq.  The mutex guards state, users and waiters; it is held for a few
 * instructions.
 *
 *   OPEN --term--> ENDING --zmq_ctx_term has returned--> ENDED
 *
 * `users` counts the calls that are inside libzmq with the pointer; the term waits for them (they
 * are short) before it begins.  The companion of the first greenlet that asked makes the term, and
 * touches only the context while it does: the greenlet may leave.  Those that wait for the end, the
 * first one included, have a request in `waiters`. */
#include "calls.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "socket.h"
#include "watch.h"

static int result(int rc)
{
    return rc == -1 ? -errno : rc;
}

/* ---- one function for each operation ---- */

typedef int call(void *zmq, int option, void *data, size_t *size);

static int do_bind(void *zmq, int option, void *data, size_t *size)
{
    (void)option;
    if (strncmp(data, "inproc://", 9) && strncmp(data, "ipc://", 6)) {
        errno = gzh_probe_limits(2, 0); /* getifaddrs needs one, and libzmq aborts if it has none */
        if (errno)
            return -1;
    }
    int rc = zmq_bind(zmq, data);
    if (rc == 0) /* now, while no other bind of this socket can come in between */
        zmq_getsockopt(zmq, ZMQ_LAST_ENDPOINT, data, size);
    return rc;
}

static int do_unbind(void *zmq, int option, void *data, size_t *size)
{
    (void)option, (void)size;
    return zmq_unbind(zmq, data);
}

static int do_connect(void *zmq, int option, void *data, size_t *size)
{
    (void)option, (void)size;
    return zmq_connect(zmq, data);
}

static int do_disconnect(void *zmq, int option, void *data, size_t *size)
{
    (void)option, (void)size;
    return zmq_disconnect(zmq, data);
}

static int do_set(void *zmq, int option, void *data, size_t *size)
{
    return zmq_setsockopt(zmq, option, data, *size);
}

static int do_get(void *zmq, int option, void *data, size_t *size)
{
    return zmq_getsockopt(zmq, option, data, size);
}

static int do_monitor(void *zmq, int option, void *data, size_t *size)
{
    (void)size;
    return zmq_socket_monitor(zmq, data, option);
}

#ifdef ZMQ_BUILD_DRAFT_API

static int do_join(void *zmq, int option, void *data, size_t *size)
{
    (void)option, (void)size;
    return zmq_join(zmq, data);
}

static int do_leave(void *zmq, int option, void *data, size_t *size)
{
    (void)option, (void)size;
    return zmq_leave(zmq, data);
}

#else

static int do_join(void *zmq, int option, void *data, size_t *size)
{
    (void)zmq, (void)option, (void)data, (void)size;
    errno = ENOTSUP;
    return -1;
}

#define do_leave do_join

#endif

static bool always(const void *data)
{
    (void)data;
    return true;
}

static bool never(const void *data)
{
    (void)data;
    return false;
}

/* tcp leaves names to the I/O thread; ipc and inproc have none. */
static bool unless_local_or_tcp(const void *data)
{
    return strncmp(data, "tcp://", 6) && strncmp(data, "ipc://", 6) && strncmp(data, "inproc://", 9);
}

static const struct {
    call *make;
    bool (*blocks)(const void *data);
} table[GZH_OPERATIONS] = {
    [GZH_BIND] = {do_bind, always},
    [GZH_UNBIND] = {do_unbind, always},
    [GZH_CONNECT] = {do_connect, unless_local_or_tcp},
    [GZH_DISCONNECT] = {do_disconnect, always},
    [GZH_SET] = {do_set, never},
    [GZH_GET] = {do_get, never},
    [GZH_MONITOR] = {do_monitor, never}, /* on a socket without a monitor; else: ask.c */
    [GZH_JOIN] = {do_join, never},
    [GZH_LEAVE] = {do_leave, never},
};

bool gzh_blocks(int operation, const void *data)
{
    return table[operation].blocks(data);
}

int gzh_make(int operation, void *zmq, int option, void *data, size_t *size)
{
    int rc;
    while ((rc = table[operation].make(zmq, option, data, size)) == -1 && errno == EINTR)
        ;
    return result(rc);
}

/* ---- contexts ---- */

struct gzh_context {
    pthread_mutex_t mutex;
    void *zmq;
    unsigned generation;
    bool shadow;
    bool probed; /* libzmq has started its threads, or could */
    int users;
    int holders; /* Python, a term under way */
    enum { OPEN, ENDING, ENDED } state;
    gzh_request *waiters;
    const gzh_request *ender; /* whose companion makes the term */
};

static int wrap(void *zmq, bool shadow, gzh_context **out)
{
    gzh_context *c = zmq ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return zmq ? -ENOMEM : -errno;
    GZH_MUST(pthread_mutex_init(&c->mutex, NULL));
    gzh_companion_heed_forks();
    c->zmq = zmq;
    c->shadow = c->probed = shadow;
    c->generation = gzh_generation;
    c->holders = 1;
    *out = c;
    return 0;
}

int gzh_context_new(int io_threads, gzh_context **out)
{
    void *zmq = zmq_ctx_new();
    if (!zmq)
        return -errno;
    int rc = result(zmq_ctx_set(zmq, ZMQ_IO_THREADS, io_threads));
    if (rc == 0)
        rc = wrap(zmq, false, out);
    if (rc < 0)
        zmq_ctx_term(zmq); /* has no socket and no thread yet: does not block */
    return rc;
}

int gzh_context_shadow(void *zmq, gzh_context **out)
{
    return wrap(zmq, true, out);
}

void *gzh_context_underlying(const gzh_context *c)
{
    return c->zmq;
}

bool gzh_context_ended(gzh_context *c)
{
    if (c->generation != gzh_generation)
        return true;
    gzh_lock(&c->mutex);
    bool ended = c->state != OPEN;
    gzh_unlock(&c->mutex);
    return ended;
}

/* Between these two the term does not begin. */
static int begin_use(gzh_context *c)
{
    if (c->generation != gzh_generation)
        return GZH_FORKED;
    gzh_lock(&c->mutex);
    int rc = c->state == OPEN ? 0 : -ETERM;
    if (rc == 0)
        c->users++;
    gzh_unlock(&c->mutex);
    return rc;
}

static void end_use(gzh_context *c)
{
    gzh_lock(&c->mutex);
    c->users--;
    gzh_unlock(&c->mutex);
}

int gzh_context_get(gzh_context *c, int option)
{
    int rc = begin_use(c);
    if (rc == 0) {
        rc = result(zmq_ctx_get(c->zmq, option));
        end_use(c);
    }
    return rc;
}

int gzh_context_set(gzh_context *c, int option, int value)
{
    int rc = begin_use(c);
    if (rc == 0) {
        rc = result(zmq_ctx_set(c->zmq, option, value));
        end_use(c);
    }
    return rc;
}

/* The first socket starts the reaper and the I/O threads, each with a poller and a mailbox. */
static int probe(gzh_context *c)
{
    int threads = zmq_ctx_get(c->zmq, ZMQ_IO_THREADS) + 1;
    int error = gzh_probe_limits(2 * threads + 2, threads);
    gzh_lock(&c->mutex);
    c->probed = error == 0;
    gzh_unlock(&c->mutex);
    return error == EAGAIN ? GZH_NO_THREAD : -error;
}

int gzh_socket_open(gzh_context *c, int type, gzh_socket **out)
{
    int rc = begin_use(c);
    if (rc < 0)
        return rc;
    gzh_lock(&c->mutex);
    bool probed = c->probed;
    gzh_unlock(&c->mutex);
    if (!probed)
        rc = probe(c);
    if (rc == 0) {
        void *zmq = zmq_socket(c->zmq, type);
        rc = zmq ? gzh_socket_wrap(zmq, false, out) : -errno;
        if (zmq && rc < 0)
            zmq_close(zmq);
    }
    end_use(c);
    return rc;
}

static bool let_go(gzh_context *c)
{
    return --c->holders == 0;
}

static void context_free(gzh_context *c)
{
    GZH_MUST(pthread_mutex_destroy(&c->mutex));
    free(c);
}

/* A companion's thread, which no signal reaches; state is ENDING. */
static void end_context(gzh_context *c)
{
    for (bool used = true; used;) {
        gzh_lock(&c->mutex);
        used = c->users > 0;
        gzh_unlock(&c->mutex);
        if (used)
            sched_yield();
    }
    if (!c->shadow)
        while (zmq_ctx_term(c->zmq) == -1 && errno == EINTR)
            ;
    gzh_lock(&c->mutex);
    c->state = ENDED;
    while (c->waiters) {
        gzh_request *r = c->waiters;
        c->waiters = r->next;
        gzh_grant(r, 0);
    }
    c->ender = NULL;
    bool last = let_go(c);
    gzh_unlock(&c->mutex);
    if (last)
        context_free(c);
}

static void run_end(gzh_request *r)
{
    end_context(r->subject);
}

/* The greenlet waits no longer; the term goes on, on whichever companion began it. */
static int leave(gzh_request *r)
{
    gzh_context *c = r->subject;
    gzh_lock(&c->mutex);
    bool inside = gzh_request_remove(&c->waiters, r) && c->ender == r;
    atomic_store(&r->state, GZH_IDLE);
    bool last = let_go(c);
    gzh_unlock(&c->mutex);
    if (last)
        context_free(c);
    return inside ? GZH_ABANDONED : 0;
}

int gzh_context_term(gzh_context *c, gzh_companion *companion)
{
    if (c->generation != gzh_generation)
        return 0; /* the parent ends it */
    gzh_lock(&c->mutex);
    bool ended = c->state == ENDED, begins = c->state == OPEN;
    gzh_unlock(&c->mutex);
    if (ended || !companion)
        return ended ? 0 : GZH_WAIT;
    gzh_request *r = gzh_companion_free_request(companion);
    if (!r || companion == gzh_watch_companion())
        return GZH_BUSY;
    int rc = begins ? gzh_companion_ready(companion) : 0; /* to join one needs no thread */
    if (rc < 0)
        return rc;
    gzh_lock(&c->mutex);
    rc = c->state == ENDED ? 0 : GZH_WAIT;
    if (rc == GZH_WAIT) {
        r->subject = c;
        r->cancel = leave;
        r->run = run_end;
        atomic_store(&r->state, GZH_QUEUED);
        r->next = c->waiters;
        c->waiters = r;
        c->holders++;
        if (c->state == OPEN) {
            c->state = ENDING;
            c->holders++;
            c->ender = r;
            gzh_companion_run(companion);
        }
    }
    gzh_unlock(&c->mutex);
    return rc;
}

int gzh_context_end_term(gzh_companion *companion)
{
    gzh_companion_drain(companion);
    gzh_request *r = gzh_companion_request(companion);
    if (gzh_companion_is_strange(companion))
        return GZH_FORKED;
    if (atomic_load(&r->state) != GZH_GRANTED)
        return GZH_WAIT;
    leave(r);
    return 0;
}

int gzh_context_shutdown(gzh_context *c)
{
    int rc = begin_use(c);
    if (rc == 0) {
        rc = result(zmq_ctx_shutdown(c->zmq));
        end_use(c);
    }
    return rc;
}

/* End it with nobody waiting, on a companion that has no greenlet. */
static int end_in_background(gzh_context *c)
{
    gzh_companion *ender;
    int rc = gzh_companion_open(&ender);
    if (rc < 0)
        return rc;
    rc = gzh_companion_ready(ender);
    if (rc == 0) {
        gzh_request *r = gzh_companion_request(ender);
        r->subject = c;
        r->run = run_end;
        gzh_companion_run(ender);
    }
    gzh_companion_close(ender); /* parks itself when it gets out */
    return rc;
}

void gzh_context_drop(gzh_context *c)
{
    if (c->generation != gzh_generation)
        return;
    bool last = false;
    gzh_lock(&c->mutex);
    bool end = c->state == OPEN && !c->shadow;
    if (end)
        c->state = ENDING; /* the hold is the term's from now on */
    else
        last = let_go(c);
    gzh_unlock(&c->mutex);
    if (end && end_in_background(c) < 0) {
        /* No thread to be had, and nobody to tell: what libzmq has of it stays until the end. */
        gzh_lock(&c->mutex);
        last = let_go(c);
        gzh_unlock(&c->mutex);
    }
    if (last)
        context_free(c);
}

/* ---- plain libzmq ---- */

int gzh_has(const char *capability)
{
    return zmq_has(capability);
}

void gzh_version(int *version)
{
    zmq_version(&version[0], &version[1], &version[2]);
}

int gzh_curve_keypair(char *public_key, char *secret_key)
{
    return result(zmq_curve_keypair(public_key, secret_key));
}

int gzh_curve_public(char *public_key, const char *secret_key)
{
    return result(zmq_curve_public(public_key, secret_key));
}
