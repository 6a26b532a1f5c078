/* DESIGN
 *
 * A table of slots, guarded by `table`: index and generation make the key, so that an event for a
 * socket that has been closed since finds another generation and is dropped.  The mutex is held
 * for a few instructions and only ever nested around a subject's count.
 *
 * Two ways to wait, chosen when this is built, with the same eight functions at the end of the file:
 *
 * epoll: each descriptor is registered once, edge-triggered.  An edge is one write of libzmq's
 *   into the socket's eventfd.  The kernel looks again before it reports, so a signal that the
 *   socket's owner has consumed meanwhile is not told; the owner knows, and looks for itself.
 *   With GZH_TELL_ALL, EPOLLOUT is watched too, which an eventfd always is: then every signal is
 *   told, consumed or not.
 * poll(2): level-triggered, so each descriptor is told once and then rests until it is armed
 *   again; arming and removing kick the thread out of poll through a pipe. */
#include "watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct {
    void *subject; /* NULL: free */
    const gzh_watch_hooks *hooks;
    uint32_t generation;
    int fd;
    uint32_t next_free;
    bool armed; /* poll(2) only */
} slot;

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static slot *slots;
static uint32_t slot_count, first_free;
static _Atomic(gzh_companion *) on_watch;

static int set_open(void);
static int set_add(uint32_t index);
static void set_remove(int fd);
static void set_in_child(void);

static uint64_t key_of(uint32_t index)
{
    return (uint64_t)slots[index].generation << 32 | index;
}

/* table held */
static slot *find(uint64_t key)
{
    uint32_t index = (uint32_t)key;
    if (index >= slot_count || !slots[index].subject || slots[index].generation != key >> 32)
        return NULL;
    return &slots[index];
}

/* table held.  Index 0 stays unused, and generations start at 1: no key is 0. */
static uint32_t take_slot(void)
{
    if (first_free == 0) {
        uint32_t count = slot_count ? slot_count * 2 : 64;
        slot *more = realloc(slots, count * sizeof *more);
        if (!more)
            return 0;
        slots = more;
        for (uint32_t i = slot_count; i < count; i++)
            slots[i] = (slot){.generation = 1, .next_free = i + 1 < count ? i + 1 : 0};
        first_free = slot_count ? slot_count : 1;
        slot_count = count;
    }
    uint32_t index = first_free;
    first_free = slots[index].next_free;
    return index;
}

/* table held */
static void free_slot(uint32_t index)
{
    slot *s = &slots[index];
    s->subject = NULL;
    s->generation++;
    s->next_free = first_free;
    first_free = index;
}

gzh_companion *gzh_watch_companion(void)
{
    return atomic_load(&on_watch);
}

int gzh_watch_begin(gzh_companion *companion)
{
    gzh_companion *nobody = NULL;
    if (gzh_watch_companion())
        return 0;
    gzh_lock(&table);
    int error = set_open();
    gzh_unlock(&table);
    if (error)
        return -error;
    int rc = gzh_companion_ready(companion);
    if (rc < 0)
        return gzh_watch_companion() ? 0 : rc;
    /* The place is claimed before the semaphore is posted: two greenlets of two threads may both
     * have found it empty. */
    if (atomic_compare_exchange_strong(&on_watch, &nobody, companion))
        gzh_companion_go_on_watch(companion);
    return 0;
}

int gzh_watch_add(int fd, void *subject, const gzh_watch_hooks *hooks, uint64_t *key)
{
    int error = ENOMEM;
    gzh_lock(&table);
    uint32_t index = take_slot();
    if (index) {
        slot *s = &slots[index];
        s->subject = subject;
        s->hooks = hooks;
        s->fd = fd;
        s->armed = false;
        *key = key_of(index);
        error = set_open();
        if (!error)
            error = set_add(index);
        if (error) {
            free_slot(index);
            *key = 0;
        }
    }
    gzh_unlock(&table);
    return -error;
}

void gzh_watch_remove(uint64_t key)
{
    gzh_lock(&table);
    slot *s = find(key);
    if (s) {
        set_remove(s->fd);
        free_slot((uint32_t)key);
    }
    gzh_unlock(&table);
}

static void tell(uint64_t key)
{
    gzh_lock(&table);
    slot *s = find(key);
    void *subject = s ? s->subject : NULL;
    const gzh_watch_hooks *hooks = s ? s->hooks : NULL;
    if (subject)
        hooks->hold(subject);
    gzh_unlock(&table);
    GZH_PAUSE("watch: between event and ready");
    if (subject)
        hooks->ready(subject);
}

void gzh_watch_before_fork(void)
{
    gzh_lock(&table);
}

void gzh_watch_after_fork(void)
{
    gzh_unlock(&table);
}

void gzh_watch_in_child(void)
{
    free(slots);
    slots = NULL;
    slot_count = first_free = 0;
    atomic_store(&on_watch, NULL);
    set_in_child();
    gzh_unlock(&table);
}

#ifndef GZH_WATCH_POLL

#include <sys/epoll.h>

#define BATCH 64

static atomic_int epoll_fd = -1;

static int set_open(void)
{
    if (epoll_fd == -1)
        atomic_store(&epoll_fd, epoll_create1(EPOLL_CLOEXEC));
    return epoll_fd == -1 ? errno : 0;
}

