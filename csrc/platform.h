/* What differs from system to system lives here: semaphores, the completion pipe, starting a
 * thread, the clock, fork, and the end of the world.  Everybody enters; nobody else has an #if
 * for a system.  Nothing here knows ZeroMQ, Python or the other rooms. */
#ifndef GZH_PLATFORM_H
#define GZH_PLATFORM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__APPLE__)
typedef struct { pthread_mutex_t mutex; pthread_cond_t cond; unsigned count; } gzh_sem;
#else
#include <semaphore.h>
typedef sem_t gzh_sem;
#endif

/* The impossible happened: say where, and stop.  The world's errors are returned, never this. */
_Noreturn void gzh_panic(const char *file, int line, const char *what, int error);
#define GZH_MUST(call)                                                                   \
    do {                                                                                 \
        int must_error = (call);                                                         \
        if (must_error != 0)                                                             \
            gzh_panic(__FILE__, __LINE__, #call, must_error);                            \
    } while (0)

/* A mutex.  Held for a few instructions by all who take one: it blocks no longer than that. */
static inline void gzh_lock(pthread_mutex_t *mutex)
{
    GZH_MUST(pthread_mutex_lock(mutex));
}

static inline void gzh_unlock(pthread_mutex_t *mutex)
{
    GZH_MUST(pthread_mutex_unlock(mutex));
}

/* A place where a test may stop a thread, to force an interleaving.  Nothing in other builds. */
#ifdef GZH_TEST
extern void (*gzh_pause_hook)(const char *place);
#define GZH_PAUSE(place)                                                                 \
    do {                                                                                 \
        if (gzh_pause_hook)                                                              \
            gzh_pause_hook(place);                                                       \
    } while (0)
#else
#define GZH_PAUSE(place) ((void)0)
#endif

/* Semaphore.  Any thread may post; wait blocks. */
void gzh_sem_init(gzh_sem *sem);
void gzh_sem_post(gzh_sem *sem);
void gzh_sem_wait(gzh_sem *sem);
void gzh_sem_destroy(gzh_sem *sem);

/* Completion pipe: an eventfd where there is one (both ends are then one descriptor).
 * None of these blocks.  open and renew return 0 or an errno. */
typedef struct { int read_fd, write_fd; } gzh_pipe;
int gzh_pipe_open(gzh_pipe *pipe);
void gzh_pipe_signal(const gzh_pipe *pipe);
void gzh_pipe_drain(const gzh_pipe *pipe);
void gzh_pipe_close(gzh_pipe *pipe);
/* In a forked child: put fresh descriptors behind the same numbers, so that the child can
 * neither read nor write what it shares with its parent. */
int gzh_pipe_renew(gzh_pipe *pipe);

/* Start a detached thread with a small stack and every signal blocked but those of crashes.  0 or an errno. */
int gzh_thread_start(void *(*run)(void *), void *argument);
/* Would this process get that many more descriptors and threads now?  0, EMFILE, or EAGAIN.
 * libzmq aborts where it cannot start its own; so ask before it does. */
int gzh_probe_limits(int descriptors, int threads);
/* How many descriptors this process may have at most. */
int gzh_descriptor_limit(void);

/* Monotonic.  The coarse one ticks every few milliseconds, and is nearly free. */
uint64_t gzh_now_ns(void);
uint64_t gzh_now_coarse_ns(void);
void gzh_sleep(uint64_t nanoseconds);
/* One turn of a spin loop. */
void gzh_relax(void);

/* From now on this signal of the process's writes a byte to `fd`, wherever it finds the program, and
 * does nothing else.  0 or an errno.  Any thread; again for another descriptor. */
int gzh_signal_writes(int number, int fd);

/* Large messages come and go from now on: have malloc keep the memory of a few.  By itself glibc's gives the pages
 * of nearly every one back to the system, to get new ones, one by one, for the next; it learns from the largest
 * block that was freed, unless the user has set its thresholds.  Any thread; the first call does it. */
#define GZH_LARGE 65536
void gzh_keep_memory(void);

/* How many forks lie between the first process and this one: what was made under another number
 * belongs to a parent and may not be touched.  Written only in a child that has one thread. */
extern unsigned gzh_generation;
/* Call once.  prepare and parent run in the process that forks, child in the new one. */
void gzh_on_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

#endif
