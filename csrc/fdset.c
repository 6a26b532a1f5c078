/* DESIGN.  As in watch.c, two ways to wait, chosen when this is built:
 *
 * epoll, edge-triggered: a signal is told once, though it is still there; one that was consumed
 *   before it was told is not, unless EPOLLOUT is watched too, which an eventfd always is.
 * poll(2): tells what is there now.  A signal that was consumed cannot be seen by any means; so where
 *   all are asked for, it looks again every few milliseconds.  (Those are sockets that refuse what
 *   their events promise: rare, and on systems without epoll only.) */
#include "fdset.h"

#include <errno.h>
#include <unistd.h>

#include "platform.h"

#ifndef GZH_WATCH_POLL

#include <sys/epoll.h>

int gzh_fdset_open(gzh_fdset *set)
{
    set->count = 0;
    set->epoll = epoll_create1(EPOLL_CLOEXEC);
    return set->epoll == -1 ? errno : 0;
}

void gzh_fdset_close(gzh_fdset *set)
{
    if (set->epoll != -1)
        close(set->epoll);
    set->epoll = -1;
    set->count = 0;
}

static int control(gzh_fdset *set, int operation, int number)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = (uint32_t)number};
    if (set->all[number])
        event.events |= EPOLLOUT;
    return epoll_ctl(set->epoll, operation, set->fd[number], &event) == -1 ? errno : 0;
}

int gzh_fdset_add(gzh_fdset *set, int fd)
{
    int number = set->count;
    set->fd[number] = fd;
    set->all[number] = false;
    int error = control(set, EPOLL_CTL_ADD, number);
    set->count += error == 0;
    return error;
}

void gzh_fdset_tell_all(gzh_fdset *set, int number, bool all)
{
    if (set->all[number] == all)
        return;
    set->all[number] = all;
    GZH_MUST(control(set, EPOLL_CTL_MOD, number));
}

unsigned gzh_fdset_wait(gzh_fdset *set)
{
    struct epoll_event events[GZH_FDSET_ROOM];
    unsigned told = 0;
    int count;
    while ((count = epoll_wait(set->epoll, events, GZH_FDSET_ROOM, -1)) == -1 && errno == EINTR)
        ;
    if (count == -1)
        gzh_panic(__FILE__, __LINE__, "epoll_wait", errno);
    for (int i = 0; i < count; i++)
        told |= 1u << events[i].data.u32;
    return told;
}

#else /* poll(2) */

#include <poll.h>

#define LOOK_AGAIN_MS 5

int gzh_fdset_open(gzh_fdset *set)
{
    set->epoll = -1;
    set->count = 0;
    return 0;
}

void gzh_fdset_close(gzh_fdset *set)
{
    set->count = 0;
}

int gzh_fdset_add(gzh_fdset *set, int fd)
{
    set->fd[set->count] = fd;
    set->all[set->count++] = false;
    return 0;
}

void gzh_fdset_tell_all(gzh_fdset *set, int number, bool all)
{
    set->all[number] = all;
}

unsigned gzh_fdset_wait(gzh_fdset *set)
{
    struct pollfd polled[GZH_FDSET_ROOM];
    unsigned told = 0, all = 0;
    for (int i = 0; i < set->count; i++) {
        polled[i] = (struct pollfd){.fd = set->fd[i], .events = POLLIN};
        all |= (unsigned)set->all[i] << i;
    }
    int count;
    while ((count = poll(polled, (nfds_t)set->count, all ? LOOK_AGAIN_MS : -1)) == -1 && errno == EINTR)
        ;
    if (count == -1)
        gzh_panic(__FILE__, __LINE__, "poll", errno);
    for (int i = 0; i < set->count; i++)
        if (polled[i].revents)
            told |= 1u << i;
    return told | all;
}

#endif
