/* DESIGN.  Every branch by system is taken here, at the level of whole functions. */
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* A resolver in libc, called by a bind, is the hungriest that runs on it. */
#define STACK_SIZE (256 * 1024)

unsigned gzh_generation;

#ifdef GZH_TEST
void (*gzh_pause_hook)(const char *place);
#endif

_Noreturn void gzh_panic(const char *file, int line, const char *what, int error)
{
    fprintf(stderr, "gzmqhelper: %s:%d: %s: %s\n", file, line, what, strerror(error));
    abort();
}

/* ---- semaphore ---- */

#if defined(__APPLE__) /* has no unnamed POSIX semaphores */

void gzh_sem_init(gzh_sem *sem)
{
    GZH_MUST(pthread_mutex_init(&sem->mutex, NULL));
    GZH_MUST(pthread_cond_init(&sem->cond, NULL));
    sem->count = 0;
}

void gzh_sem_post(gzh_sem *sem)
{
    gzh_lock(&sem->mutex);
    sem->count++;
    GZH_MUST(pthread_cond_signal(&sem->cond));
    gzh_unlock(&sem->mutex);
}

void gzh_sem_wait(gzh_sem *sem)
{
    gzh_lock(&sem->mutex);
    while (sem->count == 0)
        GZH_MUST(pthread_cond_wait(&sem->cond, &sem->mutex));
    sem->count--;
    gzh_unlock(&sem->mutex);
}

void gzh_sem_destroy(gzh_sem *sem)
{
    pthread_cond_destroy(&sem->cond);
    pthread_mutex_destroy(&sem->mutex);
}

#else

void gzh_sem_init(gzh_sem *sem)
{
    GZH_MUST(sem_init(sem, 0, 0) == 0 ? 0 : errno);
}

void gzh_sem_post(gzh_sem *sem)
{
    GZH_MUST(sem_post(sem) == 0 ? 0 : errno);
}

void gzh_sem_wait(gzh_sem *sem)
{
    while (sem_wait(sem) == -1)
        GZH_MUST(errno == EINTR ? 0 : errno);
}

void gzh_sem_destroy(gzh_sem *sem)
{
    sem_destroy(sem);
}

#endif

/* ---- completion pipe ---- */

#if defined(__linux__) || defined(__FreeBSD__)
#include <sys/eventfd.h>

int gzh_pipe_open(gzh_pipe *pipe)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd == -1)
        return errno;
    pipe->read_fd = pipe->write_fd = fd;
    return 0;
}

#define SIGNAL_SIZE sizeof(uint64_t)

#else

int gzh_pipe_open(gzh_pipe *ends)
{
    int fds[2];
    if (pipe(fds) == -1)
        return errno;
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
    }
    ends->read_fd = fds[0];
    ends->write_fd = fds[1];
    return 0;
}

#define SIGNAL_SIZE 1

#endif

void gzh_pipe_signal(const gzh_pipe *pipe)
{
    uint64_t one = 1;
    ssize_t rc;
    while ((rc = write(pipe->write_fd, &one, SIGNAL_SIZE)) == -1 && errno == EINTR)
        ;
    /* A full pipe is a readable pipe: its reader is told all the same. */
    if (rc == -1 && errno != EAGAIN)
        gzh_panic(__FILE__, __LINE__, "write to a completion pipe (was its descriptor closed by "
                  "someone who does not own it?)", errno);
}

void gzh_pipe_drain(const gzh_pipe *pipe)
{
    uint64_t count;
    while (read(pipe->read_fd, &count, SIGNAL_SIZE) == -1 && errno == EINTR)
        ;
}

void gzh_pipe_close(gzh_pipe *pipe)
{
    if (pipe->read_fd == -1)
        return;
    close(pipe->read_fd);
    if (pipe->write_fd != pipe->read_fd)
        close(pipe->write_fd);
    pipe->read_fd = pipe->write_fd = -1;
}

static int put_behind(int fresh, int fd)
{
    /* (Nothing else runs in a child that was just forked, so close-on-exec may come a step later.) */
    return dup2(fresh, fd) == -1 || fcntl(fd, F_SETFD, FD_CLOEXEC) == -1 ? errno : 0;
}

