/* DESIGN
 *
 * Two levels of exclusion.  The queue mutex guards the fields marked Q and is held for a few
 * instructions; ownership (`owned`, itself marked Q) is the right to be inside libzmq with this
 * socket, and may be held for seconds.  libzmq lets a socket move between threads if a full fence
 * lies between them: ownership changes hands under the mutex, which is one.
 *
 *   field                        who may touch it
 *   --------------------------   ---------------------------------------------------------------
 *   zmq, rest, key, told_all     the owner
 *   queues, ready list, counts,
 *   owned, again, closing        Q
 *   type, fd, generation         constant
 *   timeout, relaxed             written by an owner, read by anyone: atomic
 *
 * Whoever becomes owner ends with release(), which serves all that wait before it gives ownership
 * up.  Any call into libzmq may consume the one signal that others wait for, so the rule is: the
 * last call before ownership goes has shown that nobody who waits can be served.  A signal after
 * that call is a new one, and the watch will tell.  If the watch finds an owner it leaves `again`,
 * which release() heeds.
 *
 * Receiving keeps order.  Serving appends to the ready list and grants the first receiver one
 * message; the greenlet takes the head when it runs.  Always granted <= ready, and granted < ready
 * only while nobody is queued; so a receiver that leaves takes nothing with it. */
#include "socket.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "watch.h"

/* At-once receives by one greenlet while others wait or were granted and have not run. */
#define A_FEW 8
/* How often a call looks for another owner to leave before it queues: some microseconds. */
#define SPINS 30
/* After so many refusals of a send that libzmq said was possible, believe the refusal. */
#define REFUSALS 8

/* What put() says when libzmq has taken some parts of a message and will take the others. */
#define PARTIAL (-1)

enum { RECEIVE, SEND, POLL, CALL };

typedef struct { gzh_request *head, *tail; } queue;

struct gzh_socket {
    pthread_mutex_t mutex;
    void *zmq;
    int type, fd;
    unsigned generation;
    bool shadow;
    atomic_int holders; /* Python, each request, each event on its way */
    atomic_int timeout[2];
    atomic_bool relaxed;

    gzh_message *rest; /* of a message that libzmq has begun to take, and must be given */
    uint64_t key;
    bool told_all;

    bool owned, again, closing, set_linger;
    int linger;
    queue receivers, senders, pollers, calls;
    gzh_message *ready_head, *ready_tail;
    int ready, granted, taken;
};

static void hold(void *subject);
static void on_signal(void *subject);
static const gzh_watch_hooks hooks = {hold, on_signal};

/* A slice that is long against the coarse clock's tick is measured by that: a seventh of the cost
 * of the exact one, which was a twentieth of a receive. */
static _Thread_local uint64_t slice_end;
static _Thread_local bool slice_is_short;

static uint64_t slice_clock(void)
{
    return slice_is_short ? gzh_now_ns() : gzh_now_coarse_ns();
}

void gzh_slice(uint64_t nanoseconds)
{
    slice_is_short = nanoseconds < 5000000;
    slice_end = slice_clock() + nanoseconds;
}

/* ---- queues, the ready list ----------------------------------------------------------------- */

static void lock(gzh_socket *s)
{
    GZH_MUST(pthread_mutex_lock(&s->mutex));
}

static void unlock(gzh_socket *s)
{
    GZH_MUST(pthread_mutex_unlock(&s->mutex));
}

static void append(queue *q, gzh_request *r)
{
    r->next = NULL;
    r->prev = q->tail;
    if (q->tail)
        q->tail->next = r;
    else
        q->head = r;
    q->tail = r;
}

static void unlink_request(queue *q, gzh_request *r)
{
    if (r->prev)
        r->prev->next = r->next;
    else
        q->head = r->next;
    if (r->next)
        r->next->prev = r->prev;
    else
        q->tail = r->prev;
}

static void append_ready(gzh_socket *s, gzh_message *m)
{
    m->next = NULL;
    if (s->ready_tail)
        s->ready_tail->next = m;
    else
        s->ready_head = m;
    s->ready_tail = m;
    s->ready++;
}

static gzh_message *take_ready(gzh_socket *s)
{
    gzh_message *m = s->ready_head;
    s->ready_head = m->next;
    if (!s->ready_head)
        s->ready_tail = NULL;
    s->ready--;
    return m;
}

