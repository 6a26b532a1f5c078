/* Where the tests of polls of several sockets play: one context, four sockets; and the steps of such
 * a poll. */
#ifndef CROWD_H
#define CROWD_H

#include "scene.h"

#define MANY 4

/* A context with several sockets.  The first one is the scene's. */
typedef struct {
    scene first;
    gzh_socket *socket[MANY];
    void *zmq[MANY];
} crowd;

UNUSED static crowd begin_crowd(int type)
{
    crowd c;
    c.first = begin_scene(type);
    c.socket[0] = c.first.socket;
    c.zmq[0] = c.first.zmq;
    for (int i = 1; i < MANY; i++) {
        CHECK_IS(gzh_socket_open(c.first.context, type, &c.socket[i]), 0);
        c.zmq[i] = gzh_socket_underlying(c.socket[i]);
    }
    return c;
}

UNUSED static void end_crowd(crowd *c)
{
    for (int i = 1; i < MANY; i++)
        gzh_socket_drop(c->socket[i]);
    end_scene(&c->first);
}

UNUSED static void fill(gzh_poll_item *items, const crowd *c, int mask)
{
    for (int i = 0; i < MANY; i++)
        items[i] = (gzh_poll_item){.socket = c->socket[i], .fd = -1, .mask = mask};
}

UNUSED static int ask_poll(greenlet *g, gzh_poll_item *items)
{
    return gzh_poll_begin(items, MANY, g->companion);
}

UNUSED static int end_poll(greenlet *g, gzh_poll_item *items, bool stop)
{
    return gzh_poll_end(items, MANY, g->companion, stop);
}

UNUSED static int wait_poll(greenlet *g, gzh_poll_item *items)
{
    int rc;
    do {
        WAIT_TOLD(g);
        rc = end_poll(g, items, false);
    } while (rc == GZH_WAIT);
    return rc;
}

UNUSED static int look(gzh_poll_item *items)
{
    return gzh_poll_look(items, MANY, ZMQ_DONTWAIT);
}

#endif
