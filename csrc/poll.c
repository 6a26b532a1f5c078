/* DESIGN.  One wait for several sockets.
 *
 * The companion's request is the whole.  On each socket a node lies among those who poll it, a
 * request too, under that socket's queue mutex:
 *
 *   whole, QUEUED --first granter (compare-and-swap)--> GRANTED --end or cancel (greenlet)--> IDLE
 *   node,  QUEUED --owner of its socket---------------> GRANTED
 *
 * Whoever grants a node holds the mutex of its socket until he is done with the node, the whole and
 * the companion; the greenlet, which takes that mutex to take the node out, is thus the last to touch
 * any of them.  Only the first granter tells: one byte for the whole.
 *
 * A node says that there was something.  What there is now is seen by looking again: another greenlet
 * may have been quicker, and other sockets may have news too.
 *
 *   field                     who may touch it
 *   -----------------------   -----------------------------------------------------------------
 *   whole: state              the greenlet; a granter that finds it QUEUED
 *   whole: all else, nodes[]  the greenlet
 *   a node: state, result,    under its socket's mutex
 *   next, prev
 *   a node: all else          constant while it is queued; option is the index of its item */
#include "inside.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "watch.h"

/* So many descriptors are looked at in one call of poll(2), which has its own limit. */
#define BATCH 64

typedef struct {
    int count;
    gzh_request node[];
} nodes;

/* ---- at once ---- */

/* 0, GZH_FORKED or -errno. */
static int look_at_socket(gzh_poll_item *item)
{
    gzh_socket *s = item->socket;
    if (s->generation != gzh_generation)
        return GZH_FORKED;
    int rc;
    while ((rc = gzh_claim_to_poll(s, item->mask)) == GZH_LOOK) /* Python will, after this */
        unlock(s);
    if (rc == 0) {
        unlock(s);
        rc = gzh_wire_events(&s->wire);
        lock(s);
        if (rc >= 0) {
            item->events = gzh_visible(s, rc) & item->mask;
            rc = 0;
        }
        gzh_release(s, false);
    } else if (rc == GZH_WAIT)
        rc = 0; /* what the last wait was told stands */
    unlock(s);
    return rc;
}

static int events_of_descriptor(int revents)
{
    return (revents & POLLIN ? ZMQ_POLLIN : 0) | (revents & POLLOUT ? ZMQ_POLLOUT : 0) |
           (revents & POLLPRI ? ZMQ_POLLPRI : 0) |
           (revents & ~(POLLIN | POLLOUT | POLLPRI) ? ZMQ_POLLERR : 0);
}

static int look_at_batch(struct pollfd *fds, gzh_poll_item **of, int count)
{
    int rc;
    while ((rc = poll(fds, (nfds_t)count, 0)) == -1 && errno == EINTR)
        ;
    if (rc == -1)
        return -errno;
    for (int i = 0; i < count; i++)
        of[i]->events = events_of_descriptor(fds[i].revents);
    return 0;
}

static int look_at_descriptors(gzh_poll_item *items, int count)
{
    struct pollfd fds[BATCH];
    gzh_poll_item *of[BATCH];
    int filled = 0, rc = 0;
    for (int i = 0; i < count && rc == 0; i++) {
        if (!items[i].socket) {
            int mask = items[i].mask;
            of[filled] = &items[i];
            fds[filled++] = (struct pollfd){
                .fd = items[i].fd,
                .events = (short)((mask & ZMQ_POLLIN ? POLLIN : 0) |
                                  (mask & ZMQ_POLLOUT ? POLLOUT : 0) |
                                  (mask & ZMQ_POLLPRI ? POLLPRI : 0)),
            };
        }
        if (filled == BATCH || (filled > 0 && i + 1 == count)) {
            rc = look_at_batch(fds, of, filled);
            filled = 0;
        }
    }
    return rc;
}

int gzh_poll_look(gzh_poll_item *items, int count, int flags)
{
    if (!(flags & ZMQ_DONTWAIT) && gzh_slice_is_over())
        return GZH_YIELD;
    int ready = 0, others = 0;
    for (int i = 0; i < count; i++) {
        if (!items[i].socket) {
            others++;
            continue;
        }
        int rc = look_at_socket(&items[i]);
        if (rc < 0)
            return items[i].events = rc;
    }
    if (others > 0) {
        int rc = look_at_descriptors(items, count);
        if (rc < 0)
            return rc;
    }
    for (int i = 0; i < count; i++)
        ready += items[i].events != 0;
    return ready;
}