static bool anybody_waits(const gzh_socket *s)
{
    return s->receivers.head || s->senders.head || s->pollers.head;
}

static bool is_lock_step(const gzh_socket *s)
{
    return s->type == ZMQ_REQ || s->type == ZMQ_REP;
}

/* Does POLLOUT mean that a send will be taken?  Where not, a refusal is all there is to know. */
static bool pollout_is_a_promise(const gzh_socket *s)
{
    return s->type == ZMQ_DEALER || s->type == ZMQ_PUSH || s->type == ZMQ_REQ ||
           s->type == ZMQ_PAIR;
}

/* ---- grant ----------------------------------------------------------------------------------- */

/* Mutex held; r is out of its queue.  The last touch: its greenlet takes the mutex before it
 * lets the request go. */
static void grant(gzh_request *r, int result)
{
    r->result = result;
    atomic_store(&r->state, GZH_GRANTED);
    gzh_companion_tell(r->companion);
}

/* Mutex held: give waiting receivers what lies in the ready list for nobody. */
static void grant_ready(gzh_socket *s)
{
    while (s->receivers.head && s->ready > s->granted) {
        gzh_request *r = s->receivers.head;
        unlink_request(&s->receivers, r);
        s->granted++;
        grant(r, 0);
    }
}

static void fail_queue(queue *q, int result)
{
    gzh_request *next;
    for (gzh_request *r = q->head; r; r = next) {
        next = r->next;
        if (atomic_load(&r->state) != GZH_QUEUED)
            continue; /* being served: its server sees what happened and says so */
        unlink_request(q, r);
        grant(r, result);
    }
}

static void fail_all(gzh_socket *s, int result)
{
    fail_queue(&s->receivers, result);
    fail_queue(&s->senders, result);
    fail_queue(&s->pollers, result);
}

/* ---- libzmq, for the owner; the mutex is not held --------------------------------------------- */

/* A whole message into an empty `m`; 0 or an errno. */
static int get(gzh_socket *s, gzh_message *m)
{
    zmq_msg_t *part;
    do {
        part = gzh_message_place(m);
        if (!part) {
            gzh_message_clear(m);
            return ENOMEM;
        }
        zmq_msg_init(part);
        int rc;
        while ((rc = zmq_msg_recv(part, s->zmq, ZMQ_DONTWAIT)) == -1 && errno == EINTR)
            ;
        if (rc == -1) {
            int error = errno;
            gzh_message_clear(m);
            return error;
        }
    } while (zmq_msg_more(part));
    return 0;
}

static int send_part(gzh_socket *s, zmq_msg_t *part, bool more)
{
    int rc;
    while ((rc = zmq_msg_send(part, s->zmq, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0))) == -1 &&
           errno == EINTR)
        ;
    return rc == -1 ? errno : 0;
}

/* The parts before `index` went, this one was refused: what becomes of the message? */
static int refused_midway(gzh_socket *s, gzh_message *m, int index)
{
    if (s->type == ZMQ_XPUB || s->type == ZMQ_PUB) {
        /* The subscribers' pipes hold the beginning; nothing else may be sent before the end. */
        for (int i = m->first; i < index; i++)
            zmq_msg_close(&m->part[i]);
        m->first = index;
        return PARTIAL;
    }
    /* The peer went away and took the beginning with it; libzmq drops what follows up to the end
     * of this message.  Let it, then begin again with part one. */
    if (s->type != ZMQ_PAIR)
        for (int i = index + 1; i < m->count; i++) {
            zmq_msg_t nothing;
            zmq_msg_init(&nothing);
            send_part(s, &nothing, i + 1 < m->count);
            zmq_msg_close(&nothing);
        }
    /* A REQ counts it as sent: the same as if the peer had gone a moment later. */
    return s->type == ZMQ_REQ ? 0 : EAGAIN;
}

/* Send all of it: 0, and it is empty; an errno, and it is whole; or PARTIAL. */
static int put(gzh_socket *s, gzh_message *m)
{
    int error = 0;
    bool begun = m->first > 0;
    if (!begun && m->count == 1)
        error = send_part(s, &m->part[0], false);
    else
        for (int i = m->first; i < m->count && !error; i++) {
            zmq_msg_t copy; /* shares the data; the part is kept, to begin again */
            zmq_msg_init(&copy);
            GZH_MUST(zmq_msg_copy(&copy, &m->part[i]) == 0 ? 0 : errno);
            error = send_part(s, &copy, i + 1 < m->count);
            zmq_msg_close(&copy);
            if (error == EAGAIN && (begun || i > m->first))
                error = refused_midway(s, m, i);
        }
    if (!error)
        gzh_message_clear(m);
    return error;
}

