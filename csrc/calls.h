/* The calls that are neither a send nor a receive: one small function each, in one table by
 * opcode.  ask.c makes them, as the socket's owner: at once, or on the companion of the
 * greenlet that asked.  Contexts live here too, because ending one is the longest call of all. */
#ifndef GZH_CALLS_H
#define GZH_CALLS_H

#include <stdbool.h>
#include <stddef.h>

#include "companion.h"

enum {
    GZH_BIND, GZH_UNBIND, GZH_CONNECT, GZH_DISCONNECT, /* data: the endpoint, NUL at its end; of a
                                                          bind, LAST_ENDPOINT afterwards */
    GZH_SET, GZH_GET,                                  /* option, data, size */
    GZH_MONITOR,                                       /* option: events; data: endpoint or NULL */
    GZH_JOIN, GZH_LEAVE,                               /* data: the group */
    GZH_OPERATIONS
};

/* May libzmq block in this call?  (A name that it resolves in the caller, mostly.) */
bool gzh_blocks(int operation, const void *data);
/* Make it.  The caller owns the socket.  >= 0 or -errno. */
int gzh_make(int operation, void *zmq_socket, int option, void *data, size_t *size);

typedef struct gzh_context gzh_context;
typedef struct gzh_socket gzh_socket;

/* zmq_ctx_new, and as many I/O threads.  Does not block. */
int gzh_context_new(int io_threads, gzh_context **context);
/* A context that somebody else ends. */
int gzh_context_shadow(void *zmq_context, gzh_context **context);
void *gzh_context_underlying(const gzh_context *context);
bool gzh_context_ended(gzh_context *context);
int gzh_context_get(gzh_context *context, int option);
int gzh_context_set(gzh_context *context, int option, int value);
/* zmq_socket.  -ETERM once the context ends; -EMFILE, GZH_NO_THREAD where libzmq would abort for want
 * of descriptors or threads.  Does not block. */
int gzh_socket_open(gzh_context *context, int type, gzh_socket **socket);
/* zmq_ctx_term, on the companion; joins a term under way.  0: it had ended already; GZH_BUSY;
 * GZH_NO_THREAD; GZH_WAIT: wait, then end_term, which says GZH_WAIT or 0.  Giving up leaves the term under way.
 * Without a companion: 0 or GZH_WAIT, and nothing begins. */
int gzh_context_term(gzh_context *context, gzh_companion *companion);
int gzh_context_end_term(gzh_companion *companion);
/* zmq_ctx_shutdown: every call on its sockets answers ETERM from now on.  Does not block. */
int gzh_context_shutdown(gzh_context *context);
/* The last reference goes.  One that has not ended is ended by a companion, in the background.
 * Never blocks; any thread; a finalizer may call it. */
void gzh_context_drop(gzh_context *context);

/* zmq_has, zmq_version, zmq_curve_*: plain libzmq, at once. */
int gzh_has(const char *capability);
void gzh_version(int *version);
int gzh_curve_keypair(char *public_key, char *secret_key);
int gzh_curve_public(char *public_key, const char *secret_key);

#endif
