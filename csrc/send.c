/* DESIGN.  Sending: what ask.c says of every call, for messages that go.  Each is put into libzmq whole,
 * or nothing of it is (wire.c); what cannot go yet is kept in the request, and served in its turn. */
#include "inside.h"

#include <errno.h>

#include "watch.h"

/* A message that is to go: made already, or of parts to be copied. */
typedef struct {
    gzh_message *message; /* or NULL */
    const void *const *data;
    const size_t *sizes;
    int parts;
} outgoing;

/* REQ and REP send but now and then: a load would be memory kept for nothing. */
static int copy_part(gzh_socket *s, zmq_msg_t *part, const void *data, size_t size)
{
    return is_lock_step(s) ? gzh_part_copy(part, data, size) : gzh_load_part(&s->loader, part, data, size);
}

/* Owner.  0 or an errno. */
static int put(gzh_socket *s, const outgoing *out)
{
    gzh_message m;
    int error = 0;
    if (out->message)
        return gzh_put(s, out->message);
    if (out->parts == 1) {
        zmq_msg_t part;
        error = -copy_part(s, &part, out->data[0], out->sizes[0]);
        if (error)
            return error;
        error = gzh_put_part(s, &part);
        zmq_msg_close(&part);
        return error;
    }
    gzh_message_init(&m);
    for (int i = 0; i < out->parts && !error; i++) {
        zmq_msg_t *place = gzh_message_place(&m);
        error = place ? -copy_part(s, place, out->data[i], out->sizes[i]) : ENOMEM;
        if (error && place)
            m.count--;
    }
    if (!error)
        error = gzh_put(s, &m);
    gzh_message_clear(&m);
    return error;
}

/* libzmq looks for news only now and then when it sends: where it refuses, look, and try once more. */
static int put_or_look(gzh_socket *s, const outgoing *out)
{
    int error = put(s, out);
    return error == EAGAIN && gzh_wire_events(&s->wire) >= 0 ? put(s, out) : error;
}

/* `r`, if there is one, is to be queued when it cannot be sent at once, and has the message. */
static int send_any(gzh_socket *s, gzh_request *r, const outgoing *out, bool nonblock)
{
    int rc = gzh_claim(s);
    if (rc) {
        if (rc == GZH_WAIT)
            rc = gzh_found_owner(s, r, nonblock);
        unlock(s);
        return rc;
    }
    rc = gzh_in_step(s);
    if (rc == 0 && s->senders.head)
        rc = gzh_not_yet(s, r, nonblock);
    if (rc == 0) {
        unlock(s);
        int error = nonblock ? put_or_look(s, out) : put(s, out);
        GZH_PAUSE("send: tried");
        lock(s);
        rc = error == EAGAIN ? gzh_not_yet(s, r, nonblock) : -error;
    }
    gzh_release(s, false);
    unlock(s);
    return rc;
}

#define ANSWER_GRACE 10000000

/* Of REQ and REP, which are asked about the slice when they send: one that comes from a sleep, answers or
 * asks anew, and sleeps again has hardly used any of it.  Where a thousand do that in one turn of the hub,
 * to let each yield in between costs half as much again. */
static uint64_t grace(const gzh_socket *s)
{
    bool sleeps_between = is_lock_step(s) && atomic_load_explicit(&s->awaited, memory_order_relaxed) &&
                          !atomic_load_explicit(&s->asked, memory_order_relaxed);
    return sleeps_between ? ANSWER_GRACE : 0;
}

static int send_at_once(gzh_socket *s, const outgoing *out, int flags)
{
    if (flags & ~ZMQ_DONTWAIT)
        return GZH_LOOK;
    bool nonblock = gzh_may_not_wait(s, flags, 1);
    int rc = gzh_enter(s, NULL, nonblock, grace(s));
    return rc ? rc : send_any(s, NULL, out, nonblock);
}

int gzh_send(gzh_socket *s, const void *data, size_t size, int flags)
{
    return send_at_once(s, &(outgoing){.data = &data, .sizes = &size, .parts = 1}, flags);
}

int gzh_send_parts(gzh_socket *s, const void *const *parts, const size_t *sizes, int count, int flags)
{
    return send_at_once(s, &(outgoing){.data = parts, .sizes = sizes, .parts = count}, flags);
}

int gzh_send_many(gzh_socket *s, const void *const *parts, const size_t *sizes, const int *counts,
                  int messages, int flags)
{
    bool nonblock = gzh_may_not_wait(s, flags, 1), ahead;
    outgoing out = {.data = parts, .sizes = sizes};
    int sent = 0;
    if (flags & ~ZMQ_DONTWAIT)
        return GZH_LOOK;
    int rc = gzh_enter(s, NULL, nonblock, 0);
    if (rc)
        return rc;
    rc = gzh_claim(s);
    if (rc) {
        unlock(s);
        return rc == GZH_WAIT && nonblock ? -EAGAIN : rc;
    }
    rc = gzh_in_step(s);
    ahead = s->senders.head != NULL;
    unlock(s);
    while (rc == 0 && !ahead && sent < messages) {
        out.parts = counts[sent];
        rc = -put_or_look(s, &out);
        sent += rc == 0;
        out.data += out.parts;
        out.sizes += out.parts;
    }
    lock(s);
    gzh_release(s, false);
    unlock(s);
    if (sent > 0)
        return sent;
    if (rc == -EAGAIN || (rc == 0 && ahead))
        return nonblock ? -EAGAIN : GZH_WAIT;
    return rc;
}

int gzh_send_message(gzh_socket *s, gzh_companion *companion, gzh_message *m, int flags)
{
    bool nonblock = !companion && gzh_may_not_wait(s, flags, 1);
    gzh_request *r = NULL;
    int rc = gzh_enter(s, companion, nonblock, grace(s));
    if (rc)
        return rc;
    if (!companion) {
        const outgoing out = {.message = m};
        return send_any(s, NULL, &out, nonblock);
    }
    if (!(r = gzh_new_request(s, companion, SEND)))
        return GZH_BUSY;
    if ((rc = gzh_watch_begin(companion)) < 0)
        return rc;
    if (!(r->data = gzh_message_keep(m)))
        return -ENOMEM;
    const outgoing out = {.message = r->data};
    rc = send_any(s, r, &out, false);
    if (rc != GZH_WAIT)
        gzh_free_data(r);
    return rc;
}