/* First what was begun, then this. */
static int put_next(gzh_socket *s, gzh_message *m)
{
    if (s->rest) {
        int error = put(s, s->rest);
        if (error)
            return error == PARTIAL ? EAGAIN : error;
        gzh_message_free(s->rest);
        s->rest = NULL;
    }
    int error = put(s, m);
    if (error == PARTIAL) {
        s->rest = gzh_message_keep(m); /* its sender is done: it will arrive, whole */
        if (!s->rest)
            gzh_panic(__FILE__, __LINE__, "the rest of a message", ENOMEM);
        error = 0;
    }
    return error;
}

/* Makes libzmq look at all its news.  The events, or -errno. */
static int events_of(gzh_socket *s)
{
    int events, rc;
    size_t size = sizeof events;
    while ((rc = zmq_getsockopt(s->zmq, ZMQ_EVENTS, &events, &size)) == -1 && errno == EINTR)
        ;
    return rc == -1 ? -errno : events;
}

/* As a user sees them.  Mutex held. */
static int visible(const gzh_socket *s, int events)
{
    if (s->ready > s->granted)
        events |= ZMQ_POLLIN;
    if (s->ready > 0 && is_lock_step(s) && !atomic_load(&s->relaxed))
        events &= ~ZMQ_POLLOUT;
    return events;
}

/* ---- serve: owner, mutex held on entry and on exit, let go around libzmq ------------------------ */

/* Until nothing is to be had or nobody asks.  False: it was libzmq that had nothing more. */
static bool serve_receivers(gzh_socket *s)
{
    while (s->receivers.head && !s->closing) {
        gzh_message m, *kept = NULL;
        gzh_message_init(&m);
        unlock(s);
        int error = get(s, &m);
        if (!error) {
            kept = gzh_message_keep(&m);
            if (!kept)
                gzh_panic(__FILE__, __LINE__, "a received message", ENOMEM);
        }
        GZH_PAUSE("serve: received, not granted");
        lock(s);
        if (!error) {
            append_ready(s, kept);
            grant_ready(s);
        } else if (error == EAGAIN)
            return false;
        else if (s->receivers.head) { /* EFSM is this caller's error; ETERM comes to each in turn */
            gzh_request *r = s->receivers.head;
            unlink_request(&s->receivers, r);
            grant(r, -error);
        }
    }
    return true;
}

static bool serve_senders(gzh_socket *s)
{
    while (s->senders.head && !s->closing) {
        gzh_request *r = s->senders.head;
        atomic_store(&r->state, GZH_SERVING);
        unlock(s);
        GZH_PAUSE("serve: sending");
        int error = put_next(s, r->data);
        lock(s);
        if (error == EAGAIN && !s->closing) {
            atomic_store(&r->state, GZH_QUEUED);
            return false;
        }
        unlink_request(&s->senders, r);
        grant(r, error == EAGAIN ? -ENOTSOCK : -error);
    }
    return true;
}

static void serve_pollers(gzh_socket *s, int events)
{
    gzh_request *next;
    events = visible(s, events);
    for (gzh_request *r = s->pollers.head; r; r = next) {
        next = r->next;
        if (events & r->mask) {
            unlink_request(&s->pollers, r);
            grant(r, events & r->mask);
        }
    }
}

