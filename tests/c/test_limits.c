/* No descriptors, no threads, no place in the watch: an error that says so, nothing lost, and all
 * works once there is room. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_NEXT */
#endif
#include "scene.h"

#include <dlfcn.h>
#include <sys/resource.h>
#ifndef GZH_WATCH_POLL
#include <sys/epoll.h>
#endif

static atomic_bool no_threads;

/* In front of libc's: root, who runs containers, has no limit of threads that could be lowered. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (atomic_load(&no_threads))
        return EAGAIN;
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, run, argument);
}

static atomic_int failing_registrations;

#ifdef GZH_WATCH_POLL
#define REGISTERS false
#else
#define REGISTERS true

int epoll_ctl(int set, int operation, int fd, struct epoll_event *event)
{
    int (*real)(int, int, int, struct epoll_event *);
    if (operation == EPOLL_CTL_ADD && atomic_load(&failing_registrations) > 0) {
        atomic_fetch_sub(&failing_registrations, 1);
        errno = ENOSPC;
        return -1;
    }
    *(void **)&real = dlsym(RTLD_NEXT, "epoll_ctl");
    return real(set, operation, fd, event);
}

#endif

/* The sanitizers have a malloc of their own. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MAY_FAIL_MALLOC true
static atomic_bool no_memory; /* for the parts of a message that has more than a few */

void *malloc(size_t size)
{
    static void *(*real)(size_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "malloc");
    bool for_parts = size >= 8 * sizeof(zmq_msg_t) && size <= 32 * sizeof(zmq_msg_t);
    return for_parts && atomic_load(&no_memory) ? NULL : real(size);
}

#else
#define MAY_FAIL_MALLOC false
static atomic_bool no_memory;
#endif

static struct rlimit usual;

/* So many descriptors more can be had, and no others. */
static void leave_descriptors(int count)
{
    struct rlimit limit = usual;
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &usual), 0);
    int lowest = dup(0);
    CHECK(lowest >= 0);
    close(lowest);
    limit.rlim_cur = (rlim_t)(lowest + count);
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void have_descriptors(void)
{
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &usual), 0);
}

/* First of all tests: nobody was ever on watch. */
static void without_descriptors_nothing_is_queued(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    gzh_companion *none;
    gzh_poll_item item = {.socket = s.socket, .mask = ZMQ_POLLIN};
    int living, parked, on_watch;
    leave_descriptors(0);
    CHECK_IS(gzh_companion_open(&none), -EMFILE);
    leave_descriptors(1);
    born(&g);
    CHECK_IS(ask_recv(&g, s.socket), -EMFILE); /* the watch needs one */
    CHECK_IS(ask_send(&g, s.socket, "x"), -EMFILE);
    CHECK_IS(try_poll(s.socket, g.companion, ZMQ_POLLIN, 0), -EMFILE);
    CHECK_IS(gzh_poll_begin(&item, 1, g.companion), -EMFILE);
    gzh_companion_counts(&living, &parked, &on_watch);
    CHECK_IS(on_watch, 0);
    fake_deliver(s.zmq, "m1");
    CHECK_IS(recv_now(&g, s.socket), 2);
    have_descriptors();
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "m2");
    CHECK_IS(wait_on(&g, GZH_WAIT), 2);
    leave_descriptors(0);
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT); /* all that it needs is there */
    fake_deliver(s.zmq, "m3");
    CHECK_IS(wait_on(&g, GZH_WAIT), 2);
    have_descriptors();
    dies(&g);
    end_scene(&s);
}

static void without_descriptors_there_is_no_socket(void)
{
    gzh_context *c;
    gzh_socket *s;
    CHECK_IS(gzh_context_new(1, &c), 0);
    for (int count = 0; count < 5; count++) {
        leave_descriptors(count);
        CHECK_IS(gzh_socket_open(c, ZMQ_PULL, &s), -EMFILE); /* libzmq would abort for want of them */
        CHECK_IS(fake_sockets(), 0);
    }
    have_descriptors();
    CHECK_IS(gzh_socket_open(c, ZMQ_PULL, &s), 0);
    gzh_socket *other;
    leave_descriptors(0);
    CHECK_IS(gzh_socket_open(c, ZMQ_PULL, &other), -EMFILE);
    have_descriptors();
    gzh_socket_drop(s);
    gzh_context_drop(c);
    nothing_is_left();
}

