/* DESIGN
 *
 * One mutex, `registry`, guards the list of all companions, the park and every field marked R
 * below.  It is held for a few instructions, never across a system call that can block.  It is the
 * innermost: a queue mutex may be held when it is taken, and nothing is taken under it.
 *
 *   field                who may touch it
 *   ------------------   ----------------------------------------------------------------------
 *   request, done        the greenlet; a granter under the queue mutex (see companion.h)
 *   job                  written before the semaphore is posted, read by the thread after it
 *   holders, keeper      R   the helper (keeper) and the thread each hold it; the last one frees
 *   has_thread, jobs     R
 *   home, orphan         R   the OS thread whose greenlet has it; that has ended
 *   left                 the greenlet: a cancel said GZH_ABANDONED, and from then on the request
 *                        is the thread's alone, which may free what it speaks of at any moment
 *
 * A thread is inside exactly one of: its semaphore, the watch (for good: whoever is on watch
 * stays there while the process lives), or request.run.  A companion that is not in its semaphore
 * when its helper closes it parks itself when it gets there. */
#include "companion.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "watch.h"

/* How many companions stay in the park, and how many it holds for a moment (in nanoseconds): short
 * greenlets come and go by the thousand, and to start a thread for each costs as much as all it does.  Where
 * descriptors are few it leaves three of four to others. */
#define PARK_ROOM 4
#define PARK_MOST 256
#define PARK_FREELY 32 /* so many without a look at that */
#define PARK_PART 4
#define A_MOMENT 200000000
#define THREAD_LIMIT 256

enum job { JOB_NONE, JOB_RUN, JOB_WATCH, JOB_END };

struct gzh_companion {
    gzh_request request;
    gzh_pipe done;
    gzh_sem wake;
    atomic_int job;
    int number;
    unsigned generation;
    bool has_thread, keeper, orphan, left;
    int jobs; /* given and not finished */
    int holders;
    const void *home;
    gzh_companion *next, *prev; /* of all */
    gzh_companion *next_parked;
};

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static gzh_companion *all, *park;
static int living, parked_count, thread_limit = THREAD_LIMIT, last_number;
static bool swept;        /* a thread sees to it that those in the park that nobody needs end; R */
static int fewest_parked; /* since it last did; R */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_end;
/* Its address tells one OS thread from another. */
static _Thread_local char here;

/* ---- one companion ---- */

static gzh_companion *companion_new(int *error)
{
    gzh_companion *c = calloc(1, sizeof *c);
    *error = ENOMEM;
    if (!c)
        return NULL;
    *error = gzh_pipe_open(&c->done);
    if (*error) {
        free(c);
        return NULL;
    }
    gzh_sem_init(&c->wake);
    c->request.companion = c;
    return c;
}

static void companion_free(gzh_companion *c)
{
    gzh_pipe_close(&c->done);
    gzh_sem_destroy(&c->wake);
    free(c);
}

/* registry held */
static void enlist(gzh_companion *c)
{
    c->next = all;
    c->prev = NULL;
    if (all)
        all->prev = c;
    all = c;
}

/* registry held.  True: nobody holds it any more, free it outside. */
static bool let_go(gzh_companion *c)
{
    if (--c->holders > 0)
        return false;
    if (c->prev)
        c->prev->next = c->next;
    else
        all = c->next;
    if (c->next)
        c->next->prev = c->prev;
    return true;
}

static void wake_for(gzh_companion *c, enum job job)
{
    atomic_store_explicit(&c->job, job, memory_order_relaxed); /* the semaphore orders it */
    gzh_sem_post(&c->wake);
}

static void give_job(gzh_companion *c, enum job job)
{
    gzh_lock(&registry);
    c->jobs++;
    gzh_unlock(&registry);
    wake_for(c, job);
}

/* registry held.  So many of the park end: those that have been in it for longest. */
static void end_parked(int count)
{
    gzh_companion **at = &park;
    for (int stay = parked_count - count; stay > 0; stay--)
        at = &(*at)->next_parked;
    gzh_companion *c = *at;
    *at = NULL;
    for (gzh_companion *next; c; c = next) {
        next = c->next_parked;
        parked_count--;
        wake_for(c, JOB_END);
    }
}

static void *sweep(void *argument)
{
    for (bool more = true; more;) {
        gzh_sleep(A_MOMENT);
        gzh_lock(&registry);
        if (fewest_parked > PARK_ROOM)
            end_parked(fewest_parked - PARK_ROOM); /* so many were not needed all the while */
        fewest_parked = parked_count;
        more = swept = parked_count > PARK_ROOM;
        gzh_unlock(&registry);
    }
    return argument;
}

/* registry held */
static bool is_park_full(void)
{
    return parked_count >= PARK_MOST ||
           (parked_count >= PARK_FREELY && parked_count >= gzh_descriptor_limit() / PARK_PART);
}

/* registry held; the thread is in its semaphore, or about to be, and has no keeper.  An orphan's
 * helper may still hold it, and close it one day: it must not be another's by then.
 * True: when registry is free, begin_to_sweep. */
