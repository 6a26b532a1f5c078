/* DESIGN.  Several messages in one call.
 *
 * The way from Python to here and back costs more than a receive.  So in a flood one call takes
 * several messages, up to twice as many as the last one took, and lends them to Python, which shares
 * them: puts them where each of the socket's receivers looks first.  Nobody may wait here while some lie
 * there; so there are none while anybody waits, and none any more once a second thread receives or polls.
 * That one, and each further one, may have looked before the first shared what it had been lent, and is sent
 * back to look again.  If it has lost its patience and waits already when the first shares at last, it
 * is sent back then; only the order suffers.  It is the same while what was shared is recalled.
 *
 * They are so few that what lies in Python is little against what may lie in libzmq (RCVHWM).  A message
 * that differs from the first in the number of its parts, or has no room, goes to the ready list, which comes
 * first in the next call. */
#include "inside.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

/* For how long, in nanoseconds, a thread waits for another's messages to be shared: that needs some
 * microseconds, and Python's lock. */
#define PATIENCE 100000000

/* Each number stands for something that was shared; and those that this thread has looked at last: as
 * many as sockets that it receives from by turns without being sent back each time. */
#define LOOKED 16
static atomic_ulong looks;
static _Thread_local unsigned long looked[LOOKED];

void gzh_heed_batch(gzh_socket *s)
{
    const int options[2] = {ZMQ_RCVHWM, ZMQ_CONFLATE};
    int value[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        size_t size = sizeof value[i];
        zmq_getsockopt(s->wire.zmq, options[i], &value[i], &size);
    }
    int most = value[0] == 0 ? GZH_BATCH : value[0] / (value[0] < 500 ? 16 : 8);
    lock(s);
    /* It keeps the last message; they have one at a time; with drafts' messages goes an address. */
    s->most = value[1] || is_lock_step(s) || s->wire.poller ? 0 : most < GZH_BATCH ? most : GZH_BATCH;
    unlock(s);
}

int gzh_next_batch(gzh_socket *s, int flags)
{
    if (s->most <= 1 || s->keeps || s->two_readers || flags & GZH_ONE)
        return 1;
    uint64_t now = gzh_now_coarse_ns();
    /* Else the last ones took the caller so long that the slice is to be looked at for each. */
    bool quick = now == s->batch_began;
    s->batch_began = now;
    s->batch = quick && s->batch > 0 ? 2 * s->batch : 1;
    /* Of several receivers, those who only let others run meanwhile are to have their share. */
    int most = s->crowd > 0 ? (s->most + 3) / 4 : s->most;
    if (s->batch > most)
        s->batch = most;
    return s->batch;
}

int gzh_take_several(gzh_socket *s, gzh_message *m, gzh_slot *slot, int most, gzh_message **odd, bool *dry)
{
    char *to = slot->data;
    const char *end = slot->data + GZH_SLOT_BYTES;
    int count = 0;
    slot->parts = 0;
    slot->each = m->count;
    for (;;) {
        for (int i = 0; i < m->count; i++) {
            size_t size = zmq_msg_size(&m->part[i]);
            memcpy(to, zmq_msg_data(&m->part[i]), size);
            slot->size[slot->parts++] = (int)size;
            to += size;
        }
        if (++count == most)
            break;
        int error = gzh_wire_get_next(&s->wire, m);
        if (error) { /* another than EAGAIN will be the next call's too */
            *dry = error == EAGAIN;
            break;
        }
        if (m->count != slot->each || gzh_message_total(m) > (size_t)(end - to) ||
            slot->parts + m->count > GZH_SLOT_PARTS) {
            *odd = gzh_message_must_keep(m);
            break;
        }
    }
    gzh_message_clear(m);
    slot->several = count > 1 ? count : 0;
    return count > 1 ? GZH_SEVERAL : slot->each > 1 ? GZH_PARTS : slot->size[0];
}

void gzh_lend(gzh_socket *s)
{
    s->lent = true;
    s->borrower = pthread_self();
}

static bool another_has_it(const gzh_socket *s)
{
    return s->lent && !pthread_equal(s->borrower, pthread_self());
}

/* Lets the mutex go meanwhile. */
static void wait_until_shared(gzh_socket *s)
{
    for (uint64_t end = gzh_now_ns() + PATIENCE; another_has_it(s) && gzh_now_ns() < end;) {
        unlock(s);
        GZH_PAUSE("batch: waits until it is shared");
        sched_yield();
        lock(s);
    }
    if (another_has_it(s))
        s->lent = false;
}

int gzh_claim_to_receive(gzh_socket *s)
{
    int rc = gzh_claim(s);
    if (rc == -ENOTSOCK)
        return rc;
    if (!s->has_reader) {
        s->reader = pthread_self();
        s->has_reader = true;
    }
    bool is_first = pthread_equal(s->reader, pthread_self());
    bool has_looked = is_first || (s->two_readers && looked[s->look % LOOKED] == s->look);
    if (has_looked && !another_has_it(s))
        return rc;
    if (!is_first && !s->two_readers) {
        s->look = atomic_fetch_add(&looks, 1) + 1;
        s->two_readers = true;
    }
    if (rc == 0)
        gzh_release(s, false);
    wait_until_shared(s);
    if (!is_first)
        looked[s->look % LOOKED] = s->look;
    return s->closing ? -ENOTSOCK : GZH_LOOK;
}

int gzh_claim_to_poll(gzh_socket *s, int mask)
{
    return mask & ZMQ_POLLIN ? gzh_claim_to_receive(s) : gzh_claim(s);
}

int gzh_socket_recall(gzh_socket *s)
{
    if (s->generation != gzh_generation)
        return GZH_FORKED;
    lock(s);
    wait_until_shared(s);
    gzh_lend(s);
    unlock(s);
    return 0;
}

int gzh_socket_put_back(gzh_socket *s, gzh_message *const *messages, int count)
{
    if (s->generation != gzh_generation)
        return GZH_FORKED;
    gzh_message *last = NULL, *m; /* behind it the one before it, and so on */
    for (int i = 0; i < count; i++) {
        m = gzh_message_keep(messages[i]);
        if (!m) {
            while ((m = last)) {
                last = m->next;
                gzh_message_move(messages[--i], m);
                gzh_message_free(m);
            }
            return -ENOMEM;
        }
        m->next = last;
        last = m;
    }
    lock(s);
    while ((m = last)) {
        last = m->next;
        gzh_prepend_ready(s, m);
    }
    s->lent = false;
    gzh_offer_ready(s);
    unlock(s);
    return 0;
}

int gzh_socket_shared(gzh_socket *s)
{
    if (s->generation != gzh_generation)
        return GZH_FORKED;
    lock(s);
    if (s->two_readers && !s->lent) { /* too late: somebody may wait already, or has looked */
        s->look = atomic_fetch_add(&looks, 1) + 1;
        for (gzh_request *r; (r = s->receivers.head);) {
            gzh_unlink(&s->receivers, r);
            gzh_grant(r, GZH_LOOK);
        }
        gzh_serve_pollers(s, ZMQ_POLLIN);
    }
    if (!s->keeps)
        s->lent = false; /* else when it is put back */
    int rc = s->closing ? -ENOTSOCK : s->keeps;
    unlock(s);
    return rc;
}

void gzh_socket_one_by_one(gzh_socket *s)
{
    if (s->generation != gzh_generation)
        return;
    lock(s);
    s->keeps = true;
    unlock(s);
}

bool gzh_socket_lent(gzh_socket *s)
{
    if (s->generation != gzh_generation)
        return false;
    lock(s);
    bool lent = s->lent;
    unlock(s);
    return lent;
}
