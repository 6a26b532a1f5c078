/* A companion: what one greenlet's helper is in C.  A thread, the semaphore that wakes it, the
 * request that greenlet and companion share, and the completion pipe on which the greenlet waits.
 * watch.c, socket.c and calls.c enter; nothing here knows ZeroMQ. */
#ifndef GZH_COMPANION_H
#define GZH_COMPANION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform.h"

typedef struct gzh_companion gzh_companion;
typedef struct gzh_request gzh_request;

/* What functions answer beside >= 0 and -errno; far from any errno, ZeroMQ's own included. */
#define GZH_WAIT (-0x7fff0001)      /* not yet: without a companion, nothing was queued */
#define GZH_YIELD (-0x7fff0002)     /* the hub must turn before this may go on: gzh_slice, again */
#define GZH_PARTS (-0x7fff0003)     /* slot: parts, and their sizes; the data one behind the other */
#define GZH_WHOLE (-0x7fff0004)     /* slot: whole, which is the caller's now */
#define GZH_FORKED (-0x7fff0005)    /* made by a parent process: untouched */
#define GZH_BUSY (-0x7fff0006)      /* the companion is on watch or in a call: take another */
#define GZH_SEVERAL (-0x7fff0008)   /* slot: several messages, lent to the caller */
#define GZH_LOOK (-0x7fff0009)      /* look at what was shared, then ask again */
#define GZH_NO_THREAD (-0x7fff0007) /* pthread_create's EAGAIN, which would read as "try again" */

/* The life of a request.  Who writes an edge holds the queue mutex of the subject:
 *
 *   IDLE --begin (greenlet)--> QUEUED --grant (owner)--> GRANTED --end (greenlet)--> IDLE
 *                              |  ^                        ^
 *          cancel (greenlet)   |  +--- refused (owner) --+ |
 *          leads back to IDLE  +--- served (owner) --> SERVING
 *
 * A poll waits on several sockets and so under several mutexes: hence the atomic. */
enum { GZH_IDLE, GZH_QUEUED, GZH_SERVING, GZH_GRANTED };

struct gzh_request {
    gzh_companion *companion; /* constant */
    atomic_int state;
    int result;               /* written by the granter before GRANTED; >= 0, or -errno */
    void *subject;            /* the socket, context or proxy that it waits on, if it is one */
    gzh_request *next, *prev; /* in a queue of the subject, under its mutex */
    const gzh_pipe *ear;      /* who is told, if not the greenlet: a proxy's thread; else NULL.  Constant */
    gzh_request *whole;       /* of a poll's node (poll.c): what it is a part of; else NULL.  Constant */
    /* Take the request back, whatever its state; called by its greenlet, or for one whose thread
     * has ended.  0, or GZH_ABANDONED: the companion is still inside a call for it. */
    int (*cancel)(gzh_request *request);
    /* A blocking call: made by the companion's thread, which grants afterwards. */
    void (*run)(gzh_request *request);
    /* What is asked; owned by the request from begin until end or cancel. */
    int kind, option, mask;
    _Atomic uint64_t since; /* on the coarse clock; for people */
    bool has_sent; /* it was taken back, but its message had gone */
    bool abandoned; /* its greenlet has gone while the companion was inside the call */
    size_t size; /* of a pin: its number */
    void *data;
};

/* cancel: the request lives on with its companion; its greenlet takes another. */
#define GZH_ABANDONED 1

/* From now on a fork counts in gzh_generation.  Before anything is made that remembers it. */
void gzh_companion_heed_forks(void);
/* A companion for a greenlet of the calling thread, from the park or new.  Its thread is started
 * too while fewer than the limit live.  0; -EMFILE, -ENFILE or -ENOMEM; GZH_NO_THREAD if none is on
 * watch either. */
int gzh_companion_open(gzh_companion **companion);
/* The descriptor that gets readable when the request is granted. */
int gzh_companion_fd(const gzh_companion *companion);
/* A number for people: 1 is the first companion of the process. */
int gzh_companion_number(const gzh_companion *companion);
/* Its greenlet is done with it: cancels what waits, then parks it, or lets it end; one that is on
 * watch or inside a blocking call does that when it gets out.  Never blocks; any thread. */
void gzh_companion_close(gzh_companion *companion);
/* A greenlet's exit from a wait that it does not want any more; see gzh_request.cancel. */
int gzh_companion_cancel(gzh_companion *companion);
/* Of a send that was cancelled: has its message gone all the same? */
bool gzh_companion_has_sent(gzh_companion *companion);

/* Its request, to be filled in; NULL while that is in use, and for a companion of a parent process:
 * then take another (GZH_BUSY). */
gzh_request *gzh_companion_free_request(gzh_companion *companion);
/* Its request, whatever its state. */
gzh_request *gzh_companion_request(gzh_companion *companion);
/* Its thread runs, or was started now.  0, GZH_NO_THREAD or -errno. */
int gzh_companion_ready(gzh_companion *companion);
/* Wake its thread to call request->run; needs gzh_companion_ready before. */
void gzh_companion_run(gzh_companion *companion);

/* Out of a list that is linked by `next` alone.  False: it was not in it, or not any more. */
bool gzh_request_remove(gzh_request **list, gzh_request *request);
/* The last touch, by another than its greenlet, of a request that is out of its queue.  The caller holds
 * the subject's queue mutex, which the greenlet takes before it lets the request go.  Of the nodes of a
 * poll only the first tells. */
void gzh_grant(gzh_request *request, int result);
/* The greenlet's side of that: take the byte. */
void gzh_companion_drain(gzh_companion *companion);
/* Made by a parent process? */
bool gzh_companion_is_strange(const gzh_companion *companion);

/* For people: the requests that wait at this moment.  Fills in up to `room`, and says how many there
 * are.  Nothing is held of what the addresses name.  Any thread. */
typedef struct {
    uintptr_t companion;
    int number;
    bool granted;       /* and its greenlet has not run since */
    uint64_t waited_ns; /* to a few milliseconds */
} gzh_waiting;
int gzh_companion_waiting(gzh_waiting *waiting, int room);
/* How many companions' threads live; how many are parked; the number on watch, or 0. */
void gzh_companion_counts(int *living, int *parked, int *on_watch);
/* Beyond that many, a thread is started only when it first has work.  Returns the old limit. */
int gzh_companion_limit(int limit);

#endif
