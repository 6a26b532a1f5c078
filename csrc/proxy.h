/* Proxies: all that arrives at one socket goes out at another, and the other way round, on the
 * companion of the greenlet that asked, until somebody ends it.  Python enters. */
#ifndef GZH_PROXY_H
#define GZH_PROXY_H

#include <stddef.h>

#include "companion.h"
#include "socket.h"

/* sockets: frontend, backend, capture, control; the last two may be NULL, and any may be the same.
 * prefixes: NULL, or two, with their sizes: what goes before each message to the capture socket, by
 * the side whence it came; then messages between two ROUTERs have their first two parts swapped.
 *
 * GZH_WAIT: wait, then gzh_proxy_end; GZH_BUSY, GZH_FORKED, GZH_NO_THREAD, or -errno: -EMFILE.  Never
 * blocks.  It begins when no other proxy has or waits for one of its sockets, and is then their owner.
 * gzh_companion_cancel ends it, and waits some milliseconds for that; a message that it has received
 * and not sent is then received by the next who asks. */
int gzh_proxy(gzh_companion *companion, gzh_socket *const *sockets, const char *const *prefixes,
              const size_t *sizes);
/* 0: a control socket said so.  -ENOTSOCK: one was closed; -ETERM; what libzmq refused.  Or GZH_WAIT. */
int gzh_proxy_end(gzh_companion *companion);

#endif
