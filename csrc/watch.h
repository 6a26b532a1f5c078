/* The watch: the one set of the descriptors of all sockets that somebody waits on, and the one
 * companion that sits in it.  socket.c adds and removes sockets, relay.c removes them too; companion.c
 * lends the thread, and linger.c helps.
 * Knows no ZeroMQ: a socket is a subject with a descriptor and a function. */
#ifndef GZH_WATCH_H
#define GZH_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "companion.h"

/* What the watch may do with a subject, on the thread of the companion on watch or of one that helps:
 * hold is called under the watch's mutex and must only count; ready may take its time and ends
 * the hold. */
typedef struct {
    void (*hold)(void *subject);
    void (*ready)(void *subject);
} gzh_watch_hooks;

/* Somebody is on watch when this returns 0: if nobody was, the thread of `companion` is.  -errno
 * where its thread or the set cannot be had.  Any thread; does not block. */
int gzh_watch_begin(gzh_companion *companion);
/* Who is on watch, or NULL.  It stays there: never give it a blocking call. */
gzh_companion *gzh_watch_companion(void);

/* Add a descriptor; `key` names it from now on (never 0).  If it is ready already, that is told.
 * 0 or -errno. */
int gzh_watch_add(int fd, void *subject, const gzh_watch_hooks *hooks, uint64_t *key);
/* What is to be told of a descriptor: its news; also of signals that were consumed before the watch
 * could look (watch.c); or nothing, as nobody waits. */
typedef enum { GZH_TELL_NEWS, GZH_TELL_ALL, GZH_TELL_NOTHING } gzh_tell;
/* The subject's owner leaves it with somebody waiting, having seen that nothing is to be had; or
 * with nobody.  told: the owner's memory of the last call; GZH_TELL_NEWS at first. */
void gzh_watch_arm(uint64_t key, int fd, gzh_tell what, gzh_tell *told);
/* After this, `ready` is not called any more for this key (one call may be under way, and has its
 * own hold).  Before the descriptor is closed. */
void gzh_watch_remove(uint64_t key);

/* For a thread that stays awake anyway, and is sooner there than the watch, which must wake up: do its work for one
 * subject, however many wait for that.  False: there was none. */
bool gzh_watch_help(void);
/* What is readable when there is some; -1: nobody can help. */
int gzh_watch_fd(void);

/* companion.c's side: the thread's work; never returns in the process where it began. */
void gzh_watch_run(void);
void gzh_companion_go_on_watch(gzh_companion *companion);
void gzh_watch_before_fork(void);
void gzh_watch_after_fork(void);
void gzh_watch_in_child(void);

#endif
