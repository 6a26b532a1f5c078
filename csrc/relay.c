/* DESIGN.  A message is in one place at a time: received, it is "in hand" until the other side has
 * taken it.  While one is in hand no further one is received from that side.  In the end, what is in
 * hand becomes the head of the ready list of the socket whence it came.
 *
 * A relay waits for libzmq's signals itself, in a set of its own (fdset.h): the watch, one thread for
 * all, would add a hand-over to each message.  It waits only when the last look at each socket has
 * shown nothing that was not known before, and tried; a socket that refused what its events had
 * promised is `in_doubt`, and all its signals are asked for. */
#include "relay.h"

#include <errno.h>
#include <string.h>

/* So many messages or commands from one side, then the other side's turn. */
#define BURST 1000

/* ---- the places: on the companion's thread, from here on ---- */

static void become_owner(place *at)
{
    gzh_socket *s = at->socket;
    lock(s);
    s->blocked = true;
    uint64_t key = s->key;
    s->key = 0; /* who waits is not served meanwhile, so nobody is to be told */
    s->told = GZH_TELL_NEWS;
    unlock(s);
    if (key)
        gzh_watch_remove(key);
    at->owned = true;
}

static int claim(gzh_relay *p, place *at)
{
    gzh_socket *s = at->socket;
    int rc = GZH_WAIT;
    lock(s);
    if (s->closing)
        rc = -ENOTSOCK;
    else if (!s->owned) {
        s->owned = true;
        rc = 0;
    } else {
        atomic_store(&at->hold.state, GZH_QUEUED);
        gzh_append(&s->calls, &at->hold);
    }
    unlock(s);
    while (rc == GZH_WAIT) {
        /* Its kick may have told of several things at once: so look before each wait. */
        int why = atomic_load(&p->stop);
        lock(s);
        int state = atomic_load(&at->hold.state);
        if (state == GZH_SERVING)
            rc = 0;
        else if (state == GZH_GRANTED)
            rc = at->hold.result;
        else if (why) {
            gzh_unlink(&s->calls, &at->hold);
            rc = why;
        }
        unlock(s);
        if (rc == GZH_WAIT) {
            gzh_fdset_wait(&p->set);
            gzh_pipe_drain(&p->kick);
        }
    }
    if (rc == 0)
        become_owner(at);
    return rc;
}

static int claim_all(gzh_relay *p)
{
    int rc = 0;
    for (int i = 0; i < p->count && rc == 0; i++)
        rc = claim(p, &p->places[i]);
    for (int i = 0; i < p->count && rc == 0; i++)
        rc = -gzh_fdset_add(&p->set, p->places[i].socket->fd);
    return rc;
}

static void swap_parts(gzh_message *m)
{
    zmq_msg_t other;
    if (m->count < 2)
        return;
    zmq_msg_init(&other);
    zmq_msg_move(&other, &m->part[0]);
    zmq_msg_move(&m->part[0], &m->part[1]);
    zmq_msg_move(&m->part[1], &other);
    zmq_msg_close(&other);
}

/* Queue mutex of the socket held. */
static void put_back(gzh_relay *p, lane *l)
{
    gzh_socket *s = p->places[l->from].socket;
    gzh_message *m = l->hand == &l->own ? gzh_message_must_keep(l->hand) : l->hand;
    if (p->swap)
        swap_parts(m);
    l->hand = NULL;
    gzh_prepend_ready(s, m);
    gzh_grant_ready(s);
}

static void release_all(gzh_relay *p)
{
    for (int i = 0; i < p->count; i++) {
        gzh_socket *s = p->places[i].socket;
        if (!p->places[i].owned)
            continue;
        lock(s);
        s->blocked = false;
        for (lane *l = p->lanes; l < p->lanes + p->lane_count; l++)
            if (l->hand && l->from == i)
                put_back(p, l);
        gzh_release(s, false);
        unlock(s);
    }
}

/* A whole message, those of the ready list first, into *hand: that is `own`, or on the heap.  0 or an
 * errno. */
static int fetch(place *at, gzh_message *own, gzh_message **hand)
{
    gzh_socket *s = at->socket;
    *hand = NULL;
    if (at->listed) {
        lock(s);
        if (s->ready > s->granted)
            *hand = gzh_take_ready(s);
        at->listed = s->ready > 0;
        unlock(s);
        if (*hand)
            return 0;
    }
    int error = gzh_wire_get(&s->wire, own);
    if (error)
        return error;
    if (at->listed) {
        lock(s);
        *hand = gzh_rotate_ready(s, own);
        unlock(s);
    }
    if (!*hand)
        *hand = own;
    return 0;
}

