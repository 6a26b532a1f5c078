/* DESIGN.  Sending: what ask.c says of every call, for messages that go.  Each is put into libzmq whole,
 * or nothing of it is (wire.c); what cannot go yet is kept in the request, and served in its turn. */
#include "inside.h"

#include <errno.h>

#include "watch.h"

/* `r`, if there is one, is to be queued when it cannot be sent at once, and has the message. */
static int send_any(gzh_socket *s, gzh_request *r, gzh_message *m, bool nonblock)
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
        rc = nonblock ? -EAGAIN : r ? gzh_enqueue(s, r) : GZH_WAIT;
    if (rc == 0) {
        unlock(s);
        int error = gzh_wire_put(&s->wire, m);
        if (error == EAGAIN && nonblock && gzh_wire_events(&s->wire) >= 0)
            error = gzh_wire_put(&s->wire, m); /* libzmq looks for news only now and then when it sends */
        GZH_PAUSE("send: tried");
        if (!error)
            atomic_store_explicit(&s->asked, true, memory_order_relaxed);
        lock(s);
        rc = error != EAGAIN || nonblock ? -error : r ? gzh_enqueue(s, r) : GZH_WAIT;
    }
    gzh_release(s, false);
    unlock(s);
    return rc;
}

int gzh_send(gzh_socket *s, const void *data, size_t size, int flags)
{
    bool nonblock = gzh_may_not_wait(s, flags, 1);
    int rc = gzh_enter(s, NULL, nonblock);
    if (rc)
        return rc;
    gzh_message m;
    gzh_message_init(&m);
    rc = gzh_message_add(&m, data, size);
    if (!rc)
        rc = send_any(s, NULL, &m, nonblock);
    gzh_message_clear(&m);
    return rc;
}

int gzh_send_parts(gzh_socket *s, const void *data, const size_t *sizes, int parts, int flags)
{
    bool nonblock = gzh_may_not_wait(s, flags, 1);
    int rc = gzh_enter(s, NULL, nonblock);
    if (rc)
        return rc;
    gzh_message m;
    const char *from = data;
    gzh_message_init(&m);
    for (int i = 0; i < parts && !rc; i++) {
        rc = gzh_message_add(&m, from, sizes[i]);
        from += sizes[i];
    }
    if (!rc)
        rc = send_any(s, NULL, &m, nonblock);
    gzh_message_clear(&m);
    return rc;
}

int gzh_send_many(gzh_socket *s, const void *data, const size_t *sizes, const int *parts, int count,
                  int flags, int *sent)
{
    bool nonblock = gzh_may_not_wait(s, flags, 1), ahead;
    const char *from = data;
    *sent = 0;
    int rc = gzh_enter(s, NULL, nonblock);
    if (rc || (rc = gzh_claim(s)) != 0) {
        if (rc == GZH_WAIT || rc == -ENOTSOCK)
            unlock(s);
        return rc == GZH_WAIT && nonblock ? -EAGAIN : rc;
    }
    rc = gzh_in_step(s);
    ahead = s->senders.head != NULL;
    unlock(s);
    gzh_message m;
    gzh_message_init(&m);
    while (rc == 0 && !ahead && *sent < count) {
        for (int i = 0; i < (parts ? parts[*sent] : 1) && rc == 0; i++) {
            rc = gzh_message_add(&m, from, *sizes);
            from += *sizes++;
        }
        if (rc == 0)
            rc = -gzh_wire_put(&s->wire, &m);
        if (rc == -EAGAIN && gzh_wire_events(&s->wire) >= 0)
            rc = -gzh_wire_put(&s->wire, &m);
        gzh_message_clear(&m);
        *sent += rc == 0;
    }
    lock(s);
    gzh_release(s, false);
    unlock(s);
    if (rc == -EAGAIN || (rc == 0 && ahead))
        return nonblock ? -EAGAIN : GZH_WAIT;
    return rc;
}

int gzh_send_message(gzh_socket *s, gzh_companion *companion, gzh_message *m, int flags)
{
    bool nonblock = !companion && gzh_may_not_wait(s, flags, 1);
    gzh_request *r = NULL;
    int rc = gzh_enter(s, companion, nonblock);
    if (rc)
        return rc;
    if (!companion)
        return send_any(s, NULL, m, nonblock);
    if (!(r = gzh_new_request(s, companion, SEND)))
        return GZH_BUSY;
    if ((rc = gzh_watch_begin(companion)) < 0)
        return rc;
    if (!(r->data = gzh_message_keep(m)))
        return -ENOMEM;
    rc = send_any(s, r, r->data, false);
    if (rc != GZH_WAIT)
        gzh_free_data(r);
    return rc;
}
