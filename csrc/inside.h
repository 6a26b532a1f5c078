/* What the files of one room share: the struct, and who may touch what.  socket.c, ask.c, batch.c,
 * send.c, poll.c, linger.c and the proxies' files include this, and nobody else.
 *
 * Two levels of exclusion.  The queue mutex guards the fields marked Q and is held for a few
 * instructions; ownership (`owned`, itself marked Q) is the right to be inside libzmq with this
 * socket, and may be held for seconds.  libzmq lets a socket move between threads if a full fence
 * lies between them: ownership changes hands under the mutex, which is one.
 *
 *   field                        who may touch it
 *   --------------------------   ---------------------------------------------------------------
 *   wire, loader                 the owner
 *   key, told                    the owner; the watch, or who helps it, under the mutex, while
 *                                there is no owner
 *   queues, ready list, counts,
 *   owned, again, closing, ...   Q
 *   wire.type, fd, generation    constant
 *   timeout, relaxed, monitored  written by an owner, read by anyone: atomic
 *   asked, just_sent, awaited,
 *   crowded                      any thread, as a hint: atomic */
#ifndef GZH_INSIDE_H
#define GZH_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "load.h"
#include "socket.h"
#include "watch.h"
#include "wire.h"

/* What a request asks for.  HOLD: to be the owner; its thread is told when it is, and has an `ear` for
 * that. */
enum { RECEIVE, SEND, POLL, CALL, HOLD };

typedef struct { gzh_request *head, *tail; int count; } queue;

struct gzh_socket {
    pthread_mutex_t mutex;
    gzh_wire wire;
    gzh_loader loader;
    int fd;
    unsigned generation;
    bool shadow;
    atomic_int holders; /* Python, each request, each event on its way */
    atomic_int timeout[2];
    atomic_bool relaxed;
    atomic_bool asked; /* something was sent since a message was last taken: an answer may be near */
    atomic_bool just_sent; /* a REQ; nobody has tried to receive since, nor was told of an answer */
    atomic_bool awaited; /* the message that was taken last: its greenlet slept until it came */
    atomic_bool crowded; /* whoever received last was not the only one that wanted to */
    atomic_bool monitored; /* was, at least: then zmq_socket_monitor may block */

    uint64_t key;
    gzh_tell told;

    bool owned, again, closing, set_linger;
    bool blocked; /* the owner is a companion, in a blocking call or a proxy */
    int linger;
    /* How many messages the last call took, 0: a single one; and how many one may take, 0: never more. */
    int batch, most;
    bool keeps; /* no more batches: somebody has asked for GZH_KEEP, or for one by one */
    uint64_t batch_began;
    pthread_t reader;      /* the first thread that received */
    bool has_reader, two_readers; /* two: no more batches */
    unsigned long look;           /* what each other thread must have looked at */
    bool lent; /* somebody takes several, or has them and has not shared them, or put them back, yet */
    pthread_t borrower;
    queue receivers, senders, pollers, calls;
    gzh_message *ready_head, *ready_tail;
    int ready, granted, taken;
    /* Messages received while several wanted them, since there was none last, and how many wanted them at
     * most. */
    long crowd;
    int sharers;
};

static inline void gzh_end_crowd(gzh_socket *s)
{
    s->crowd = s->sharers = 0;
}

/* Where not said otherwise, the mutex is held on entry and on exit. */

static inline void lock(gzh_socket *s)
{
    gzh_lock(&s->mutex);
}

static inline void unlock(gzh_socket *s)
{
    gzh_unlock(&s->mutex);
}

/* REQ and REP, which send and receive by turns. */
static inline bool is_lock_step(const gzh_socket *s)
{
    return s->wire.type == ZMQ_REQ || s->wire.type == ZMQ_REP;
}

/* 0: the caller is owner now.  -ENOTSOCK: closed.  GZH_WAIT: another is owner, and stays it.  Called
 * without the mutex, which is held afterwards in every case. */
int gzh_claim(gzh_socket *s);
/* Give ownership up: to a close, to a companion with a blocking call, or, when all that wait have
 * been served as far as they can be, to nobody.  Lets the mutex go meanwhile.  `dry`: the owner's
 * last call was a receive, and there was nothing. */
void gzh_release(gzh_socket *s, bool dry);