/* `dry`: the last call was a receive, and there was nothing. */
static void serve(gzh_socket *s, bool dry)
{
    int refusals = 0;
    dry = dry && !s->again; /* or there was news since */
    while (anybody_waits(s) && !s->closing) {
        s->again = false;
        if (!s->senders.head && !s->pollers.head) {
            if (!dry)
                serve_receivers(s);
        } else {
            unlock(s);
            int events = events_of(s);
            lock(s);
            if (events < 0) {
                fail_all(s, events);
                continue;
            }
            serve_pollers(s, events);
            bool moved = false;
            if (s->receivers.head && events & ZMQ_POLLIN) {
                serve_receivers(s);
                moved = true;
            }
            if (s->senders.head && events & ZMQ_POLLOUT && refusals < REFUSALS) {
                if (!serve_senders(s))
                    refusals += pollout_is_a_promise(s) ? 1 : REFUSALS;
                moved = true;
            }
            if (moved)
                continue;
        }
        dry = false;
        if (s->again)
            continue;
        if (!s->key && anybody_waits(s)) {
            unlock(s);
            int rc = gzh_watch_add(s->fd, s, &hooks, &s->key);
            lock(s);
            if (rc < 0)
                fail_all(s, rc);
            continue;
        }
        break;
    }
}

/* ---- ownership: mutex held on entry and on exit -------------------------------------------------- */

static void finish_close(gzh_socket *s)
{
    void *zmq = s->zmq;
    gzh_message *rest = s->rest;
    uint64_t key = s->key;
    fail_all(s, -ENOTSOCK);
    s->zmq = NULL;
    s->rest = NULL;
    s->key = 0;
    unlock(s);
    if (key)
        gzh_watch_remove(key, s->fd);
    gzh_message_free(rest);
    if (!s->shadow) {
        if (s->set_linger)
            zmq_setsockopt(zmq, ZMQ_LINGER, &s->linger, sizeof s->linger);
        zmq_close(zmq);
    }
    lock(s);
    s->owned = false;
}

/* Give ownership up: to a close, to a companion with a blocking call, or, when all that wait have
 * been served as far as they can be, to nobody. */
static void release(gzh_socket *s, bool dry)
{
    while (!s->closing) {
        gzh_request *call = s->calls.head;
        if (call) {
            unlink_request(&s->calls, call);
            atomic_store(&call->state, GZH_SERVING);
            gzh_companion_run(call->companion);
            return;
        }
        serve(s, dry);
        dry = false;
        if (s->closing || s->calls.head)
            continue;
        if (s->key && (anybody_waits(s) || s->told_all))
            gzh_watch_arm(s->key, s->fd, s->senders.head && !pollout_is_a_promise(s),
                          &s->told_all);
        s->owned = s->again = false;
        return;
    }
    finish_close(s);
}

/* 0: the caller is owner now.  -ENOTSOCK: closed.  GZH_WAIT: another is owner, and stays it.  In
 * every case the mutex is held. */
static int claim(gzh_socket *s)
{
    for (int spin = 0;; spin++) {
        lock(s);
        if (s->closing)
            return -ENOTSOCK;
        if (!s->owned) {
            s->owned = true;
            return 0;
        }
        if (spin == SPINS)
            return GZH_WAIT;
        unlock(s);
        for (int i = 0; i < 16; i++)
            gzh_relax();
    }
}

/* ---- requests ---------------------------------------------------------------------------------------- */

static void hold(void *subject)
{
    gzh_socket *s = subject;
    atomic_fetch_add(&s->holders, 1);
}

static void drop(gzh_socket *s)
{
    if (atomic_fetch_sub(&s->holders, 1) > 1)
        return;
    while (s->ready_head)
        gzh_message_free(take_ready(s));
    GZH_MUST(pthread_mutex_destroy(&s->mutex));
    free(s);
}

static void on_signal(void *subject)
{
    gzh_socket *s = subject;
    lock(s);
    if (s->owned)
        s->again = true;
    else if (!s->closing && anybody_waits(s)) {
        s->owned = true;
        release(s, false);
    }
    unlock(s);
    drop(s);
}

static queue *queue_of(gzh_socket *s, int kind)
{
    return kind == RECEIVE ? &s->receivers
           : kind == SEND  ? &s->senders
           : kind == POLL  ? &s->pollers
                           : &s->calls;
}

static void free_data(gzh_request *r)
{
    if (r->kind == SEND)
        gzh_message_free(r->data);
    else
        free(r->data);
    r->data = NULL;
}

/* Mutex held.  A server that is sending this one's message right now is out in microseconds. */
static int settled_state(gzh_socket *s, gzh_request *r)
{
    int state;
    while ((state = atomic_load(&r->state)) == GZH_SERVING && r->kind == SEND) {
        unlock(s);
        sched_yield();
        lock(s);
    }
    return state;
}