static void discard(gzh_message *hand, gzh_message *own)
{
    if (hand == own)
        gzh_message_clear(own);
    else
        gzh_message_free(hand);
}

static int look(gzh_relay *p, int number)
{
    place *at = &p->places[number];
    gzh_socket *s = at->socket;
    int events = gzh_wire_events(&s->wire);
    if (events < 0)
        return events;
    if (at->listed) {
        lock(s);
        events = gzh_visible(s, events);
        at->listed = s->ready > 0;
        unlock(s);
    }
    at->events = events;
    p->stale &= ~(1u << number);
    return 0;
}

/* ---- forwarding ---- */

static int capture(gzh_relay *p, lane *l)
{
    gzh_message copy;
    gzh_message_init(&copy);
    int rc = p->prefixed ? gzh_message_add(&copy, l->prefix, l->prefix_size) : 0;
    for (int i = 0; i < l->hand->count && rc == 0; i++)
        rc = gzh_message_share(&copy, l->hand, i);
    if (rc == 0)
        rc = -gzh_wire_put(&p->places[p->role[CAPTURE]].socket->wire, &copy);
    gzh_message_clear(&copy);
    l->hand->captured = rc == 0;
    return rc;
}

static void count(tally *of, uint64_t bytes)
{
    of->messages++;
    of->bytes += bytes;
}

static bool can_move(const gzh_relay *p, const lane *l)
{
    return (l->hand || p->places[l->from].events & ZMQ_POLLIN) &&
           (l->from == l->to || p->places[l->to].events & ZMQ_POLLOUT);
}

static int refused(place *at)
{
    at->in_doubt = true;
    return 0;
}

/* One message; 1: it went.  0: one side has none, or cannot take any; or -errno. */
static int move(gzh_relay *p, lane *l)
{
    place *from = &p->places[l->from], *to = &p->places[l->to];
    int rc;
    if (!l->hand) {
        rc = fetch(from, &l->own, &l->hand);
        if (rc == EAGAIN || rc == EFSM) /* EFSM: a REP that must reply before it has the next */
            return refused(from);
        if (rc)
            return -rc;
        if (p->swap)
            swap_parts(l->hand);
        l->bytes = gzh_message_total(l->hand);
        count(&l->received, l->bytes);
        GZH_PAUSE("proxy: a message in hand");
    }
    if (p->role[CAPTURE] >= 0 && !l->hand->captured) {
        p->stale |= 1u << p->role[CAPTURE];
        rc = capture(p, l);
        if (rc == -EAGAIN)
            return refused(&p->places[p->role[CAPTURE]]);
        if (rc < 0)
            return rc;
    }
    rc = gzh_wire_put(&to->socket->wire, l->hand);
    if (rc == EAGAIN || rc == EFSM) /* EFSM: a REQ that must have its reply before */
        return refused(to);
    if (rc && rc != EHOSTUNREACH)
        return -rc;
    /* (What has nowhere to go, as a ROUTER says that is told to, goes: or it would stand in the way of
     * all that follow.) */
    discard(l->hand, &l->own);
    l->hand = NULL;
    if (rc == 0)
        count(&l->sent, l->bytes);
    return rc ? -rc : 1;
}

static bool may_go_on(const gzh_relay *p, int done)
{
    return done < BURST && atomic_load_explicit(&p->stop, memory_order_relaxed) == GO_ON;
}

/* How many went, or -errno. */
static int move_many(gzh_relay *p, lane *l)
{
    int moved = 0, rc = 1;
    p->stale |= 1u << l->from | 1u << l->to;
    while (may_go_on(p, moved)) {
        rc = move(p, l);
        if (rc <= 0)
            break;
        moved++;
    }
    return rc < 0 ? rc : moved;
}

/* ---- the control socket ---- */

static bool says(gzh_message *m, const char *command)
{
    size_t size = strlen(command);
    return zmq_msg_size(&m->part[0]) == size && memcmp(zmq_msg_data(&m->part[0]), command, size) == 0;
}

/* Of both sides: received, in messages and bytes, and sent. */
static int add_statistics(gzh_relay *p)
{
    static const tally none;
    const lane *there = &p->lanes[0], *back = p->lane_count > 1 ? &p->lanes[1] : NULL;
    const tally *all[4] = {&there->received, back ? &back->sent : &none, back ? &back->received : &none,
                           &there->sent};
    int rc = 0;
    for (int i = 0; i < 4 && rc == 0; i++) {
        rc = gzh_message_add(&p->reply, &all[i]->messages, sizeof all[i]->messages);
        if (rc == 0)
            rc = gzh_message_add(&p->reply, &all[i]->bytes, sizeof all[i]->bytes);
    }
    return rc;
}

