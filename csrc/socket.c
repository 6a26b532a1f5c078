/* DESIGN
 *
 * inside.h says which field is whose.  Whoever becomes owner ends with gzh_release(), which serves
 * all that wait before it gives ownership up.  Any call into libzmq may consume the one signal that
 * others wait for, so the rule is: the last call before ownership goes has shown that nobody who
 * waits can be served.  A signal after that call is a new one, and the watch will tell.  If the
 * watch finds an owner it leaves `again`, which gzh_release() heeds.
 *
 * Receiving keeps order.  Serving appends to the ready list and grants the first receiver one
 * message; the greenlet takes the head when it runs.  Always granted <= ready, and granted < ready
 * only while nobody is queued; so a receiver that leaves takes nothing with it. */
#include "inside.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "watch.h"

/* How often a call looks for another owner to leave, some microseconds; and for how many nanoseconds
 * it then lets others run, before it queues. */
#define SPINS 30
#define PATIENCE 1000000
/* After so many refusals of a send that libzmq said was possible, believe the refusal. */
#define REFUSALS 8

static void on_signal(void *subject);
static const gzh_watch_hooks hooks = {gzh_hold, on_signal};

/* ---- queues, the ready list ---- */

void gzh_append(queue *q, gzh_request *r)
{
    r->next = NULL;
    r->prev = q->tail;
    if (q->tail)
        q->tail->next = r;
    else
        q->head = r;
    q->tail = r;
    q->count++;
}

void gzh_unlink(queue *q, gzh_request *r)
{
    if (r->prev)
        r->prev->next = r->next;
    else
        q->head = r->next;
    if (r->next)
        r->next->prev = r->prev;
    else
        q->tail = r->prev;
    q->count--;
}

void gzh_append_ready(gzh_socket *s, gzh_message *m)
{
    m->next = NULL;
    if (s->ready_tail)
        s->ready_tail->next = m;
    else
        s->ready_head = m;
    s->ready_tail = m;
    s->ready++;
}

void gzh_prepend_ready(gzh_socket *s, gzh_message *m)
{
    m->next = s->ready_head;
    s->ready_head = m;
    if (!s->ready_tail)
        s->ready_tail = m;
    s->ready++;
}

gzh_message *gzh_take_ready(gzh_socket *s)
{
    gzh_message *m = s->ready_head;
    s->ready_head = m->next;
    if (!s->ready_head)
        s->ready_tail = NULL;
    s->ready--;
    return m;
}

gzh_message *gzh_rotate_ready(gzh_socket *s, gzh_message *newest)
{
    if (s->ready == 0)
        return NULL;
    gzh_append_ready(s, gzh_message_must_keep(newest));
    return gzh_take_ready(s);
}

static bool anybody_waits(const gzh_socket *s)
{
    return s->receivers.head || s->senders.head || s->pollers.head;
}

/* ---- grant ---- */

void gzh_grant_ready(gzh_socket *s)
{
    while (s->receivers.head && s->ready > s->granted) {
        gzh_request *r = s->receivers.head;
        gzh_unlink(&s->receivers, r);
        s->granted++;
        gzh_grant(r, 0);
    }
}

static void fail_queue(queue *q, int result)
{
    gzh_request *next;
    for (gzh_request *r = q->head; r; r = next) {
        next = r->next;
        if (atomic_load(&r->state) != GZH_QUEUED)
            continue; /* being served: its server sees what happened and says so */
        gzh_unlink(q, r);
        gzh_grant(r, result);
    }
}

static void fail_all(gzh_socket *s, int result)
{
    fail_queue(&s->receivers, result);
    fail_queue(&s->senders, result);
    fail_queue(&s->pollers, result);
}

int gzh_visible(gzh_socket *s, int events)
{
    if (s->ready > s->granted)
        events |= ZMQ_POLLIN;
    if (s->ready > 0 && is_lock_step(s) && !atomic_load(&s->relaxed))
        events &= ~ZMQ_POLLOUT;
    if (events & ZMQ_POLLIN)
        atomic_store_explicit(&s->just_sent, false, memory_order_relaxed);
    return events;
}

void gzh_offer_ready(gzh_socket *s)
{
    gzh_grant_ready(s);
    if (s->ready > s->granted) {
        gzh_serve_pollers(s, 0);
        if (s->blocked)
            gzh_tell_proxies(s, false);
    }
}

/* ---- serve: owner, mutex held on entry and on exit, let go around libzmq ---- */