/* Mutex held: a receiver that had been granted a message goes without it. */
static void pass_on(gzh_socket *s)
{
    s->granted--;
    grant_ready(s);
    if (s->ready > s->granted)
        serve_pollers(s, 0);
}

static int cancel(gzh_request *r)
{
    gzh_socket *s = r->subject;
    int rc = 0;
    lock(s);
    switch (settled_state(s, r)) {
    case GZH_QUEUED:
        unlink_request(queue_of(s, r->kind), r);
        break;
    case GZH_SERVING: /* a blocking call: its companion brings it to its end */
        r->abandoned = true;
        rc = GZH_ABANDONED;
        break;
    case GZH_GRANTED:
        if (r->kind == RECEIVE && r->result >= 0)
            pass_on(s);
        break;
    }
    if (rc == 0) {
        free_data(r);
        atomic_store(&r->state, GZH_IDLE);
    }
    unlock(s);
    if (rc == 0)
        drop(s);
    return rc;
}

/* The request of this companion, free to be filled in; NULL: it is in use, or on watch and wanted
 * for a call. */
static gzh_request *new_request(gzh_socket *s, gzh_companion *companion, int kind)
{
    gzh_request *r = gzh_companion_free_request(companion);
    if (!r || (kind == CALL && companion == gzh_watch_companion()))
        return NULL;
    r->subject = s;
    r->kind = kind;
    r->cancel = cancel;
    r->abandoned = false;
    r->data = NULL;
    return r;
}

/* Mutex held. */
static int enqueue(gzh_socket *s, gzh_request *r)
{
    hold(s);
    atomic_store(&r->state, GZH_QUEUED);
    append(queue_of(s, r->kind), r);
    if (r->kind == RECEIVE)
        grant_ready(s);
    return GZH_WAIT;
}

/* Mutex held, and another is owner: what becomes of this call?  Queued, it is for the owner to see. */
static int found_owner(gzh_socket *s, gzh_request *r, bool nonblock)
{
    if (nonblock)
        return -EAGAIN;
    if (!r)
        return GZH_WAIT;
    s->again = true;
    return enqueue(s, r);
}

/* ---- what Python calls ---------------------------------------------------------------------------------- */

int gzh_socket_wrap(void *zmq, bool shadow, gzh_socket **out)
{
    gzh_socket *s = calloc(1, sizeof *s);
    size_t size = sizeof(int);
    if (!s)
        return -ENOMEM;
    if (zmq_getsockopt(zmq, ZMQ_TYPE, &s->type, &size) == -1 ||
        (size = sizeof s->fd, zmq_getsockopt(zmq, ZMQ_FD, &s->fd, &size) == -1)) {
        int error = errno; /* EINVAL: one of the thread-safe draft types, which have no ZMQ_FD */
        free(s);
        return error == EINVAL ? -ENOTSUP : -error;
    }
    GZH_MUST(pthread_mutex_init(&s->mutex, NULL));
    s->zmq = zmq;
    s->shadow = shadow;
    s->generation = gzh_generation;
    atomic_init(&s->holders, 1);
    const int options[2] = {ZMQ_RCVTIMEO, ZMQ_SNDTIMEO};
    for (int i = 0; i < 2; i++) {
        int timeout = -1;
        size = sizeof timeout;
        zmq_getsockopt(zmq, options[i], &timeout, &size);
        atomic_init(&s->timeout[i], timeout);
    }
    *out = s;
    return 0;
}

void *gzh_socket_underlying(const gzh_socket *s)
{
    return s->zmq;
}

int gzh_socket_timeout(const gzh_socket *s, int direction)
{
    return atomic_load_explicit(&s->timeout[direction], memory_order_relaxed);
}

/* What every call begins with: 0, or the code to return. */
static int enter(const gzh_socket *s, const gzh_companion *companion, bool nonblock)
{
    if (s->generation != gzh_generation)
        return GZH_FORKED;
    if (!companion && !nonblock && slice_clock() > slice_end)
        return GZH_YIELD;
    return 0;
}

static bool may_not_wait(const gzh_socket *s, int flags, int direction)
{
    return flags & ZMQ_DONTWAIT || gzh_socket_timeout(s, direction) == 0;
}