/* ---- the wait ---- */

/* The greenlet's: all nodes leave their sockets, and `items`, if any, gets what they were told.  How
 * many were told something; or the first error. */
static int take_out(gzh_request *whole, gzh_poll_item *items)
{
    nodes *n = whole->data;
    int rc = 0;
    for (int i = 0; i < n->count; i++) {
        gzh_request *node = &n->node[i];
        gzh_socket *s = node->subject;
        int result = 0;
        lock(s);
        if (atomic_load(&node->state) == GZH_QUEUED)
            gzh_unlink(&s->pollers, node);
        else
            result = node->result;
        unlock(s);
        gzh_drop(s);
        if (items)
            items[node->option].events = result;
        if (rc >= 0)
            rc = result < 0 ? result : rc + (result > 0);
    }
    free(n);
    whole->data = NULL;
    /* From here on no granter knows of it. */
    atomic_store(&whole->state, GZH_IDLE);
    return rc;
}

static int cancel(gzh_request *whole)
{
    take_out(whole, NULL);
    return 0;
}

/* 0, GZH_FORKED or -errno.  (It was looked at before, so nothing of it lies in Python.) */
static int put_in(gzh_request *whole, gzh_poll_item *items, int index)
{
    nodes *n = whole->data;
    gzh_request *node = &n->node[n->count];
    gzh_socket *s = items[index].socket;
    if (s->generation != gzh_generation)
        return GZH_FORKED;
    *node = (gzh_request){
        .companion = whole->companion,
        .subject = s,
        .whole = whole,
        .kind = POLL,
        .option = index,
        .mask = items[index].mask,
    };
    atomic_init(&node->state, GZH_QUEUED);
    int rc = gzh_claim(s);
    if (rc == 0 || rc == GZH_WAIT) {
        gzh_hold(s);
        gzh_append(&s->pollers, node);
        n->count++;
        if (rc == 0)
            gzh_release(s, false); /* which serves it, if there is something already */
        else
            s->again = true; /* and the owner will */
        rc = 0;
    }
    unlock(s);
    return rc;
}

int gzh_poll_begin(gzh_poll_item *items, int count, gzh_companion *companion)
{
    int sockets = 0;
    gzh_request *whole = gzh_companion_free_request(companion);
    if (!whole)
        return GZH_BUSY;
    for (int i = 0; i < count; i++)
        sockets += items[i].socket != NULL;
    int rc = sockets ? gzh_watch_begin(companion) : 0;
    if (rc < 0)
        return rc;
    nodes *n = malloc(sizeof *n + (size_t)sockets * sizeof *n->node);
    if (!n)
        return -ENOMEM;
    n->count = 0;
    whole->subject = NULL;
    whole->kind = POLL;
    whole->cancel = cancel;
    whole->data = n;
    atomic_store(&whole->state, GZH_QUEUED);
    for (int i = 0; i < count && atomic_load(&whole->state) == GZH_QUEUED; i++) {
        if (!items[i].socket)
            continue;
        rc = put_in(whole, items, i);
        GZH_PAUSE("poll: one node more");
        if (rc < 0) {
            take_out(whole, items);
            gzh_companion_drain(companion);
            return items[i].events = rc;
        }
    }
    return GZH_WAIT;
}

int gzh_poll_end(gzh_poll_item *items, int count, gzh_companion *companion, bool give_up)
{
    if (gzh_companion_is_strange(companion))
        return GZH_FORKED;
    gzh_request *whole = gzh_companion_request(companion);
    gzh_companion_drain(companion);
    int state = atomic_load(&whole->state);
    if (state == GZH_IDLE || (state == GZH_QUEUED && !give_up))
        return GZH_WAIT;
    for (int i = 0; i < count; i++)
        items[i].events = 0;
    GZH_PAUSE("poll: about to take out");
    int rc = take_out(whole, items);
    if (state == GZH_QUEUED)
        gzh_companion_drain(companion); /* it may have been told since */
    return rc == 0 ? -EAGAIN : rc;
}
