/* What a test needs of a framework: a check that says what it found, a wait with an end, and a
 * watchdog, so that a lost wake-up is a failure with a place and not a build that hangs.
 * Included once by each test program. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "companion.h"

/* A test never takes that long (the machine may be busy, and a sanitizer slow). */
#ifndef PATIENCE_MS
#define PATIENCE_MS 10000
#endif
#define PROGRAM_SECONDS 55

static const char *volatile current_test = "(none yet)";
/* What a test wants to be seen when it fails; it may read what it should lock. */
static void (*volatile last_words)(void);

__attribute__((unused)) _Noreturn static void give_up(const char *file, int line, const char *what)
{
    int living, parked, on_watch;
    fprintf(stderr, "%s:%d: FAILED in %s: %s\n", file, line, current_test, what);
    alarm(5); /* the last words may find a lock taken */
    if (last_words)
        last_words();
    gzh_companion_counts(&living, &parked, &on_watch);
    fprintf(stderr, "  companions: %d threads, %d parked, number %d on watch\n", living, parked,
            on_watch);
    abort();
}

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition))                                                                \
            give_up(__FILE__, __LINE__, #condition);                                     \
    } while (0)

#define CHECK_IS(actual, expected)                                                       \
    do {                                                                                 \
        long long check_a = (actual), check_e = (expected);                              \
        if (check_a != check_e) {                                                        \
            fprintf(stderr, "  found %lld, not %lld\n", check_a, check_e);               \
            give_up(__FILE__, __LINE__, #actual " == " #expected);                       \
        }                                                                                \
    } while (0)

#define CHECK_TEXT(actual, expected)                                                     \
    do {                                                                                 \
        const char *check_a = (actual), *check_e = (expected);                           \
        if (strcmp(check_a, check_e)) {                                                  \
            fprintf(stderr, "  found \"%s\", not \"%s\"\n", check_a, check_e);           \
            give_up(__FILE__, __LINE__, #actual " is " #expected);                       \
        }                                                                                \
    } while (0)

__attribute__((unused)) static void pause_us(long microseconds)
{
    nanosleep(&(struct timespec){microseconds / 1000000, microseconds % 1000000 * 1000}, NULL);
}

/* For what other threads bring about, and that no descriptor tells. */
#define UNTIL(condition)                                                                 \
    do {                                                                                 \
        uint64_t until_end = gzh_now_ns() + PATIENCE_MS * 1000000ull;                    \
        while (!(condition)) {                                                           \
            if (gzh_now_ns() > until_end)                                                \
                give_up(__FILE__, __LINE__, "it never came that " #condition);           \
            pause_us(50);                                                                \
        }                                                                                \
    } while (0)

static void on_alarm(int number)
{
    (void)number;
    give_up(__FILE__, __LINE__, "the program hangs");
}

/* Once, first of all in main. */
__attribute__((unused)) static void begin_checks(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGALRM, on_alarm);
    alarm(PROGRAM_SECONDS);
}

/* A test is a function whose name is a sentence. */
#define RUN(test)                                                                        \
    do {                                                                                 \
        uint64_t run_begin = gzh_now_ns();                                               \
        current_test = #test;                                                            \
        last_words = NULL;                                                               \
        test();                                                                          \
        printf("%6.2f s  %s\n", (double)(gzh_now_ns() - run_begin) / 1e9, #test);        \
    } while (0)

/* One that some builds cannot run: there it says so, and why. */
#define RUN_IF(possible, test, reason)                                                   \
    do {                                                                                 \
        if (possible)                                                                    \
            RUN(test);                                                                   \
        else                                                                             \
            printf("skipped  %s: %s\n", #test, reason);                                  \
    } while (0)

#endif