bool gzh_serve_receivers(gzh_socket *s)
{
    while (s->receivers.head && !s->closing && !s->calls.head) {
        unlock(s);
        gzh_message *m = gzh_message_new();
        int error = m ? gzh_wire_get(&s->wire, m) : ENOMEM;
        if (error)
            gzh_message_free(m);
        GZH_PAUSE("serve: received, not granted");
        lock(s);
        if (!error) {
            s->crowd += s->receivers.count + s->granted > 1; /* it is a crowd where one more waits */
            gzh_append_ready(s, m);
            gzh_grant_ready(s);
        } else if (error == EAGAIN) {
            gzh_end_crowd(s);
            return false;
        } else if (s->receivers.head) { /* EFSM is this caller's error; ETERM comes to each in turn */
            gzh_request *r = s->receivers.head;
            gzh_unlink(&s->receivers, r);
            gzh_grant(r, -error);
        }
    }
    return true;
}

int gzh_in_step(gzh_socket *s)
{
    if (s->ready == 0 || !is_lock_step(s))
        return 0;
    if (!atomic_load(&s->relaxed))
        return -EFSM;
    while (s->ready > s->granted) {
        gzh_message *unwanted = gzh_take_ready(s);
        unlock(s);
        gzh_message_free(unwanted); /* which may call back whoever sent it */
        lock(s);
    }
    return 0;
}

/* Something was sent, if there was no error: an answer may be near. */
static int heed_sent(gzh_socket *s, int error)
{
    if (!error) {
        atomic_store_explicit(&s->asked, true, memory_order_relaxed);
        if (s->wire.type == ZMQ_REQ)
            atomic_store_explicit(&s->just_sent, true, memory_order_relaxed);
    }
    return error;
}

int gzh_put(gzh_socket *s, gzh_message *m)
{
    return heed_sent(s, gzh_wire_put(&s->wire, m));
}

int gzh_put_part(gzh_socket *s, zmq_msg_t *part)
{
    return heed_sent(s, gzh_wire_put_part(&s->wire, part));
}

/* False: libzmq refused one; *sent: but took others before. */
static bool serve_senders(gzh_socket *s, bool *sent)
{
    while (s->senders.head && !s->closing && !s->calls.head) {
        int rc = gzh_in_step(s);
        gzh_request *r = s->senders.head;
        if (!r)
            break; /* it has left meanwhile, or was closed */
        if (rc < 0) {
            gzh_unlink(&s->senders, r);
            gzh_grant(r, -EFSM);
            continue;
        }
        atomic_store(&r->state, GZH_SERVING);
        unlock(s);
        GZH_PAUSE("serve: sending");
        int error = gzh_put(s, r->data);
        GZH_PAUSE("serve: sent or refused");
        lock(s);
        if (error == EAGAIN && !s->closing) {
            atomic_store(&r->state, GZH_QUEUED);
            return false;
        }
        gzh_unlink(&s->senders, r);
        gzh_grant(r, error == EAGAIN ? -ENOTSOCK : -error);
        *sent = true;
    }
    return true;
}

void gzh_serve_pollers(gzh_socket *s, int events)
{
    gzh_request *next;
    events = gzh_visible(s, events);
    for (gzh_request *r = s->pollers.head; r; r = next) {
        next = r->next;
        if (events & r->mask) {
            gzh_unlink(&s->pollers, r);
            gzh_grant(r, events & r->mask);
        }
    }
}

/* `dry`: the last call was a receive, and there was nothing.  Stops for a close and for a call, which
 * would else wait as long as a flood lasts; gzh_release() comes back. */
