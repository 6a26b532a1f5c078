/* DESIGN.  The moment before a wait, on the caller's own thread.
 *
 * A message that comes to who waits goes through the watch and the completion pipe: two threads wake up for it,
 * which takes longer than most answers do.  So the thread looks itself for a while, at what tells of libzmq's news
 * and, for other greenlets of its hub, at what the hub sleeps on.  (A descriptor that one of them has begun to wait
 * for since the hub slept last may not be in there yet; so one is not to sleep here while others wait.)  While it is
 * awake it does the watch's work too, so that where both ends of a connection are greenlets of this hub no other
 * thread is needed.
 *
 * What is seen here is not consumed: the receive or poll that is tried again does that. */
#include "inside.h"

#include <poll.h>
#include <sched.h>

/* So many sockets are looked at. */
#define MOST 8

enum { HUB, WATCH, FIRST };

typedef struct {
    struct pollfd fd[FIRST + MOST];
    nfds_t count;
} poll_set;

static bool is_readable(const poll_set *set, int index)
{
    return set->fd[index].revents != 0;
}

static int stay_awake(poll_set *set, uint64_t nanoseconds)
{
    bool helped = false;
    set->fd[WATCH].fd = gzh_watch_fd();
    for (uint64_t end = gzh_now_ns() + nanoseconds;;) {
        int ready = poll(set->fd, set->count, 0);
        if (ready > 0 && is_readable(set, HUB))
            return helped ? GZH_HELPED : GZH_GAVE_WAY;
        if (ready > is_readable(set, WATCH))
            return GZH_NEWS;
        if (ready > 0)
            helped = gzh_watch_help() || helped;
        else
            sched_yield();
        if (gzh_now_ns() >= end)
            return GZH_NO_NEWS;
    }
}

static int doze(poll_set *set)
{
    set->fd[WATCH].fd = -1; /* it is as soon awake as we are */
    return poll(set->fd, set->count, 1) <= 0 ? GZH_NO_NEWS : is_readable(set, HUB) ? GZH_GAVE_WAY : GZH_NEWS;
}

/* Asleep, unless it was asked something. */
static bool may_linger(gzh_socket *s, bool asked)
{
    /* (REQ and REP are to send next, and would find their slice used up.) */
    if (!asked && (is_lock_step(s) || !gzh_has_turned()))
        return false;
    lock(s);
    /* They come first; and another thread's receiver, which is in no queue, would come first too. */
    bool would_be_overtaken = s->receivers.head || s->pollers.head || s->granted > 0 ||
                              (!asked && s->two_readers);
    unlock(s);
    return !would_be_overtaken;
}

static int linger(gzh_socket *const *sockets, int count, int hub_fd, int nanoseconds, bool alone)
{
    poll_set set = {.fd[HUB] = {.fd = hub_fd, .events = POLLIN}, .count = FIRST + (nfds_t)count};
    bool asked = false;
    set.fd[WATCH].events = POLLIN;
    for (int i = 0; i < count; i++) {
        if (sockets[i]->generation != gzh_generation)
            return GZH_WAIT;
        asked |= atomic_load(&sockets[i]->asked);
        set.fd[FIRST + i] = (struct pollfd){.fd = sockets[i]->fd, .events = POLLIN};
    }
    if (!asked && !alone)
        return GZH_WAIT;
    for (int i = 0; i < count; i++)
        if (!may_linger(sockets[i], asked))
            return GZH_WAIT;
    if (!asked)
        return doze(&set);
    int rc = stay_awake(&set, (uint64_t)nanoseconds);
    /* (Nobody stays awake for a long time for what others send while one answer is awaited.) */
    for (int i = 0; i < count && (rc == GZH_NO_NEWS || count > 1); i++)
        atomic_store(&sockets[i]->asked, false);
    return rc;
}

int gzh_socket_linger(gzh_socket *s, int hub_fd, int nanoseconds, bool alone)
{
    return linger(&s, 1, hub_fd, nanoseconds, alone);
}

int gzh_poll_linger(const gzh_poll_item *items, int count, int hub_fd, int nanoseconds, bool alone)
{
    gzh_socket *sockets[MOST];
    if (count < 1 || count > MOST)
        return GZH_WAIT;
    for (int i = 0; i < count; i++)
        sockets[i] = items[i].socket;
    return linger(sockets, count, hub_fd, nanoseconds, alone);
}
