/* DESIGN.  What Python calls, and how each call that cannot be completed becomes a request.
 *
 * Every call has the same shape.  Without a companion it is tried once, as owner, and may answer
 * GZH_WAIT: then nothing has happened.  (Untried, where a REQ has just sent: see just_sent.)  With a
 * companion it is tried again and, before ownership goes, queued: no window opens between the last
 * look and the wait.  gzh_end brings the result; cancel takes the request back, whatever has become
 * of it. */
#include "inside.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "watch.h"

/* At-once receives by one greenlet while others wait or were granted and have not run: two, which
 * with the one that it was granted itself make three times the least share; and, as the backlog goes
 * on, half of what each has had on average, which keeps within that too and wakes them less often.  Not
 * more than a slice of time has room for; and while that average is small, and nothing evens out, than it
 * has room for when all of them take as many: a turn of the hub through all of them is to end with it. */
#define A_FEW 2
#define A_LOT 10000
#define A_LOT_FOR_ALL 3000
#define EVENS_OUT 1000

/* How long after the slice one of several receivers may still take its few, in nanoseconds: else, of many,
 * those whose turn is at a slice's end would get one each, round after round.  They wait again after it. */
#define CROWD_GRACE 8000000

/* For how many nanoseconds after its hub has turned a thread may still sleep where the hub does not know of
 * it, and its timers are late. */
#define JUST_NOW 2000000

static int a_few(gzh_socket *s)
{
    /* (Those who let others run at this moment neither wait nor were granted, but have had their part.) */
    int all = s->receivers.count + s->granted + 1;
    if (all > s->sharers)
        s->sharers = all;
    long average = s->crowd / s->sharers, few = average / 2;
    long most = average < EVENS_OUT ? A_LOT_FOR_ALL / s->sharers : A_LOT;
    if (few > most)
        few = most;
    return few > A_FEW ? (int)few : A_FEW;
}

/* A slice that is not far shorter than the coarse clock's tick, 4 ms on most systems, is measured by that,
 * and ends with the first tick after its time: a seventh of the cost of the exact one, which was a
 * twentieth of a receive. */
static _Thread_local uint64_t slice_end;
static _Thread_local bool slice_is_short;
/* Whoever got the slice has let others run, and has received nothing in it yet. */
static _Thread_local bool slice_is_new;

static uint64_t slice_clock(void)
{
    return slice_is_short ? gzh_now_ns() : gzh_now_coarse_ns();
}

void gzh_slice(uint64_t nanoseconds)
{
    slice_is_short = nanoseconds < 1000000;
    slice_end = slice_clock() + nanoseconds;
    slice_is_new = true;
}

bool gzh_slice_is_over(void)
{
    return slice_clock() > slice_end;
}

/* When it did last: a wait has ended then. */
static _Thread_local uint64_t turned;

bool gzh_has_turned(void)
{
    return gzh_now_ns() - turned < JUST_NOW;
}

/* ---- requests ---- */

static queue *queue_of(gzh_socket *s, int kind)
{
    return kind == RECEIVE ? &s->receivers
           : kind == SEND  ? &s->senders
           : kind == POLL  ? &s->pollers
                           : &s->calls;
}

void gzh_free_data(gzh_request *r)
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

/* Mutex held: r leaves its queue unserved.  True: look again once it is gone, for a ROUTER may have
 * refused this one for its own peer's sake, and no signal tells of the next one's. */
static bool leave_queue(gzh_socket *s, gzh_request *r)
{
    bool first = !r->prev;
    gzh_unlink(queue_of(s, r->kind), r);
    return first && r->kind == SEND && s->senders.head;
}

static int cancel(gzh_request *r)
{
    gzh_socket *s = r->subject;
    int rc = 0;
    bool news = false;
    lock(s);
    switch (settled_state(s, r)) {
    case GZH_QUEUED:
        news = leave_queue(s, r);
        break;
    case GZH_SERVING: /* a blocking call: its companion brings it to its end */
        r->abandoned = true;
        rc = GZH_ABANDONED;
        break;
    case GZH_GRANTED:
        if (r->kind == RECEIVE && r->result >= 0) {
            s->granted--; /* it goes without its message */
            gzh_offer_ready(s);
        }
        r->has_sent = r->kind == SEND && r->result == 0;
        break;
    }
    if (rc == 0) {
        gzh_free_data(r);
        atomic_store(&r->state, GZH_IDLE);
    }
    if (news)
        gzh_look_again(s);
    unlock(s);
    if (rc == 0)
        gzh_drop(s);
    return rc;
}