static void a_socket_that_cannot_be_watched_is_an_error_for_who_waits(void)
{
    scene s = begin_scene(ZMQ_PULL);
    gzh_poll_item item = {.socket = s.socket, .mask = ZMQ_POLLIN};
    greenlet a, b;
    born(&a);
    born(&b);
    atomic_store(&failing_registrations, 1);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(wait_on(&a, GZH_WAIT), -ENOSPC);
    atomic_store(&failing_registrations, 1);
    CHECK_IS(gzh_poll_begin(&item, 1, a.companion), GZH_WAIT);
    WAIT_TOLD(&a);
    CHECK_IS(gzh_poll_end(&item, 1, a.companion, false), -ENOSPC);
    CHECK_IS(item.events, -ENOSPC);
    CHECK_IS(ask_recv(&a, s.socket), GZH_WAIT);
    CHECK_IS(ask_recv(&b, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "m1");
    fake_deliver(s.zmq, "m2");
    CHECK_IS(wait_on(&a, GZH_WAIT), 2);
    CHECK_IS(wait_on(&b, GZH_WAIT), 2);
    dies(&a);
    dies(&b);
    end_scene(&s);
}

/* ---- memory ----------------------------------------------------------------------------------- */

static void without_memory_for_its_later_parts_a_message_is_not_torn(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    born(&g);
    fake_deliver(s.zmq, "a|b|c|d|e|f");
    fake_deliver(s.zmq, "m2");
    atomic_store(&no_memory, true);
    for (int i = 0; i < 3; i++)
        CHECK_IS(recv_now(&g, s.socket), -ENOMEM);
    atomic_store(&no_memory, false);
    CHECK_IS(recv_now(&g, s.socket), 0);
    CHECK_TEXT(g.text, "a|b|c|d|e|f");
    CHECK_IS(recv_now(&g, s.socket), 2);
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
    atomic_store(&no_memory, true);
    fake_deliver(s.zmq, "1|2|3|4|5|6|7|8|9");
    CHECK_IS(wait_on(&g, GZH_WAIT), -ENOMEM);
    atomic_store(&no_memory, false);
    CHECK_IS(do_recv(&g, s.socket), 0);
    CHECK_TEXT(g.text, "1|2|3|4|5|6|7|8|9");
    atomic_store(&no_memory, true);
    fake_deliver(s.zmq, "a|b|c|d|e|f");
    CHECK_IS(recv_now(&g, s.socket), -ENOMEM);
    atomic_store(&no_memory, false);
    dies(&g);
    end_scene(&s); /* with what was begun */
}

/* ---- threads ---------------------------------------------------------------------------------- */

static void without_threads_what_needs_none_goes_on(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet first, g[6];
    gzh_context *c;
    gzh_socket *none;
    born(&first);
    CHECK_IS(ask_recv(&first, s.socket), GZH_WAIT); /* somebody is on watch */
    CHECK_IS(gzh_context_new(1, &c), 0);
    atomic_store(&no_threads, true);
    for (int i = 0; i < 6; i++) {
        born(&g[i]);
        CHECK_IS(ask_recv(&g[i], s.socket), GZH_WAIT);
    }
    fake_deliver(s.zmq, "m1");
    CHECK_IS(wait_on(&first, GZH_WAIT), 2);
    for (int i = 0; i < 6; i++) {
        fake_deliver(s.zmq, "m2");
        CHECK_IS(wait_on(&g[i], GZH_WAIT), 2);
    }
    /* The last of them has none from the park. */
    CHECK_IS(ask_call(&g[5], s.socket, GZH_BIND, "tcp://x"), GZH_NO_THREAD);
    CHECK_IS(gzh_context_term(c, g[5].companion), GZH_NO_THREAD);
    CHECK_IS(gzh_socket_open(c, ZMQ_PULL, &none), GZH_NO_THREAD);
    atomic_store(&no_threads, false);
    CHECK_IS(wait_on(&g[5], ask_call(&g[5], s.socket, GZH_BIND, "tcp://x")), 0);
    CHECK_IS(gzh_socket_open(c, ZMQ_PULL, &none), 0);
    gzh_socket_drop(none);
    gzh_context_drop(c);
    dies(&first);
    for (int i = 0; i < 6; i++)
        dies(&g[i]);
    end_scene(&s);
}

int main(void)
{
    begin();
    CHECK_IS(getrlimit(RLIMIT_NOFILE, &usual), 0);
    RUN(without_descriptors_nothing_is_queued);
    RUN(without_descriptors_there_is_no_socket);
    RUN_IF(REGISTERS, a_socket_that_cannot_be_watched_is_an_error_for_who_waits,
           "poll(2) takes every descriptor that there is");
    RUN_IF(MAY_FAIL_MALLOC, without_memory_for_its_later_parts_a_message_is_not_torn,
           "the sanitizers have a malloc of their own");
    RUN(without_threads_what_needs_none_goes_on);
    return 0;
}