static bool park_or_end(gzh_companion *c)
{
    if (c->orphan || is_park_full()) {
        wake_for(c, JOB_END);
        return false;
    }
    c->next_parked = park;
    park = c;
    parked_count++;
    if (swept || parked_count <= PARK_ROOM)
        return false;
    swept = true;
    fewest_parked = parked_count;
    return true;
}

static void begin_to_sweep(void)
{
    if (gzh_thread_start(sweep, NULL) == 0)
        return;
    gzh_lock(&registry);
    swept = false;
    if (parked_count > PARK_ROOM)
        end_parked(parked_count - PARK_ROOM);
    gzh_unlock(&registry);
}

static void *companion_main(void *argument)
{
    gzh_companion *c = argument;
    for (;;) {
        gzh_sem_wait(&c->wake);
        enum job job = (enum job)atomic_load_explicit(&c->job, memory_order_relaxed);
        if (job == JOB_WATCH)
            gzh_watch_run();
        else if (job == JOB_RUN)
            c->request.run(&c->request);
        else
            break;
        gzh_lock(&registry);
        bool many = --c->jobs == 0 && !c->keeper && park_or_end(c);
        gzh_unlock(&registry);
        if (many)
            begin_to_sweep();
    }
    gzh_lock(&registry);
    living--;
    c->has_thread = false; /* its hold ends, an orphan's helper may still have its own */
    bool last = let_go(c);
    gzh_unlock(&registry);
    if (last)
        companion_free(c);
    return NULL;
}

int gzh_companion_ready(gzh_companion *c)
{
    if (c->has_thread) /* only its greenlet starts it, and as long as that has it, it does not end */
        return 0;
    gzh_lock(&registry);
    c->holders++;
    living++;
    gzh_unlock(&registry);
    int error = gzh_thread_start(companion_main, c);
    gzh_lock(&registry);
    if (error) {
        c->holders--;
        living--;
    } else
        c->has_thread = true;
    gzh_unlock(&registry);
    return error == EAGAIN ? GZH_NO_THREAD : -error;
}

void gzh_companion_run(gzh_companion *c)
{
    give_job(c, JOB_RUN);
}

bool gzh_request_remove(gzh_request **list, gzh_request *r)
{
    while (*list && *list != r)
        list = &(*list)->next;
    bool found = *list != NULL;
    if (found)
        *list = r->next;
    return found;
}

/* Of a poll's node: is it the first of its poll?  Then the whole is granted too (poll.c). */
static bool is_first(const gzh_request *node)
{
    int queued = GZH_QUEUED;
    return atomic_compare_exchange_strong(&node->whole->state, &queued, GZH_GRANTED);
}

void gzh_grant(gzh_request *r, int result)
{
    r->result = result;
    atomic_store(&r->state, GZH_GRANTED);
    if (!r->whole || is_first(r))
        gzh_pipe_signal(r->ear ? r->ear : &r->companion->done);
}

void gzh_companion_drain(gzh_companion *c)
{
    gzh_pipe_drain(&c->done);
}

bool gzh_companion_is_strange(const gzh_companion *c)
{
    return c->generation != gzh_generation;
}

int gzh_companion_fd(const gzh_companion *c)
{
    return c->done.read_fd;
}

int gzh_companion_number(const gzh_companion *c)
{
    return c->number;
}

gzh_request *gzh_companion_request(gzh_companion *c)
{
    return &c->request;
}

gzh_request *gzh_companion_free_request(gzh_companion *c)
{
    if (c->generation != gzh_generation || c->left || atomic_load(&c->request.state) != GZH_IDLE)
        return NULL;
    atomic_store_explicit(&c->request.since, gzh_now_coarse_ns(), memory_order_relaxed);
    c->request.has_sent = false;
    return &c->request;
}

/* ---- the ends: of a wait, of a greenlet, of an OS thread, of a parent ---- */

int gzh_companion_cancel(gzh_companion *c)
{
    if (c->generation != gzh_generation)
        return 0;
    if (c->left)
        return GZH_ABANDONED;
    int rc = 0;
    if (atomic_load(&c->request.state) != GZH_IDLE) {
        GZH_PAUSE("cancel: seen, not taken back");
        rc = c->request.cancel(&c->request);
    }
    c->left = rc == GZH_ABANDONED;
    if (!c->left)
        gzh_pipe_drain(&c->done); /* a byte that nobody reads would wake the next wait */
    return rc;
}

bool gzh_companion_has_sent(gzh_companion *c)
{
    return c->request.has_sent;
}

/* registry held: the helper's hold ends.  *many: what park_or_end says. */
static bool drop_keeper(gzh_companion *c, bool *many)
{
    c->keeper = false;
    *many = c->has_thread && c->jobs == 0 && park_or_end(c);
    return let_go(c);
}