static void serve(gzh_socket *s, bool dry)
{
    int refusals = 0;
    dry = dry && !s->again; /* or there was news since */
    while (anybody_waits(s) && !s->closing && !s->calls.head) {
        /* A signal; or somebody who found an owner was not tried yet, and its EFSM no event would
         * show; or the first sender has gone: in each case all that was refused is open again. */
        bool news = s->again;
        s->again = false;
        if (news)
            refusals = 0;
        if (!s->senders.head && !s->pollers.head) {
            if (!dry)
                gzh_serve_receivers(s);
        } else {
            unlock(s);
            GZH_PAUSE("serve: about to look");
            int events = gzh_wire_events(&s->wire);
            lock(s);
            if (events < 0) {
                fail_all(s, events);
                continue;
            }
            gzh_serve_pollers(s, events);
            bool moved = false;
            if (s->receivers.head && (events & ZMQ_POLLIN || news)) {
                gzh_serve_receivers(s);
                moved = true;
            }
            if (s->senders.head && (events & ZMQ_POLLOUT || news) && refusals < REFUSALS) {
                /* Only refusals in a row count: in a flood there are many, each after some sends. */
                bool sent = false;
                if (!serve_senders(s, &sent))
                    refusals = (sent ? 0 : refusals) +
                               (gzh_wire_pollout_is_a_promise(&s->wire) ? 1 : REFUSALS);
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

/* ---- ownership: mutex held on entry and on exit ---- */

static void finish_close(gzh_socket *s)
{
    void *zmq = s->wire.zmq;
    uint64_t key = s->key;
    fail_all(s, -ENOTSOCK);
    s->wire.zmq = NULL;
    s->key = 0;
    unlock(s);
    gzh_load_end(&s->loader);
    if (key)
        gzh_watch_remove(key);
    gzh_wire_close(&s->wire);
    if (!s->shadow) {
        if (s->set_linger)
            zmq_setsockopt(zmq, ZMQ_LINGER, &s->linger, sizeof s->linger);
        zmq_close(zmq);
    }
    lock(s);
    s->owned = false;
}

void gzh_release(gzh_socket *s, bool dry)
{
    while (!s->closing) {
        gzh_request *call = s->calls.head;
        if (call) {
            gzh_unlink(&s->calls, call);
            atomic_store(&call->state, GZH_SERVING);
            s->blocked = true;
            if (call->kind == HOLD)
                gzh_pipe_signal(call->ear);
            else
                gzh_companion_run(call->companion);
            return;
        }
        serve(s, dry);
        dry = false;
        if (s->closing || s->calls.head)
            continue;
        if (s->key && anybody_waits(s)) {
            bool all = s->senders.head && !gzh_wire_pollout_is_a_promise(&s->wire);
            gzh_watch_arm(s->key, s->fd, all ? GZH_TELL_ALL : GZH_TELL_NEWS, &s->told);
        }
        s->owned = s->again = false;
        return;
    }
    finish_close(s);
}

void gzh_look_again(gzh_socket *s)
{
    if (s->owned) {
        s->again = true;
        if (s->blocked)
            gzh_tell_proxies(s, false);
    } else if (!s->closing && anybody_waits(s)) {
        s->owned = true;
        gzh_release(s, false);
    }
}

int gzh_claim(gzh_socket *s)
{
    uint64_t end = 0;
    for (int spin = 0;; spin++) {
        lock(s);
        if (s->closing)
            return -ENOTSOCK;
        if (!s->owned) {
            s->owned = true;
            return 0;
        }
        if (s->blocked)
            return GZH_WAIT;
        if (spin >= SPINS) {
            /* One that is not in a blocking call is out in microseconds, if it has a processor:
             * a NOBLOCK call should not say "nothing there" because it has none. */
            uint64_t now = gzh_now_ns();
            end = end ? end : now + PATIENCE;
            if (now > end)
                return GZH_WAIT;
        }
        unlock(s);
        if (spin >= SPINS)
            sched_yield();
        else
            for (int i = 0; i < 16; i++)
                gzh_relax();
    }
}

/* ---- holders, and the watch ---- */

void gzh_hold(void *subject)
{
    gzh_socket *s = subject;
    atomic_fetch_add(&s->holders, 1);
}

void gzh_drop(gzh_socket *s)
{
    if (atomic_fetch_sub(&s->holders, 1) > 1)
        return;
    while (s->ready_head)
        gzh_message_free(gzh_take_ready(s));
    GZH_MUST(pthread_mutex_destroy(&s->mutex));
    free(s);
}

static void on_signal(void *subject)
{
    gzh_socket *s = subject;
    lock(s);
    if (s->key && !s->owned && !anybody_waits(s)) /* nor is anybody to be woken until one does */
        gzh_watch_arm(s->key, s->fd, GZH_TELL_NOTHING, &s->told);
    else
        gzh_look_again(s);
    unlock(s);
    gzh_drop(s);
}

/* ---- the beginning and the end ---- */

int gzh_socket_wrap(void *zmq, bool shadow, gzh_socket **out)
{
    gzh_socket *s = calloc(1, sizeof *s);
    size_t size = sizeof(int);
    if (!s)
        return -ENOMEM;
    s->wire.zmq = zmq;
    int error = zmq_getsockopt(zmq, ZMQ_TYPE, &s->wire.type, &size) == -1 ? errno : gzh_wire_open(&s->wire, &s->fd);
    if (error) {
        free(s);
        return -error;
    }
    gzh_companion_heed_forks();
    GZH_MUST(pthread_mutex_init(&s->mutex, NULL));
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
    gzh_heed_batch(s);
    *out = s;
    return 0;
}

void *gzh_socket_underlying(gzh_socket *s)
{
    if (s->generation != gzh_generation)
        return NULL; /* and the mutex may have been taken when it was copied */
    lock(s);
    void *zmq = s->wire.zmq;
    unlock(s);
    return zmq;
}

int gzh_socket_timeout(const gzh_socket *s, int direction)
{
    return atomic_load_explicit(&s->timeout[direction], memory_order_relaxed);
}

int gzh_socket_order(const gzh_socket *s)
{
    return !is_lock_step(s) ? GZH_AT_WILL : atomic_load(&s->relaxed) ? GZH_RELAXED : GZH_BY_TURNS;
}

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
        gzh_tell_proxies(s, true);
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
    gzh_drop(s);
}