static int set_add(uint32_t index)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = key_of(index)};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, slots[index].fd, &event) == -1 ? errno : 0;
}

static void set_remove(int fd)
{
    struct epoll_event unused = {0};
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, &unused);
}

void gzh_watch_arm(uint64_t key, int fd, gzh_tell what, gzh_tell *told)
{
    static const uint32_t events[] = {
        [GZH_TELL_NEWS] = EPOLLIN | EPOLLET,
        [GZH_TELL_ALL] = EPOLLIN | EPOLLOUT | EPOLLET,
        [GZH_TELL_NOTHING] = 0,
    };
    if (*told == what)
        return;
    *told = what;
    struct epoll_event event = {.events = events[what], .data.u64 = key};
    int error = epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) == -1 ? errno : 0;
    /* Those two: whoever made the socket that we shadow has closed it. */
    GZH_MUST(error == ENOENT || error == EBADF ? 0 : error);
}

void gzh_watch_run(void)
{
    struct epoll_event events[BATCH];
    for (;;) {
        int count = epoll_wait(epoll_fd, events, BATCH, -1);
        if (count == -1 && errno != EINTR)
            gzh_panic(__FILE__, __LINE__, "epoll_wait", errno);
        for (int i = 0; i < count; i++)
            tell(events[i].data.u64);
    }
}

/* (Each edge is told once, to whoever asks first.) */
bool gzh_watch_help(void)
{
    struct epoll_event event;
    if (epoll_wait(epoll_fd, &event, 1, 0) <= 0)
        return false;
    tell(event.data.u64);
    return true;
}

int gzh_watch_fd(void)
{
    return epoll_fd;
}

static void set_in_child(void)
{
    if (epoll_fd != -1)
        close(epoll_fd);
    epoll_fd = -1;
}

#else /* poll(2) */

#include <poll.h>

static gzh_pipe kick = {-1, -1};
static atomic_bool looking; /* inside poll, or about to be: must be kicked */

static int set_open(void)
{
    return kick.read_fd == -1 ? gzh_pipe_open(&kick) : 0;
}

static int set_add(uint32_t index)
{
    (void)index;
    return 0;
}

/* table held */
static void kick_out(void)
{
    if (atomic_exchange(&looking, false))
        gzh_pipe_signal(&kick);
}

static void set_remove(int fd)
{
    (void)fd;
    /* poll must not see the number once it may be another file's. */
    kick_out();
}

void gzh_watch_arm(uint64_t key, int fd, gzh_tell what, gzh_tell *told)
{
    (void)fd;
    /* A level that was consumed cannot be seen: what GZH_TELL_ALL is for, this build lacks. */
    *told = what;
    if (what == GZH_TELL_NOTHING)
        return; /* it rests when it has been told */
    gzh_lock(&table);
    slot *s = find(key);
    if (s && !s->armed) {
        s->armed = true;
        kick_out();
    }
    gzh_unlock(&table);
}

/* table held.  What is armed, behind the kick pipe; how many, or 0 for no memory. */
static uint32_t gather(struct pollfd **set, uint64_t **keys, uint32_t *room)
{
    if (*room < slot_count + 1) {
        struct pollfd *more = realloc(*set, (slot_count + 1) * sizeof *more);
        if (more)
            *set = more;
        uint64_t *more_keys = realloc(*keys, (slot_count + 1) * sizeof *more_keys);
        if (more_keys)
            *keys = more_keys;
        if (!more || !more_keys)
            return 0;
        *room = slot_count + 1;
    }
    (*set)[0] = (struct pollfd){.fd = kick.read_fd, .events = POLLIN};
    uint32_t count = 1;
    for (uint32_t i = 1; i < slot_count; i++)
        if (slots[i].subject && slots[i].armed) {
            (*set)[count] = (struct pollfd){.fd = slots[i].fd, .events = POLLIN};
            (*keys)[count++] = key_of(i);
        }
    return count;
}

void gzh_watch_run(void)
{
    struct pollfd *set = NULL;
    uint64_t *keys = NULL;
    uint32_t room = 0;
    for (;;) {
        gzh_lock(&table);
        uint32_t count = gather(&set, &keys, &room);
        atomic_store(&looking, true);
        gzh_unlock(&table);
        if (count == 0)
            gzh_panic(__FILE__, __LINE__, "the watch's set", ENOMEM);
        int rc = poll(set, count, -1);
        atomic_store(&looking, false);
        if (rc == -1 && errno != EINTR)
            gzh_panic(__FILE__, __LINE__, "poll", errno);
        if (rc <= 0)
            continue;
        if (set[0].revents)
            gzh_pipe_drain(&kick);
        for (uint32_t i = 1; i < count; i++) {
            if (!set[i].revents)
                continue;
            gzh_lock(&table);
            slot *s = find(keys[i]);
            if (s)
                s->armed = false;
            gzh_unlock(&table);
            tell(keys[i]);
        }
    }
}

/* What it has been told lies on its own stack. */
bool gzh_watch_help(void)
{
    return false;
}

int gzh_watch_fd(void)
{
    return -1;
}

static void set_in_child(void)
{
    gzh_pipe_close(&kick);
    atomic_store(&looking, false);
}

#endif
