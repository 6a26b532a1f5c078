/* DESIGN.  Messages of several parts are sent part by part, and libzmq may refuse any of them.
 * What is to be done then depends on the socket's type; it is all in refused_midway().  From
 * outside, a message is sent or it is not. */
#include "wire.h"

#include <errno.h>

#if GZH_DRAFTS

static void close_poller(gzh_wire *w)
{
    if (w->poller)
        zmq_poller_destroy(&w->poller);
    w->poller = NULL;
}

static int open_fd(gzh_wire *w, int *fd)
{
    size_t size = sizeof *fd;
    if (zmq_getsockopt(w->zmq, ZMQ_FD, fd, &size) == 0)
        return 0;
    int thread_safe = 0, error = errno;
    size = sizeof thread_safe;
    if (error != EINVAL || zmq_getsockopt(w->zmq, ZMQ_THREAD_SAFE, &thread_safe, &size) == -1 || !thread_safe)
        return error;
    w->poller = zmq_poller_new();
    if (!w->poller)
        return errno;
    if (zmq_poller_add(w->poller, w->zmq, NULL, ZMQ_POLLIN | ZMQ_POLLOUT) == -1 ||
        zmq_poller_fd(w->poller, fd) == -1) {
        error = errno;
        close_poller(w);
        return error;
    }
    return 0;
}

/* Its descriptor stays readable until its poller is asked: the watch of poll(2) would not sleep. */
static bool drain(gzh_wire *w)
{
    zmq_poller_event_t event;
    if (w->poller)
        zmq_poller_wait(w->poller, &event, 0);
    return w->poller != NULL;
}

#else

static int open_fd(gzh_wire *w, int *fd)
{
    size_t size = sizeof *fd;
    if (zmq_getsockopt(w->zmq, ZMQ_FD, fd, &size) == -1)
        return errno == EINVAL ? ENOTSUP : errno; /* a draft socket, of another libzmq than this is for */
    return 0;
}

static void close_poller(gzh_wire *w)
{
    (void)w;
}

static bool drain(gzh_wire *w)
{
    (void)w;
    return false;
}

#endif

int gzh_wire_open(gzh_wire *w, int *fd)
{
    gzh_message_init(&w->begun);
    return open_fd(w, fd);
}

void gzh_wire_close(gzh_wire *w)
{
    close_poller(w);
    gzh_message_clear(&w->begun);
}

static int receive_part(gzh_wire *w, zmq_msg_t *part)
{
    int rc;
    while ((rc = zmq_msg_recv(part, w->zmq, ZMQ_DONTWAIT)) == -1 && errno == EINTR)
        ;
    if (rc >= GZH_LARGE)
        gzh_keep_memory();
    return rc;
}

/* Into `part`, which is m's last and initialised, and further ones as far as there are more. */
static int receive_parts(gzh_wire *w, gzh_message *m, zmq_msg_t *part)
{
    for (;;) {
        int rc = receive_part(w, part);
        if (rc == -1 && errno == EAGAIN) {
            if (drain(w)) /* which may have eaten the news of what came since */
                rc = receive_part(w, part);
            else
                errno = EAGAIN;
        }
        if (rc == -1) { /* never midway: libzmq has all of a message or nothing */
            int error = errno;
            gzh_message_clear(m);
            return error;
        }
        if (!zmq_msg_more(part))
            return 0;
        part = gzh_message_place(m);
        if (!part) {
            gzh_message_move(&w->begun, m);
            return ENOMEM;
        }
        zmq_msg_init(part);
    }
}

int gzh_wire_get(gzh_wire *w, gzh_message *m)
{
    if (w->begun.count > 0)
        gzh_message_move(m, &w->begun);
    zmq_msg_t *part = gzh_message_place(m);
    if (!part) {
        gzh_message_move(&w->begun, m);
        return ENOMEM;
    }
    zmq_msg_init(part);
    return receive_parts(w, m, part);
}

int gzh_wire_get_next(gzh_wire *w, gzh_message *m)
{
    if (m->count == 1 && w->begun.count == 0)
        return receive_parts(w, m, &m->part[0]); /* libzmq lets go of what was in it */
    gzh_message_clear(m);
    return gzh_wire_get(w, m);
}

static int send_part(gzh_wire *w, zmq_msg_t *part, bool more)
{
    int rc;
    while ((rc = zmq_msg_send(part, w->zmq, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0))) == -1 &&
           errno == EINTR)
        ;
    return rc == -1 ? errno : 0;
}

/* The parts before `index` went, this one was refused: its peer has gone, and taken the beginning
 * with it.  (A full queue is no reason here: libzmq counts whole messages.)  libzmq drops what
 * follows, up to the end of this message.  Let it, then begin again with part one. */
static int refused_midway(gzh_wire *w, gzh_message *m, int index)
{
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

int gzh_wire_put_part(gzh_wire *w, zmq_msg_t *part)
{
    return send_part(w, part, false);
}

int gzh_wire_put(gzh_wire *w, gzh_message *m)
{
    int error = 0;
    if (m->count == 1)
        error = send_part(w, &m->part[0], false);
    else
        for (int i = 0; i < m->count && !error; i++) {
            zmq_msg_t copy; /* shares the data; the part is kept, to begin again */
            zmq_msg_init(&copy);
            GZH_MUST(zmq_msg_copy(&copy, &m->part[i]) == 0 ? 0 : errno);
            error = send_part(w, &copy, i + 1 < m->count);
            zmq_msg_close(&copy);
            if (error == EAGAIN && i > 0) {
                error = refused_midway(w, m, i);
                break; /* also where that says it was sent */
            }
        }
    if (!error)
        gzh_message_clear(m);
    return error;
}

int gzh_wire_events(gzh_wire *w)
{
    int events, rc;
    size_t size = sizeof events;
    drain(w);
    while ((rc = zmq_getsockopt(w->zmq, ZMQ_EVENTS, &events, &size)) == -1 && errno == EINTR)
        ;
    return rc == -1 ? -errno : events;
}

bool gzh_wire_pollout_is_a_promise(const gzh_wire *w)
{
    return w->type == ZMQ_DEALER || w->type == ZMQ_PUSH || w->type == ZMQ_REQ ||
           w->type == ZMQ_PAIR;
}