/* Empties m, which is on the stack or, if `heap`, gone afterwards. */
static int deliver(gzh_message *m, bool heap, gzh_slot *slot, int flags)
{
    size_t total = 0;
    for (int i = 0; i < m->count; i++)
        total += zmq_msg_size(&m->part[i]);
    if (flags & GZH_KEEP || total > GZH_SLOT_BYTES || m->count > GZH_SLOT_PARTS) {
        slot->whole = heap ? m : gzh_message_keep(m);
        if (!slot->whole)
            gzh_panic(__FILE__, __LINE__, "a received message", ENOMEM);
        return GZH_WHOLE;
    }
    char *to = slot->data;
    for (int i = 0; i < m->count; i++) {
        size_t size = zmq_msg_size(&m->part[i]);
        memcpy(to, zmq_msg_data(&m->part[i]), size);
        slot->size[i] = (int)size;
        to += size;
    }
    int rc = m->count == 1 ? (int)total : GZH_PARTS;
    slot->parts = m->count;
    if (heap)
        gzh_message_free(m);
    else
        gzh_message_clear(m);
    return rc;
}

/* Owner, mutex held, let go meanwhile.  Take a message at once, in its turn: 0 and it is in *kept
 * or, if that is NULL, in m; or an errno. */
static int take(gzh_socket *s, gzh_message *m, gzh_message **kept)
{
    *kept = NULL;
    if (s->ready > s->granted) {
        *kept = take_ready(s);
        return 0;
    }
    unlock(s);
    int error = get(s, m);
    GZH_PAUSE("take: received");
    lock(s);
    if (!error && s->ready > 0) {
        /* Those before it are granted and have not been taken: it goes to the end, we take the
         * head, and they take what follows, so that all is taken in order. */
        gzh_message *last = gzh_message_keep(m);
        if (!last)
            gzh_panic(__FILE__, __LINE__, "a received message", ENOMEM);
        append_ready(s, last);
        *kept = take_ready(s);
    } else if (error == EAGAIN && s->ready > s->granted) {
        *kept = take_ready(s); /* a receiver has left meanwhile */
        error = 0;
    }
    return error;
}

int gzh_recv(gzh_socket *s, gzh_companion *companion, gzh_slot *slot, int flags)
{
    gzh_message m, *kept = NULL;
    gzh_request *r = NULL;
    bool nonblock = !companion && may_not_wait(s, flags, 0);
    int rc = enter(s, companion, nonblock);
    if (rc)
        return rc;
    if (companion) {
        if (!(r = new_request(s, companion, RECEIVE)))
            return GZH_BUSY;
        if ((rc = gzh_watch_begin(companion)) < 0)
            return rc;
    }
    rc = claim(s);
    if (rc) {
        if (rc == GZH_WAIT)
            rc = found_owner(s, r, nonblock);
        unlock(s);
        return rc;
    }
    bool dry = false;
    if (nonblock && s->receivers.head)
        serve_receivers(s); /* they came first; what is left is ours */
    bool ahead = s->receivers.head || s->granted > 0;
    if (!ahead)
        s->taken = 0;
    if (s->receivers.head || (ahead && !nonblock && s->taken++ >= A_FEW)) {
        rc = nonblock ? -EAGAIN : r ? enqueue(s, r) : GZH_WAIT;
    } else {
        gzh_message_init(&m);
        rc = -take(s, &m, &kept);
        dry = rc == -EAGAIN;
        if (dry && !nonblock)
            rc = r ? enqueue(s, r) : GZH_WAIT;
    }
    release(s, dry);
    unlock(s);
    return rc ? rc : deliver(kept ? kept : &m, kept != NULL, slot, flags);
}

/* `r`, if there is one, is to be queued when it cannot be sent at once, and has the message. */
static int send_any(gzh_socket *s, gzh_request *r, gzh_message *m, bool nonblock)
{
    int rc = claim(s);
    if (rc) {
        if (rc == GZH_WAIT)
            rc = found_owner(s, r, nonblock);
        unlock(s);
        return rc;
    }
    if (s->ready > 0 && is_lock_step(s)) {
        if (!atomic_load(&s->relaxed))
            rc = -EFSM; /* a reply (or request) has arrived, and nobody has taken it yet */
        else
            while (s->ready > s->granted)
                gzh_message_free(take_ready(s));
    }
    if (rc == 0 && s->senders.head)
        rc = nonblock ? -EAGAIN : r ? enqueue(s, r) : GZH_WAIT;
    if (rc == 0) {
        unlock(s);
        int error = put_next(s, m);
        if (error == EAGAIN && nonblock && events_of(s) >= 0)
            error = put_next(s, m); /* libzmq looks for news only now and then when it sends */
        GZH_PAUSE("send: tried");
        lock(s);
        rc = error != EAGAIN || nonblock ? -error : r ? enqueue(s, r) : GZH_WAIT;
    }
    release(s, false);
    unlock(s);
    return rc;
}

