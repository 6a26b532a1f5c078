/* A socket that any number of greenlets, of any number of OS threads, may use at once.  Python
 * enters with a call; the watch enters when libzmq has news; a companion enters to make a blocking
 * call.  One of them at a time is the socket's owner and inside libzmq; the others queue.
 *
 * Every function may be called by any thread, and none blocks: a call that cannot be completed
 * answers GZH_WAIT.  Results: >= 0, one of the codes below, or -errno. */
#ifndef GZH_SOCKET_H
#define GZH_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "calls.h"
#include "companion.h"
#include "message.h"

#define GZH_SLOT_BYTES 65536
#define GZH_SLOT_PARTS 1024

/* How many messages gzh_recv may take. */
#define GZH_BATCH 256

/* Where a received message is put: in `data` where it fits, one part behind the other, else in `whole`.  One
 * per call. */
typedef struct {
    int parts;   /* in all */
    int each;    /* GZH_SEVERAL: how many of them make a message */
    int several; /* GZH_SEVERAL: how many messages; else 0 */
    int timeout; /* RCVTIMEO, in milliseconds, as it was when this was asked; -1 is for ever */
    int size[GZH_SLOT_PARTS];
    gzh_message *whole;
    char data[GZH_SLOT_BYTES];
} gzh_slot;

/* Wrap a libzmq socket, which is gzh's from now on (shadow: it is not closed).  0 or -errno. */
int gzh_socket_wrap(void *zmq_socket, bool shadow, gzh_socket **socket);
/* NULL: it is closed, or a parent process's. */
void *gzh_socket_underlying(gzh_socket *socket);
/* What RCVTIMEO (direction 0) and SNDTIMEO (1) say, in milliseconds; -1 is for ever. */
int gzh_socket_timeout(const gzh_socket *socket, int direction);
/* Whether it sends and receives by turns (REQ, REP), or may begin anew instead (REQ_RELAXED). */
enum { GZH_AT_WILL, GZH_BY_TURNS, GZH_RELAXED };
int gzh_socket_order(const gzh_socket *socket);

/* What comes of the next; GZH_WAIT: it was not tried. */
enum {
    GZH_NO_NEWS,
    GZH_NEWS,    /* the call may be tried again */
    GZH_HELPED,  /* there is something for the hub, which this thread has brought itself */
    GZH_GAVE_WAY /* there is something for the hub */
};
#define GZH_LINGERS 3 /* how often, where news are no message, before one waits */
/* Wait for news of libzmq's on the caller's own thread, for a moment: after something was sent, for which an
 * answer is expected, awake, for so many nanoseconds; else asleep, for a millisecond, and only where no other
 * greenlet of the thread waits (alone), its hub has turned in the two before, and no other thread receives, who would
 * overtake.  Not where another greenlet waits for the same.  hub_fd: of the hub's loop.  (linger.c) */
int gzh_socket_linger(gzh_socket *socket, int hub_fd, int nanoseconds, bool alone);

/* zmq_msg_recv.  flags: ZMQ_DONTWAIT, GZH_KEEP, GZH_ONE.  The size of a message of one part that is
 * now in slot->data; GZH_PARTS; GZH_WHOLE; GZH_LOOK.  With a companion: GZH_WAIT means queued, go on with
 * gzh_end.  Without one, the first call that may wait after a REQ has sent answers GZH_WAIT untried: hardly
 * ever is its answer there, unless a poll has said so.
 * In a flood, GZH_SEVERAL: as many as GZH_BATCH, all of so many parts.  They are the caller's, who must
 * put them where all of the socket's receivers look first and then say so with gzh_socket_shared, which
 * answers -ENOTSOCK where nobody is to receive them any more; until then no other thread receives, so
 * that order is kept.  Who waits with gzh_end may get GZH_LOOK too.  Once a caller has asked for
 * GZH_KEEP there are no more of them: they are bytes, and know nothing of a message's properties. */
#define GZH_KEEP 0x1000 /* always GZH_WHOLE: the caller wants the message itself */
#define GZH_ONE 0x2000  /* never GZH_SEVERAL */
int gzh_recv(gzh_socket *socket, gzh_companion *companion, gzh_slot *slot, int flags);
int gzh_socket_shared(gzh_socket *socket);
/* From now on there are no batches, as after GZH_KEEP; of one that is lent at this moment gzh_socket_shared
 * answers 1: it is to be put back, and stays lent until then. */