/* As many commands as there are, up to a burst; 1: there may be more to do.  0, or -errno. */
static int obey(gzh_relay *p)
{
    place *at = &p->places[p->role[CONTROL]];
    p->stale |= 1u << p->role[CONTROL];
    at->events &= ~ZMQ_POLLIN; /* what a later look shows is new */
    for (int obeyed = 0; may_go_on(p, obeyed); obeyed++) {
        if (p->reply.count > 0) {
            int error = gzh_wire_put(&at->socket->wire, &p->reply);
            if (error == EAGAIN)
                return refused(at);
            if (error)
                return -error;
        }
        if (p->terminated)
            return 0;
        gzh_message own, *m;
        gzh_message_init(&own);
        int error = fetch(at, &own, &m);
        if (error == EAGAIN || error == EFSM)
            return 0;
        if (error)
            return -error;
        GZH_PAUSE("proxy: a command in hand");
        int rc = 0;
        if (says(m, "STATISTICS"))
            rc = add_statistics(p);
        else {
            if (says(m, "PAUSE"))
                p->paused = true;
            else if (says(m, "RESUME"))
                p->paused = false;
            else if (says(m, "TERMINATE"))
                p->terminated = true;
            if (at->socket->wire.type == ZMQ_REP)
                rc = gzh_message_add(&p->reply, "", 0);
        }
        discard(m, &own);
        if (rc < 0)
            return rc;
    }
    return 1;
}

/* ---- all of it ---- */

/* Nobody asks the capture socket whether it can take a message, so its events are of interest only
 * as they tell that its context ends: before a wait. */
static bool only_captures(const gzh_relay *p, int number)
{
    return number == p->role[CAPTURE] && number != p->role[FRONTEND] && number != p->role[BACKEND] &&
           number != p->role[CONTROL];
}

/* Until somebody has something new to say.  A call on a socket may have consumed its signal: so look
 * again first, and do not wait if that shows more than was known. */
static int wait_for_news(gzh_relay *p)
{
    bool more = false;
    for (int i = 0; i < p->count; i++)
        if (p->stale & 1u << i) {
            int known = p->places[i].events, rc = look(p, i);
            if (rc < 0)
                return rc;
            more |= (p->places[i].events & ~known) != 0;
        }
    if (more)
        return 0;
    for (int i = 0; i < p->count; i++)
        gzh_fdset_tell_all(&p->set, i + 1, p->places[i].in_doubt);
    unsigned told = gzh_fdset_wait(&p->set);
    if (told & 1)
        gzh_pipe_drain(&p->kick);
    p->stale |= told >> 1;
    return 0;
}

static int forward(gzh_relay *p)
{
    const int control = p->role[CONTROL];
    bool moved = false;
    p->stale = ~0u;
    for (;;) {
        int rc = atomic_load(&p->stop);
        if (rc)
            return rc;
        if (atomic_exchange(&p->news, false)) {
            p->stale = ~0u;
            for (int i = 0; i < p->count; i++)
                p->places[i].listed = true;
        }
        if (moved && control >= 0)
            p->stale |= 1u << control; /* the set was not asked */
        for (int i = 0; i < p->count; i++)
            p->places[i].in_doubt = false;
        GZH_PAUSE("proxy: about to look");
        for (int i = 0; i < p->count; i++)
            if (p->stale & 1u << i && !only_captures(p, i) && (rc = look(p, i)) < 0)
                return rc;
        GZH_PAUSE("proxy: has looked");
        rc = 0;
        if (control >= 0 && (p->places[control].events & ZMQ_POLLIN || p->reply.count > 0) &&
            (rc = obey(p)) < 0)
            return rc;
        if (p->terminated)
            return 0;
        moved = rc > 0;
        for (lane *l = p->lanes; l < p->lanes + p->lane_count && !p->paused; l++)
            if (can_move(p, l)) {
                if ((rc = move_many(p, l)) < 0)
                    return rc;
                moved |= rc > 0;
            }
        if (!moved && (rc = wait_for_news(p)) < 0)
            return rc;
    }
}

int gzh_relay_run(gzh_relay *p)
{
    int rc = claim_all(p);
    if (rc == 0)
        rc = forward(p);
    GZH_PAUSE("proxy: about to leave");
    release_all(p);
    return rc;
}