void gzh_companion_close(gzh_companion *c)
{
    bool last, many = false;
    if (c->generation != gzh_generation) { /* a parent's: its thread is not in this process */
        companion_free(c);
        return;
    }
    gzh_lock(&registry);
    bool orphan = c->orphan; /* then thread_ended cancels */
    c->home = NULL;
    gzh_unlock(&registry);
    if (!orphan)
        gzh_companion_cancel(c);
    gzh_lock(&registry);
    last = orphan ? let_go(c) : drop_keeper(c, &many);
    gzh_unlock(&registry);
    if (last)
        companion_free(c);
    if (many)
        begin_to_sweep();
}

/* An OS thread ends: its greenlets will never run again, and their `finally` neither. */
static void thread_ended(void *token)
{
    for (;;) {
        gzh_companion *c;
        gzh_lock(&registry);
        for (c = all; c && c->home != token; c = c->next)
            ;
        if (c) {
            c->home = NULL;
            c->orphan = true;
            c->holders++; /* so that it outlives a close by a collector elsewhere */
        }
        gzh_unlock(&registry);
        if (!c)
            return;
        bool left = gzh_companion_cancel(c) == GZH_ABANDONED;
        gzh_lock(&registry);
        /* Python's own close, if it ever comes, only lets go: of some threads that have ended, gevent keeps
         * all that their greenlets had.  Nobody waits on the pipe any more, nor is anything granted. */
        if (!left)
            gzh_pipe_close(&c->done);
        c->keeper = false;
        if (c->has_thread && c->jobs == 0)
            wake_for(c, JOB_END);
        bool last = let_go(c);
        gzh_unlock(&registry);
        if (last)
            companion_free(c);
    }
}

static void before_fork(void)
{
    gzh_lock(&registry);
    gzh_watch_before_fork();
}

static void after_fork(void)
{
    gzh_watch_after_fork();
    gzh_unlock(&registry);
}

static void in_child(void)
{
    gzh_watch_in_child();
    for (gzh_companion *c = all, *next; c; c = next) {
        next = c->next;
        /* Its greenlet, copied, still waits on the number; its pipe must be another. */
        if (c->holders > (c->has_thread ? 1 : 0)) {
            if (gzh_pipe_renew(&c->done) != 0)
                gzh_pipe_close(&c->done);
        } else
            companion_free(c);
    }
    all = park = NULL;
    living = parked_count = 0;
    swept = false;
    gzh_unlock(&registry); /* the one thread here is the one that locked it */
}

static void set_up(void)
{
    GZH_MUST(pthread_key_create(&thread_end, thread_ended));
    gzh_on_fork(before_fork, after_fork, in_child);
}

void gzh_companion_heed_forks(void)
{
    GZH_MUST(pthread_once(&once, set_up));
}

/* ---- a greenlet's beginning ---- */

int gzh_companion_open(gzh_companion **companion)
{
    gzh_companion_heed_forks();
    int error = pthread_setspecific(thread_end, &here);
    if (error)
        return -error;
    gzh_lock(&registry);
    gzh_companion *c = park;
    if (c) {
        park = c->next_parked;
        if (--parked_count < fewest_parked)
            fewest_parked = parked_count;
        c->left = false;
        c->holders++;
        c->keeper = true;
        c->home = &here;
    }
    bool start = !c && living < thread_limit;
    gzh_unlock(&registry);
    if (!c) {
        c = companion_new(&error);
        if (!c)
            return -error;
        c->generation = gzh_generation;
        c->holders = 1;
        c->keeper = true;
        c->home = &here;
        gzh_lock(&registry);
        c->number = ++last_number;
        enlist(c);
        gzh_unlock(&registry);
        int rc = start ? gzh_companion_ready(c) : 0;
        if (rc < 0 && !gzh_watch_companion()) {
            gzh_companion_close(c);
            return rc;
        }
    }
    *companion = c;
    return 0;
}

void gzh_companion_go_on_watch(gzh_companion *c)
{
    give_job(c, JOB_WATCH);
}

void gzh_companion_counts(int *threads, int *parked, int *on_watch)
{
    gzh_companion *watcher = gzh_watch_companion();
    gzh_lock(&registry);
    *threads = living;
    *parked = parked_count;
    *on_watch = watcher ? watcher->number : 0;
    gzh_unlock(&registry);
}

int gzh_companion_waiting(gzh_waiting *waiting, int room)
{
    int count = 0;
    uint64_t now = gzh_now_coarse_ns();
    gzh_lock(&registry);
    for (gzh_companion *c = all; c; c = c->next) {
        int state = atomic_load(&c->request.state);
        if (state == GZH_IDLE)
            continue;
        if (count < room) {
            uint64_t since = atomic_load_explicit(&c->request.since, memory_order_relaxed);
            waiting[count] = (gzh_waiting){(uintptr_t)c, c->number, state == GZH_GRANTED,
                                           now > since ? now - since : 0};
        }
        count++;
    }
    gzh_unlock(&registry);
    return count;
}

int gzh_companion_limit(int limit)
{
    gzh_lock(&registry);
    int before = thread_limit;
    thread_limit = limit;
    gzh_unlock(&registry);
    return before;
}