void gzh_socket_one_by_one(gzh_socket *socket);
/* For tests: is something lent that was not shared yet, and is somebody still patient? */
bool gzh_socket_lent(gzh_socket *socket);
/* What was shared is to be put back: it is lent to the caller from now on, whom others wait for, until the
 * second call puts it where it comes first, received by nobody; without messages, that only ends the loan.
 * The messages' shells stay the caller's; with a result other than 0, what is in them too. */
int gzh_socket_recall(gzh_socket *socket);
int gzh_socket_put_back(gzh_socket *socket, gzh_message *const *messages, int count);
/* At once, as many as `most`, all of so many parts: what gzh_recv returns, and nothing to be shared. */
int gzh_recv_many(gzh_socket *socket, gzh_slot *slot, int flags, int most);

/* zmq_msg_send of one part, copied; of several, each copied from where it is.  0; or GZH_LOOK: the flags
 * say more than DONTWAIT, and nothing was done. */
int gzh_send(gzh_socket *socket, const void *data, size_t size, int flags);
int gzh_send_parts(gzh_socket *socket, const void *const *parts, const size_t *sizes, int count, int flags);
/* Several messages: `counts` tells of how many parts each is made.  How many were sent, if any; else what
 * kept the first from it. */
int gzh_send_many(gzh_socket *socket, const void *const *parts, const size_t *sizes, const int *counts,
                  int messages, int flags);
/* The same of a message, which is empty afterwards when 0, and with a companion whatever the result, but
 * for one that says that nothing began: GZH_BUSY, GZH_FORKED, GZH_NO_THREAD, or no descriptor or memory
 * for the wait.  Its shell stays the caller's. */
int gzh_send_message(gzh_socket *socket, gzh_companion *companion, gzh_message *message, int flags);

/* Events of `mask` that are there, GZH_LOOK, or GZH_WAIT (never 0, but with ZMQ_DONTWAIT). */
int gzh_poll(gzh_socket *socket, gzh_companion *companion, int mask, int flags);

/* One of the things that a poll over several waits for: a socket or, where that is NULL, any other
 * descriptor, of which gzh_poll_begin and gzh_poll_end know nothing: its waiting is the hub's. */
typedef struct {
    gzh_socket *socket;
    int fd;
    int mask;   /* what is asked for */
    int events; /* what was found; when a function fails because of this one: its result */
} gzh_poll_item;

/* At once: fill in the events of all items (of a socket in which another is inside, leave them as they
 * are).  How many have some, GZH_YIELD (never with ZMQ_DONTWAIT), or -errno. */
int gzh_poll_look(gzh_poll_item *items, int count, int flags);
/* Wait for any of the sockets: GZH_WAIT, then gzh_poll_end; GZH_BUSY; or -errno. */
int gzh_poll_begin(gzh_poll_item *items, int count, gzh_companion *companion);
/* After a wake-up, or to wait no longer (give_up): how many sockets had news, with the events that they
 * told; GZH_WAIT if that was not it; -EAGAIN; or -errno.  Look again: others may have been quicker. */
int gzh_poll_end(gzh_poll_item *items, int count, gzh_companion *companion, bool give_up);
/* gzh_socket_linger, for any of them: all are sockets, polled for messages alone.  Not tried if they are many. */
int gzh_poll_linger(const gzh_poll_item *items, int count, int hub_fd, int nanoseconds, bool alone);

/* A call of calls.h.  Without a companion: made at once, or GZH_WAIT where it may block or another
 * is the socket's owner.  With one: GZH_WAIT, or GZH_BUSY.  `data` is copied, and `*size` of what
 * a GZH_GET or GZH_BIND has found is copied by gzh_end_call. */
int gzh_call(gzh_socket *socket, gzh_companion *companion, int operation, int option, void *data,
             size_t *size);

/* After a wake-up: the result, or GZH_WAIT if that was not it.  give_up: the greenlet waits no
 * longer; -EAGAIN, and as if never asked, unless it was granted meanwhile. */
int gzh_end(gzh_companion *companion, gzh_slot *slot, int flags, bool give_up);
int gzh_end_call(gzh_companion *companion, void *data, size_t *size);

/* zmq_close.  Waiters get ENOTSOCK.  linger: milliseconds, or NULL for what the socket has.  Safe
 * to say twice.  Where another is the owner, it closes when it gets out. */
void gzh_socket_close(gzh_socket *socket, const int *linger);
/* The last reference goes; closes first. */
void gzh_socket_drop(gzh_socket *socket);

/* This OS thread's hub has turned, or is about to be waited for: its greenlets may use this
 * library for so many nanoseconds before a call that blocks answers GZH_YIELD. */
void gzh_slice(uint64_t nanoseconds);
/* Has this OS thread's hub to turn before a call that blocks goes on? */
bool gzh_slice_is_over(void);

#endif
