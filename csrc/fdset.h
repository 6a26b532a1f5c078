/* A few descriptors that one thread waits for: those of the sockets that a proxy holds, and the pipe
 * that gets it out.  proxy.c opens and closes a set, relay.c waits in it; nothing here knows ZeroMQ.
 * Each set is one thread's. */
#ifndef GZH_FDSET_H
#define GZH_FDSET_H

#include <stdbool.h>

#define GZH_FDSET_ROOM 5

typedef struct {
    int epoll; /* -1 where there is none */
    int count;
    int fd[GZH_FDSET_ROOM];
    bool all[GZH_FDSET_ROOM];
} gzh_fdset;

/* 0 or an errno.  close: safe to say of one that is not open (epoll -1, count 0). */
int gzh_fdset_open(gzh_fdset *set);
void gzh_fdset_close(gzh_fdset *set);
/* The next descriptor; its number is how many there were before.  0 or an errno. */
int gzh_fdset_add(gzh_fdset *set, int fd);
/* From now on tell of all signals of a descriptor, also of those that were consumed before they were
 * told; or of its news only.  Tells of it once, whatever it has. */
void gzh_fdset_tell_all(gzh_fdset *set, int number, bool all);
/* Blocks.  Bit n: the descriptor of that number has had a signal.  Never without any. */
unsigned gzh_fdset_wait(gzh_fdset *set);

#endif