int gzh_pipe_renew(gzh_pipe *pipe)
{
    gzh_pipe fresh = {-1, -1};
    int error = gzh_pipe_open(&fresh);
    if (error)
        return error;
    error = put_behind(fresh.read_fd, pipe->read_fd);
    if (!error && pipe->write_fd != pipe->read_fd)
        error = put_behind(fresh.write_fd, pipe->write_fd);
    gzh_pipe_close(&fresh);
    return error;
}

/* ---- threads, limits, time ---- */

static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};

int gzh_thread_start(void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (error)
        return error;
    GZH_MUST(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED));
    GZH_MUST(pthread_attr_setstacksize(&attributes, STACK_SIZE));
    /* Signals are the hub's: a companion that took one would wake nobody with it.  Not those that say
     * that this very thread has crashed: blocked, they would end the process without a word. */
    sigfillset(&all);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        sigdelset(&all, crashes[i]);
    GZH_MUST(pthread_sigmask(SIG_SETMASK, &all, &before));
    error = pthread_create(&thread, &attributes, run, argument);
    GZH_MUST(pthread_sigmask(SIG_SETMASK, &before, NULL));
    pthread_attr_destroy(&attributes);
    return error;
}

static void *wait_for_end(void *sem)
{
    gzh_sem_wait(sem);
    return NULL;
}

/* glibc keeps twice as much of each arena, and gets only what is larger than this from the system each time. */
#define BLOCK (8 << 20)

void gzh_keep_memory(void)
{
    static atomic_flag done = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&done))
        return;
    void *volatile block = malloc(BLOCK); /* else the compiler sees that it is not needed */
    free(block);
}

int gzh_probe_limits(int descriptors, int threads)
{
    int fds[64], opened = 0, started = 0, error = 0;
    pthread_t thread[64];
    gzh_sem end;
    descriptors = descriptors > 64 ? 64 : descriptors;
    threads = threads > 64 ? 64 : threads;
    while (opened < descriptors && !error) {
        int fd = open("/", O_RDONLY | O_CLOEXEC);
        if (fd == -1)
            error = errno;
        else
            fds[opened++] = fd;
    }
    while (opened > 0)
        close(fds[--opened]);
    if (error)
        return error;
    gzh_sem_init(&end);
    while (started < threads && !error) {
        error = pthread_create(&thread[started], NULL, wait_for_end, &end);
        if (!error)
            started++;
    }
    for (int i = 0; i < started; i++)
        gzh_sem_post(&end);
    for (int i = 0; i < started; i++)
        GZH_MUST(pthread_join(thread[i], NULL));
    gzh_sem_destroy(&end);
    return error;
}

int gzh_descriptor_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < INT_MAX ? (int)limit.rlim_cur : INT_MAX;
}

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t gzh_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

#ifdef CLOCK_MONOTONIC_COARSE
#define COARSE CLOCK_MONOTONIC_COARSE
#else
#define COARSE CLOCK_MONOTONIC
#endif

uint64_t gzh_now_coarse_ns(void)
{
    return read_clock(COARSE);
}

void gzh_sleep(uint64_t nanoseconds)
{
    struct timespec left = {(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
    while (nanosleep(&left, &left) == -1 && errno == EINTR)
        ;
}

#if defined(__x86_64__) || defined(__i386__)

void gzh_relax(void)
{
    __builtin_ia32_pause();
}

#else

void gzh_relax(void)
{
}

#endif

/* ---- signals ---- */

static volatile sig_atomic_t signal_fd = -1;

static void write_byte(int number)
{
    int error = errno;
    char byte = (char)number;
    if (write(signal_fd, &byte, 1) == -1) {
        /* a full pipe: its reader has enough to read */
    }
    errno = error;
}

int gzh_signal_writes(int number, int fd)
{
    struct sigaction action = {.sa_handler = write_byte, .sa_flags = SA_RESTART | SA_ONSTACK};
    signal_fd = fd;
    sigfillset(&action.sa_mask);
    return sigaction(number, &action, NULL) == -1 ? errno : 0;
}

/* ---- fork ---- */

static void (*child_hook)(void);

static void in_child(void)
{
    gzh_generation++;
    child_hook();
}

void gzh_on_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    child_hook = child;
    GZH_MUST(pthread_atfork(prepare, parent, in_child));
}