gzh_request *gzh_new_request(gzh_socket *s, gzh_companion *companion, int kind)
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

int gzh_enqueue(gzh_socket *s, gzh_request *r)
{
    gzh_hold(s);
    atomic_store(&r->state, GZH_QUEUED);
    gzh_append(queue_of(s, r->kind), r);
    if (r->kind == RECEIVE)
        gzh_grant_ready(s);
    return GZH_WAIT;
}

int gzh_not_yet(gzh_socket *s, gzh_request *r, bool nonblock)
{
    return nonblock ? -EAGAIN : r ? gzh_enqueue(s, r) : GZH_WAIT;
}

int gzh_found_owner(gzh_socket *s, gzh_request *r, bool nonblock)
{
    if (r && !nonblock)
        s->again = true;
    return gzh_not_yet(s, r, nonblock);
}

/* ---- what Python calls ---- */

int gzh_enter(const gzh_socket *s, const gzh_companion *companion, bool nonblock, uint64_t grace)
{
    if (s->generation != gzh_generation)
        return GZH_FORKED;
    if (!companion && !nonblock && slice_clock() > slice_end + grace)
        return GZH_YIELD;
    return 0;
}

bool gzh_may_not_wait(const gzh_socket *s, int flags, int direction)
{
    return flags & ZMQ_DONTWAIT || gzh_socket_timeout(s, direction) == 0;
}

static bool fits(const gzh_message *m, size_t total)
{
    return m->count <= GZH_SLOT_PARTS && total <= GZH_SLOT_BYTES;
}

/* Empties m, which is on the stack or, if `heap`, gone afterwards. */
static int deliver(gzh_message *m, bool heap, gzh_slot *slot, int flags)
{
    size_t total = gzh_message_total(m);
    if (flags & GZH_KEEP || !fits(m, total)) {
        slot->whole = heap ? m : gzh_message_must_keep(m);
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
        *kept = gzh_take_ready(s);
        return 0;
    }
    unlock(s);
    int error = gzh_wire_get(&s->wire, m);
    GZH_PAUSE("take: received");
    lock(s);
    if (!error)
        *kept = gzh_rotate_ready(s, m);
    else if (error == EAGAIN && s->ready > s->granted) {
        *kept = gzh_take_ready(s); /* a receiver has left meanwhile */
        error = 0;
    }
    return error;
}

