/* What the owner of a socket does inside libzmq: a whole message in, a whole message out, what has
 * happened.  The files of inside.h enter, as owner, without the queue mutex.  Nothing here blocks. */
#ifndef GZH_WIRE_H
#define GZH_WIRE_H

#include <stdbool.h>

#include "message.h"

typedef struct {
    void *zmq; /* libzmq's socket; NULL once it is closed */
    int type;
    gzh_message begun; /* what was received of a message for whose rest there was no memory */
    void *poller; /* of a thread-safe draft socket, which has no descriptor: its poller has one */
} gzh_wire;

/* The descriptor that libzmq signals, into *fd: 0, or an errno; ENOTSUP if there is none. */
int gzh_wire_open(gzh_wire *wire, int *fd);
/* Once, before the socket is closed, and when its descriptor is no longer watched. */
void gzh_wire_close(gzh_wire *wire);

/* zmq_msg_recv: a whole message into an empty one.  0 or an errno; EAGAIN has drained libzmq's
 * commands.  ENOMEM: nothing is lost, the next call goes on with the same message. */
int gzh_wire_get(gzh_wire *wire, gzh_message *message);
/* The same in place of what is in the message, which goes. */
int gzh_wire_get_next(gzh_wire *wire, gzh_message *message);
/* zmq_msg_send: all of it, and it is empty afterwards: 0; or nothing, and it is whole: an errno. */
int gzh_wire_put(gzh_wire *wire, gzh_message *message);
/* The same of a message of one part, which the caller closes. */
int gzh_wire_put_part(gzh_wire *wire, zmq_msg_t *part);
/* ZMQ_EVENTS: makes libzmq look at all its news.  The events, or -errno. */
int gzh_wire_events(gzh_wire *wire);
/* Does POLLOUT mean that a send will be taken?  Where not, a refusal is all there is to know. */
bool gzh_wire_pollout_is_a_promise(const gzh_wire *wire);

#endif
