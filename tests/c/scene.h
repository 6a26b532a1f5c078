/* Where most tests with fake_zmq.c play: one context, one socket; and at the end the proof that
 * nothing was left behind. */
#ifndef SCENE_H
#define SCENE_H

#include <zmq.h>

#include "fake_zmq.h"
#include "greenlet.h"

typedef struct {
    gzh_context *context;
    gzh_socket *socket;
    void *zmq;
} scene;

/* For a test that fails: what the socket of the last scene has in it. */
static void *zmq_of_last_scene;

UNUSED static void describe_scene(void)
{
    if (zmq_of_last_scene)
        fake_dump(zmq_of_last_scene);
}

UNUSED static scene begin_scene(int type)
{
    scene s;
    CHECK_IS(gzh_context_new(1, &s.context), 0);
    CHECK_IS(gzh_socket_open(s.context, type, &s.socket), 0);
    s.zmq = gzh_socket_underlying(s.socket);
    zmq_of_last_scene = s.zmq;
    last_words = describe_scene;
    return s;
}

UNUSED static void nothing_is_left(void)
{
    UNTIL(fake_contexts() == 0 && fake_sockets() == 0);
    UNTIL(fake_messages() == 0); /* the last to let a socket go may be the watch */
}

UNUSED static void end_scene(scene *s)
{
    gzh_socket_drop(s->socket);
    gzh_context_drop(s->context);
    nothing_is_left();
}

/* Whether anybody but the watch can do its work. */
#ifdef GZH_WATCH_POLL
#define CAN_HELP false
#else
#define CAN_HELP true
#endif
#define HELPLESS "what poll(2) tells, it tells the watch alone: none can help it"

/* The number at the end of a message's text: "m17" -> 17. */
UNUSED static int number_in(const char *text)
{
    while (*text && (*text < '0' || *text > '9'))
        text++;
    return atoi(text);
}

#endif