/* ask.c.  The request of this companion, free to be filled in; NULL: it is in use, or on watch and
 * wanted for a call.  Free what it carries. */
gzh_request *gzh_new_request(gzh_socket *s, gzh_companion *companion, int kind);
void gzh_free_data(gzh_request *r);
int gzh_enqueue(gzh_socket *s, gzh_request *r);
/* It cannot be completed now: what becomes of this call?  -EAGAIN, GZH_WAIT, or queued, if it has a
 * request: by the owner, who serves it before ownership goes. */
int gzh_not_yet(gzh_socket *s, gzh_request *r, bool nonblock);
/* The same where another is owner, who is to see it then. */
int gzh_found_owner(gzh_socket *s, gzh_request *r, bool nonblock);
/* What every call begins with, without the mutex: 0, or the code to return.  grace: for how many
 * nanoseconds after the end of the slice it need not yield yet. */
int gzh_enter(const gzh_socket *s, const gzh_companion *companion, bool nonblock, uint64_t grace);
bool gzh_may_not_wait(const gzh_socket *s, int flags, int direction);
/* Has the calling thread's hub turned just now, as far as is known here? */
bool gzh_has_turned(void);

void gzh_append(queue *q, gzh_request *r);
void gzh_unlink(queue *q, gzh_request *r);
void gzh_append_ready(gzh_socket *s, gzh_message *m);
void gzh_prepend_ready(gzh_socket *s, gzh_message *m);
gzh_message *gzh_take_ready(gzh_socket *s);
/* One that was just received may have to wait for its turn: those in the list are granted and have not
 * been taken.  It goes to the end, the caller takes the head, and they take what follows, so that all is
 * taken in order.  NULL: there are none, and it is left as it is. */
gzh_message *gzh_rotate_ready(gzh_socket *s, gzh_message *newest);

/* Give waiting receivers what lies in the ready list for nobody. */
void gzh_grant_ready(gzh_socket *s);
/* The same, and what is left then is for those who poll, and for a proxy that has the socket. */
void gzh_offer_ready(gzh_socket *s);
/* Those that wait may be served now, and no signal of libzmq's tells it.  Lets the mutex go. */
void gzh_look_again(gzh_socket *s);
/* Owner: may a REQ or REP send?  Not while a reply (or request) has arrived that nobody has taken yet; a
 * relaxed REQ drops that.  0 or -EFSM.  Lets the mutex go meanwhile. */
int gzh_in_step(gzh_socket *s);
/* Owner, without the mutex: gzh_wire_put, after which an answer may be near. */
int gzh_put(gzh_socket *s, gzh_message *m);
/* The same of one part, which the caller closes. */
int gzh_put_part(gzh_socket *s, zmq_msg_t *part);
/* Owner: receive for those who wait; false if libzmq had nothing more.  Lets the mutex go. */
bool gzh_serve_receivers(gzh_socket *s);
/* batch.c.  Owner: how many messages one call may take, by the socket's type and options (mutex not
 * held); and by what has been going on: the next. */
void gzh_heed_batch(gzh_socket *s);
void gzh_lend(gzh_socket *s); /* to the calling thread */
int gzh_next_batch(gzh_socket *s, int flags);
/* Owner, mutex not held: m and, as far as they are there, others like it, `most` in all.  m is empty
 * afterwards.  *odd: one that is not like it; *dry: there was no other.  Returns as gzh_recv does. */
int gzh_take_several(gzh_socket *s, gzh_message *m, gzh_slot *slot, int most, gzh_message **odd, bool *dry);
/* gzh_claim, for a receive or a poll.  GZH_LOOK: to what another thread may have shared.  (Never for a
 * poll of POLLOUT alone, which is told nothing about messages.) */
int gzh_claim_to_receive(gzh_socket *s);
int gzh_claim_to_poll(gzh_socket *s, int mask);
/* Grant those whose events are there; `events` as libzmq says. */
void gzh_serve_pollers(gzh_socket *s, int events);
/* Events as a user sees them. */
int gzh_visible(gzh_socket *s, int events);

/* The proxies that have the socket or wait for it end if it was closed; else, the one that has it is
 * to look at the ready list. */
void gzh_tell_proxies(gzh_socket *s, bool closed);

/* Count of those who may still come back to the socket; the last one frees it.  Without the mutex. */
void gzh_hold(void *socket);
void gzh_drop(gzh_socket *s);

#endif
