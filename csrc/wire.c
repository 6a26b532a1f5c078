/* DESIGN.  Messages of several parts are sent part by part, and libzmq may refuse any of them.
 * What is to be done then depends on the socket's type; it is all in refused_midway().  From
 * outside, a message is sent or it is not. */
#include "wire.h"

#include <errno.h>

/* What put() says when libzmq has taken some parts of a message and will take the others. */
#define PARTIAL (-1)

int gzh_wire_get(gzh_wire *w, gzh_message *m)
{
    zmq_msg_t *part;
    do {
        part = gzh_message_place(m);
        if (!part) {
            gzh_message_clear(m);
            return ENOMEM;
        }
        zmq_msg_init(part);
        int rc;
        while ((rc = zmq_msg_recv(part, w->zmq, ZMQ_DONTWAIT)) == -1 && errno == EINTR)
            ;
        if (rc == -1) {
            int error = errno;
            gzh_message_clear(m);
            return error;
        }
    } while (zmq_msg_more(part));
    return 0;
}

static int send_part(gzh_wire *w, zmq_msg_t *part, bool more)
{
    int rc;
    while ((rc = zmq_msg_send(part, w->zmq, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0))) == -1 &&
           errno == EINTR)
        ;
    return rc == -1 ? errno : 0;
}

/* The parts before `index` went, this one was refused: what becomes of the message? */
static int refused_midway(gzh_wire *w, gzh_message *m, int index)
{
    if (w->type == ZMQ_XPUB || w->type == ZMQ_PUB) {
        /* The subscribers' pipes hold the beginning; nothing else may be sent before the end. */
        for (int i = m->first; i < index; i++)
            zmq_msg_close(&m->part[i]);
        m->first = index;
        return PARTIAL;
    }
    /* The peer went away and took the beginning with it; libzmq drops what follows up to the end
     * of this message.  Let it, then begin again with part one. */
    if (w->type != ZMQ_PAIR)
        for (int i = index + 1; i < m->count; i++) {
            zmq_msg_t nothing;
            zmq_msg_init(&nothing);
            send_part(w, &nothing, i + 1 < m->count);
            zmq_msg_close(&nothing);
        }
    /* A REQ counts it as sent: the same as if the peer had gone a moment later. */
    return w->type == ZMQ_REQ ? 0 : EAGAIN;
}

/* Send all of it: 0, and it is empty; an errno, and it is whole; or PARTIAL. */
static int put(gzh_wire *w, gzh_message *m)
{
    int error = 0;
    bool begun = m->first > 0;
    if (!begun && m->count == 1)
        error = send_part(w, &m->part[0], false);
    else
        for (int i = m->first; i < m->count && !error; i++) {
            zmq_msg_t copy; /* shares the data; the part is kept, to begin again */
            zmq_msg_init(&copy);
            GZH_MUST(zmq_msg_copy(&copy, &m->part[i]) == 0 ? 0 : errno);
            error = send_part(w, &copy, i + 1 < m->count);
            zmq_msg_close(&copy);
            if (error == EAGAIN && (begun || i > m->first)) {
                error = refused_midway(w, m, i);
                break; /* also where that says it was sent */
            }
        }
    if (!error)
        gzh_message_clear(m);
    return error;
}

/* First what was begun, then this. */
int gzh_wire_put(gzh_wire *w, gzh_message *m)
{
    if (w->rest) {
        int error = put(w, w->rest);
        if (error)
            return error == PARTIAL ? EAGAIN : error;
        gzh_message_free(w->rest);
        w->rest = NULL;
    }
    int error = put(w, m);
    if (error == PARTIAL) {
        w->rest = gzh_message_keep(m); /* its sender is done: it will arrive, whole */
        if (!w->rest)
            gzh_panic(__FILE__, __LINE__, "the rest of a message", ENOMEM);
        error = 0;
    }
    return error;
}

int gzh_wire_events(gzh_wire *w)
{
    int events, rc;
    size_t size = sizeof events;
    while ((rc = zmq_getsockopt(w->zmq, ZMQ_EVENTS, &events, &size)) == -1 && errno == EINTR)
        ;
    return rc == -1 ? -errno : events;
}

bool gzh_wire_pollout_is_a_promise(const gzh_wire *w)
{
    return w->type == ZMQ_DEALER || w->type == ZMQ_PUSH || w->type == ZMQ_REQ ||
           w->type == ZMQ_PAIR;
}