int gzh_send(gzh_socket *s, const void *data, size_t size, int flags)
{
    bool nonblock = may_not_wait(s, flags, 1);
    int rc = enter(s, NULL, nonblock);
    if (rc)
        return rc;
    gzh_message m;
    gzh_message_init(&m);
    rc = gzh_message_add(&m, data, size);
    if (!rc)
        rc = send_any(s, NULL, &m, nonblock);
    gzh_message_clear(&m);
    return rc;
}

int gzh_send_parts(gzh_socket *s, const void *data, const size_t *sizes, int parts, int flags)
{
    bool nonblock = may_not_wait(s, flags, 1);
    int rc = enter(s, NULL, nonblock);
    if (rc)
        return rc;
    gzh_message m;
    const char *from = data;
    gzh_message_init(&m);
    for (int i = 0; i < parts && !rc; i++) {
        rc = gzh_message_add(&m, from, sizes[i]);
        from += sizes[i];
    }
    if (!rc)
        rc = send_any(s, NULL, &m, nonblock);
    gzh_message_clear(&m);
    return rc;
}

int gzh_send_message(gzh_socket *s, gzh_companion *companion, gzh_message *m, int flags)
{
    bool nonblock = !companion && may_not_wait(s, flags, 1);
    gzh_request *r = NULL;
    int rc = enter(s, companion, nonblock);
    if (rc)
        return rc;
    if (!companion)
        return send_any(s, NULL, m, nonblock);
    if (!(r = new_request(s, companion, SEND)))
        return GZH_BUSY;
    if ((rc = gzh_watch_begin(companion)) < 0)
        return rc;
    if (!(r->data = gzh_message_keep(m)))
        return -ENOMEM;
    rc = send_any(s, r, r->data, false);
    if (rc != GZH_WAIT)
        free_data(r);
    return rc;
}

int gzh_poll(gzh_socket *s, gzh_companion *companion, int mask, int flags)
{
    bool nonblock = !companion && flags & ZMQ_DONTWAIT;
    gzh_request *r = NULL;
    int rc = enter(s, companion, nonblock);
    if (rc)
        return rc;
    if (companion) {
        if (!(r = new_request(s, companion, POLL)))
            return GZH_BUSY;
        if ((rc = gzh_watch_begin(companion)) < 0)
            return rc;
        r->mask = mask;
    }
    rc = claim(s);
    if (rc) {
        if (rc == GZH_WAIT)
            rc = found_owner(s, r, nonblock);
        unlock(s);
        return rc == -EAGAIN ? 0 : rc;
    }
    if (r)
        rc = enqueue(s, r); /* to be served before ownership goes */
    else {
        unlock(s);
        rc = events_of(s);
        lock(s);
        if (rc >= 0)
            rc = visible(s, rc) & mask;
        if (rc == 0 && !nonblock)
            rc = GZH_WAIT;
    }
    release(s, false);
    unlock(s);
    return rc;
}

/* Owner, mutex not held. */
static int make(gzh_socket *s, int operation, int option, void *data, size_t *size)
{
    int rc = gzh_make(operation, s->zmq, option, data, size);
    if (rc == 0 && operation == GZH_SET && *size == sizeof(int)) {
        int value;
        memcpy(&value, data, sizeof value);
        if (option == ZMQ_RCVTIMEO)
            atomic_store(&s->timeout[0], value);
        else if (option == ZMQ_SNDTIMEO)
            atomic_store(&s->timeout[1], value);
        else if (option == ZMQ_REQ_RELAXED)
            atomic_store(&s->relaxed, value != 0);
    } else if (rc == 0 && operation == GZH_GET && option == ZMQ_EVENTS) {
        int events;
        memcpy(&events, data, sizeof events);
        lock(s);
        events = visible(s, events);
        unlock(s);
        memcpy(data, &events, sizeof events);
    }
    return rc;
}