/* `many`: as many messages as that, of which nobody else need know; else 0. */
static int receive(gzh_socket *s, gzh_companion *companion, gzh_slot *slot, int flags, int many)
{
    gzh_message m, *kept = NULL, *odd = NULL;
    gzh_request *r = NULL;
    bool nonblock = !companion && gzh_may_not_wait(s, flags, 0);
    /* Of those that take turns, the sends look at the slice. */
    bool crowded = atomic_load_explicit(&s->crowded, memory_order_relaxed);
    int rc = gzh_enter(s, companion, nonblock || is_lock_step(s), crowded ? CROWD_GRACE : 0);
    if (rc)
        return rc;
    slot->several = 0;
    slot->timeout = gzh_socket_timeout(s, 0); /* spares who has to wait a call */
    if (atomic_load_explicit(&s->just_sent, memory_order_relaxed)) {
        atomic_store_explicit(&s->just_sent, false, memory_order_relaxed);
        if (!nonblock && !companion)
            return GZH_WAIT;
    }
    if (companion) {
        if (!(r = gzh_new_request(s, companion, RECEIVE)))
            return GZH_BUSY;
        if ((rc = gzh_watch_begin(companion)) < 0)
            return rc;
    }
    rc = gzh_claim_to_receive(s);
    if (rc) {
        if (rc == GZH_WAIT)
            rc = gzh_found_owner(s, r, nonblock);
        unlock(s);
        return rc;
    }
    if (flags & GZH_KEEP)
        s->keeps = true;
    bool dry = false, delivered = false;
    if (nonblock && s->receivers.head)
        gzh_serve_receivers(s); /* they came first; what is left is ours */
    bool ahead = s->receivers.head || s->granted > 0;
    /* Who came when the slice was over has had one, where the others of the crowd have had their few. */
    if (!ahead || slice_is_new)
        s->taken = 0;
    slice_is_new = false;
    atomic_store_explicit(&s->crowded, ahead, memory_order_relaxed);
    if (s->receivers.head || (ahead && !nonblock && s->taken++ >= a_few(s))) {
        rc = gzh_not_yet(s, r, nonblock);
    } else {
        gzh_message_init(&m);
        rc = -take(s, &m, &kept);
        if (rc == 0) {
            atomic_store_explicit(&s->asked, false, memory_order_relaxed);
            atomic_store_explicit(&s->awaited, false, memory_order_relaxed);
        }
        dry = rc == -EAGAIN;
        s->crowd += ahead;
        if (dry) {
            gzh_end_crowd(s);
            rc = gzh_not_yet(s, r, nonblock);
        }
        bool alone = !kept && !ahead && !r && !s->pollers.head;
        int most = rc || !alone || flags & GZH_KEEP ? 1
                   : many                           ? many
                                                    : gzh_next_batch(s, flags);
        if (most > 1 && fits(&m, gzh_message_total(&m))) {
            if (!many)
                gzh_lend(s);
            unlock(s);
            GZH_PAUSE("batch: begun");
            rc = gzh_take_several(s, &m, slot, most, &odd, &dry);
            delivered = true;
            lock(s);
            /* Never true here: who has lost its patience meanwhile is no longer kept away, and
             * gzh_socket_shared is to know. */
            if (!many && rc != GZH_SEVERAL)
                s->lent = false;
            s->batch = slot->several;
            if (odd) {
                gzh_append_ready(s, odd);
                gzh_grant_ready(s); /* somebody may have queued meanwhile, and no signal tells of this one */
            }
        }
    }
    gzh_release(s, dry);
    unlock(s);
    return rc || delivered ? rc : deliver(kept ? kept : &m, kept != NULL, slot, flags);
}

int gzh_recv(gzh_socket *s, gzh_companion *companion, gzh_slot *slot, int flags)
{
    return receive(s, companion, slot, flags, 0);
}

int gzh_recv_many(gzh_socket *s, gzh_slot *slot, int flags, int most)
{
    return receive(s, NULL, slot, flags, most);
}

int gzh_poll(gzh_socket *s, gzh_companion *companion, int mask, int flags)
{
    bool nonblock = !companion && flags & ZMQ_DONTWAIT;
    gzh_request *r = NULL;
    int rc = gzh_enter(s, companion, nonblock, 0);
    if (rc)
        return rc;
    if (companion) {
        if (!(r = gzh_new_request(s, companion, POLL)))
            return GZH_BUSY;
        if ((rc = gzh_watch_begin(companion)) < 0)
            return rc;
        r->mask = mask;
    }
    rc = gzh_claim_to_poll(s, mask);
    if (rc) {
        if (rc == GZH_WAIT)
            rc = gzh_found_owner(s, r, nonblock);
        unlock(s);
        return rc == -EAGAIN ? 0 : rc;
    }
    if (r)
        rc = gzh_enqueue(s, r); /* to be served before ownership goes */
    else {
        unlock(s);
        rc = gzh_wire_events(&s->wire);
        lock(s);
        if (rc >= 0)
            rc = gzh_visible(s, rc) & mask;
        if (rc == 0 && !nonblock)
            rc = GZH_WAIT;
    }
    gzh_release(s, false);
    unlock(s);
    return rc;
}

/* Owner, mutex not held. */
static int make(gzh_socket *s, int operation, int option, void *data, size_t *size)
{
    int rc;
    if (operation == GZH_GET && option == ZMQ_FD && s->wire.poller) {
        memcpy(data, &s->fd, sizeof s->fd);
        return 0;
    }
    rc = gzh_make(operation, s->wire.zmq, option, data, size);
    if (rc == 0 && operation == GZH_SET && (option == ZMQ_RCVHWM || option == ZMQ_CONFLATE))
        gzh_heed_batch(s);
    if (rc == 0 && operation == GZH_SET && *size == sizeof(int)) {
        int value;
        memcpy(&value, data, sizeof value);
        if (option == ZMQ_RCVTIMEO)
            atomic_store(&s->timeout[0], value);
        else if (option == ZMQ_SNDTIMEO)
            atomic_store(&s->timeout[1], value);
        else if (option == ZMQ_REQ_RELAXED)
            atomic_store(&s->relaxed, value != 0);
    } else if (rc == 0 && operation == GZH_MONITOR) {
        atomic_store(&s->monitored, data != NULL);
    } else if (rc == 0 && operation == GZH_GET && option == ZMQ_EVENTS) {
        int events;
        memcpy(&events, data, sizeof events);
        lock(s);
        events = gzh_visible(s, events);
        unlock(s);
        memcpy(data, &events, sizeof events);
    }
    return rc;
}

