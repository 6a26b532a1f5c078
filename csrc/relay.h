/* What a proxy does with its sockets, on its companion's thread: becomes their owner, carries messages
 * from one to the other, and leaves them.  proxy.c enters; who may begin, and who ends it, is known
 * there. */
#ifndef GZH_RELAY_H
#define GZH_RELAY_H

#include "fdset.h"
#include "inside.h"

enum { FRONTEND, BACKEND, CAPTURE, CONTROL, ROLES };

/* Why it is to stop, beside -errno. */
enum { GO_ON, CANCELLED };

typedef struct {
    uint64_t messages, bytes;
} tally;

typedef struct {
    gzh_socket *socket;
    gzh_request hold; /* in the socket's calls, under its queue mutex, while another is its owner */
    bool owned;
    bool listed; /* the ready list may have something in it */
    bool in_doubt;
    int events; /* as they were when last looked at */
} place;

typedef struct {
    int from, to; /* numbers of places */
    gzh_message *hand, own;
    size_t bytes; /* in hand */
    tally received, sent;
    const char *prefix;
    size_t prefix_size;
} lane;

typedef struct {
    /* Written by others, with a kick afterwards. */
    atomic_int stop;
    atomic_bool news; /* look at the ready lists */
    gzh_pipe kick;
    gzh_fdset set; /* 0: kick; n + 1: place n */

    /* Filled in before it runs, and its own then. */
    place places[ROLES];
    int count;
    int role[ROLES]; /* numbers of places; -1: there is none */
    lane lanes[2];
    int lane_count;
    bool prefixed, swap;

    bool paused, terminated;
    unsigned stale; /* bit n: look at the events of place n before they are believed */
    gzh_message reply;
} gzh_relay;

/* Until it is stopped; then the sockets are free again.  0: terminated by the control socket; what
 * `stop` says; or -errno.  Blocks. */
int gzh_relay_run(gzh_relay *relay);

#endif