/* On the companion's thread, which is the owner. */
static void run_call(gzh_request *r)
{
    gzh_socket *s = r->subject;
    hold(s);
    int rc = make(s, r->mask, r->option, r->data, &r->size);
    GZH_PAUSE("call: made, not granted");
    lock(s);
    bool abandoned = r->abandoned;
    if (abandoned) {
        free_data(r);
        atomic_store(&r->state, GZH_IDLE);
    } else
        grant(r, rc);
    release(s, false);
    unlock(s);
    if (abandoned)
        drop(s);
    drop(s);
}

int gzh_call(gzh_socket *s, gzh_companion *companion, int operation, int option, void *data,
             size_t *size)
{
    int rc = enter(s, companion, true);
    if (rc)
        return rc;
    if (!companion) {
        if (gzh_blocks(operation, data))
            return GZH_WAIT;
        rc = claim(s);
        if (rc == 0) {
            unlock(s);
            rc = make(s, operation, option, data, size);
            lock(s);
            release(s, false);
        }
        unlock(s);
        return rc;
    }
    gzh_request *r = new_request(s, companion, CALL);
    if (!r)
        return GZH_BUSY;
    if ((rc = gzh_companion_ready(companion)) < 0)
        return rc;
    if (data) {
        r->data = malloc(*size ? *size : 1);
        if (!r->data)
            return -ENOMEM;
        memcpy(r->data, data, *size);
    }
    r->size = *size;
    r->mask = operation;
    r->option = option;
    r->run = run_call;
    rc = claim(s);
    if (rc == -ENOTSOCK)
        free_data(r);
    else {
        bool owner = rc == 0;
        rc = enqueue(s, r);
        if (owner)
            release(s, false); /* to the companion, or to one that asked before */
    }
    unlock(s);
    return rc;
}

/* Take the byte, then look: a grant in between leaves a byte too many, which wakes somebody once
 * for nothing; looking first would lose one. */
static gzh_request *look(gzh_companion *companion)
{
    gzh_companion_drain(companion);
    return gzh_companion_request(companion);
}

int gzh_end(gzh_companion *companion, gzh_slot *slot, int flags, bool give_up)
{
    if (gzh_companion_is_strange(companion))
        return GZH_FORKED;
    gzh_request *r = look(companion);
    gzh_socket *s = r->subject;
    gzh_message *m = NULL;
    lock(s);
    int rc, state = give_up ? settled_state(s, r) : atomic_load(&r->state);
    if (state == GZH_GRANTED) {
        rc = r->result;
        if (r->kind == RECEIVE && rc >= 0) {
            s->granted--;
            s->taken = 0;
            m = take_ready(s);
        }
    } else if (give_up && state == GZH_QUEUED) {
        unlink_request(queue_of(s, r->kind), r);
        rc = -EAGAIN;
    } else {
        unlock(s);
        return GZH_WAIT;
    }
    free_data(r);
    atomic_store(&r->state, GZH_IDLE);
    unlock(s);
    drop(s);
    return m ? deliver(m, true, slot, flags) : rc;
}

int gzh_end_call(gzh_companion *companion, void *data, size_t *size)
{
    if (gzh_companion_is_strange(companion))
        return GZH_FORKED;
    gzh_request *r = look(companion);
    if (atomic_load(&r->state) == GZH_GRANTED && r->mask == GZH_GET && r->data && data) {
        *size = r->size;
        memcpy(data, r->data, r->size);
    }
    return gzh_end(companion, NULL, 0, false);
}

/* ---- the end --------------------------------------------------------------------------------------------- */

void gzh_socket_close(gzh_socket *s, const int *linger)
{
    if (s->generation != gzh_generation)
        return; /* the parent's: libzmq's threads, and this socket's peer in them, are there */
    lock(s);
    if (!s->closing) {
        s->closing = true;
        if (linger) {
            s->set_linger = true;
            s->linger = *linger;
        }
        fail_all(s, -ENOTSOCK);
        fail_queue(&s->calls, -ENOTSOCK);
        if (!s->owned) {
            s->owned = true;
            finish_close(s);
        }
    }
    unlock(s);
}

void gzh_socket_drop(gzh_socket *s)
{
    if (s->generation != gzh_generation)
        return;
    gzh_socket_close(s, NULL);
    drop(s);
}