/* On the companion's thread, which is the owner. */
static void run_call(gzh_request *r)
{
    gzh_socket *s = r->subject;
    gzh_hold(s);
    int rc = make(s, r->mask, r->option, r->data, &r->size);
    GZH_PAUSE("call: made, not granted");
    lock(s);
    s->blocked = false;
    bool abandoned = r->abandoned;
    if (abandoned) {
        gzh_free_data(r);
        atomic_store(&r->state, GZH_IDLE);
    } else
        gzh_grant(r, s->closing ? -ENOTSOCK : rc);
    gzh_release(s, false);
    unlock(s);
    if (abandoned)
        gzh_drop(s);
    gzh_drop(s);
}

int gzh_call(gzh_socket *s, gzh_companion *companion, int operation, int option, void *data,
             size_t *size)
{
    int rc = gzh_enter(s, companion, true, 0);
    if (rc)
        return rc;
    if (!companion) {
        /* To stop a monitor is to send a last event, which waits until there is room for it. */
        if (gzh_blocks(operation, data) || (operation == GZH_MONITOR && atomic_load(&s->monitored)))
            return GZH_WAIT;
        rc = gzh_claim(s);
        if (rc == 0) {
            unlock(s);
            rc = make(s, operation, option, data, size);
            lock(s);
            gzh_release(s, false);
        }
        unlock(s);
        return rc;
    }
    gzh_request *r = gzh_new_request(s, companion, CALL);
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
    rc = gzh_claim(s);
    if (rc == -ENOTSOCK)
        gzh_free_data(r);
    else {
        bool owner = rc == 0;
        rc = gzh_enqueue(s, r);
        if (owner)
            gzh_release(s, false); /* to the companion, or to one that asked before */
    }
    unlock(s);
    return rc;
}

/* slot: of a receive; answer, with its size: of a call.  Either may be NULL. */
static int end(gzh_companion *companion, gzh_slot *slot, int flags, bool give_up, void *answer, size_t *size)
{
    if (gzh_companion_is_strange(companion))
        return GZH_FORKED;
    /* Take the byte, then look: a grant in between leaves a byte too many, which wakes somebody once
     * for nothing; looking first would lose one. */
    gzh_companion_drain(companion);
    turned = gzh_now_ns();
    gzh_request *r = gzh_companion_request(companion);
    gzh_socket *s = r->subject;
    gzh_message *m = NULL;
    bool news = false;
    GZH_PAUSE("end: about to look");
    lock(s);
    int rc, state = give_up ? settled_state(s, r) : atomic_load(&r->state);
    if (state == GZH_GRANTED) {
        rc = r->result;
        if (r->kind == RECEIVE && rc >= 0) {
            s->granted--;
            s->taken = 0;
            m = gzh_take_ready(s);
            atomic_store_explicit(&s->asked, false, memory_order_relaxed);
            atomic_store_explicit(&s->awaited, true, memory_order_relaxed);
            news = is_lock_step(s); /* POLLOUT was hidden while it lay there */
        } else if (answer && r->data && (r->mask == GZH_GET || r->mask == GZH_BIND)) {
            *size = r->size;
            memcpy(answer, r->data, r->size);
        }
    } else if (give_up && state == GZH_QUEUED) {
        news = leave_queue(s, r);
        rc = -EAGAIN;
    } else {
        unlock(s);
        return GZH_WAIT;
    }
    gzh_free_data(r);
    atomic_store(&r->state, GZH_IDLE);
    if (news)
        gzh_look_again(s);
    unlock(s);
    gzh_drop(s);
    return m ? deliver(m, true, slot, flags) : rc;
}

int gzh_end(gzh_companion *companion, gzh_slot *slot, int flags, bool give_up)
{
    return end(companion, slot, flags, give_up, NULL, NULL);
}

int gzh_end_call(gzh_companion *companion, void *data, size_t *size)
{
    return end(companion, NULL, 0, false, data, size);
}
