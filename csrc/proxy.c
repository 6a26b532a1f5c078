/* DESIGN
 *
 * A proxy is a request that is served by its own companion, which becomes the owner of up to four
 * sockets and stays it (relay.c).
 *
 * One mutex, `line`, guards the list of all proxies in the order in which they came, and the fields
 * marked L.  It may be taken under a queue mutex, and nothing but the registry under it.
 *
 *   field                      who may touch it
 *   ------------------------   ----------------------------------------------------------------
 *   next, prev, started,
 *   request: state, abandoned  L
 *   relay.stop, relay.news     written under L, with a kick afterwards; read by the companion
 *   relay's descriptors        opened before it is in the list, closed under L when it leaves it
 *   the rest of relay          the companion, once it is started
 *
 * No two proxies ever wait for one another: one that shares a socket with an earlier one is started
 * when that has left the list, and holds nothing before.  A started one competes for its sockets
 * only with calls, which have one socket each and come to an end. */
#include "proxy.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "relay.h"

/* So long a killed greenlet waits until its sockets are free again: they are within microseconds, if
 * there is a processor for it. */
#define LEAVE_MS 5

typedef struct proxy {
    struct proxy *next, *prev;
    gzh_request *request;
    bool started;
    gzh_relay relay;
    char prefix[];
} proxy;

static pthread_mutex_t line = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static proxy *first, *last;

static void take_line(void)
{
    gzh_lock(&line);
}

static void leave_line(void)
{
    gzh_unlock(&line);
}

/* ---- the line: held where not said otherwise ---- */

static bool has_place(const proxy *p, const gzh_socket *s)
{
    for (int i = 0; i < p->relay.count; i++)
        if (p->relay.places[i].socket == s)
            return true;
    return false;
}

static bool must_wait(const proxy *p)
{
    for (const proxy *before = p->prev; before; before = before->prev)
        for (int i = 0; i < p->relay.count; i++)
            if (has_place(before, p->relay.places[i].socket))
                return true;
    return false;
}

static void start_those_that_can(void)
{
    for (proxy *p = first; p; p = p->next)
        if (!p->started && !must_wait(p)) {
            p->started = true;
            gzh_companion_run(p->request->companion);
        }
}

static void close_descriptors(proxy *p)
{
    gzh_fdset_close(&p->relay.set);
    gzh_pipe_close(&p->relay.kick);
}

static void enlist(proxy *p)
{
    p->next = NULL;
    p->prev = last;
    if (last)
        last->next = p;
    else
        first = p;
    last = p;
}

static void unlist(proxy *p)
{
    if (p->prev)
        p->prev->next = p->next;
    else
        first = p->next;
    if (p->next)
        p->next->prev = p->prev;
    else
        last = p->prev;
    close_descriptors(p);
    start_those_that_can();
}

static void stop(proxy *p, int why)
{
    int go_on = GO_ON;
    atomic_compare_exchange_strong(&p->relay.stop, &go_on, why);
    gzh_pipe_signal(&p->relay.kick);
}

/* From here on its greenlet may free it. */
static void grant(proxy *p, int result)
{
    unlist(p);
    gzh_grant(p->request, result);
}

void gzh_tell_proxies(gzh_socket *s, bool closed)
{
    take_line();
    for (proxy *p = first, *next; p; p = next) {
        next = p->next;
        if (!has_place(p, s))
            continue;
        if (!closed) {
            atomic_store(&p->relay.news, true);
            gzh_pipe_signal(&p->relay.kick);
        } else if (p->started)
            stop(p, -ENOTSOCK);
        else
            grant(p, -ENOTSOCK);
    }
    leave_line();
}

static void in_child(void)
{
    for (proxy *p = first, *next; p; p = next) {
        next = p->next;
        close_descriptors(p);
        free(p);
    }
    first = last = NULL;
    leave_line();
}

static void set_up(void)
{
    gzh_companion_heed_forks(); /* first: the registry is taken under the line, also for a fork */
    GZH_MUST(pthread_atfork(take_line, leave_line, in_child));
}

/* ---- its beginning and its end ---- */

static void proxy_free(proxy *p)
{
    for (int i = 0; i < p->relay.count; i++)
        gzh_drop(p->relay.places[i].socket);
    gzh_message_clear(&p->relay.reply);
    free(p);
}

static void add_lane(gzh_relay *r, int from, int to, const char *prefix, size_t size)
{
    lane *l = &r->lanes[r->lane_count++];
    l->from = r->role[from];
    l->to = r->role[to];
    l->prefix = prefix;
    l->prefix_size = size;
    gzh_message_init(&l->own);
}

static void add_places(gzh_relay *r, gzh_socket *const *sockets, gzh_companion *companion)
{
    for (int role = 0; role < ROLES; role++) {
        int i = 0;
        r->role[role] = -1;
        if (!sockets[role])
            continue;
        while (i < r->count && r->places[i].socket != sockets[role])
            i++;
        r->role[role] = i;
        if (i == r->count) {
            r->places[r->count++] = (place){
                .socket = sockets[role],
                .hold = {.kind = HOLD, .companion = companion, .ear = &r->kick},
                .listed = true,
            };
            gzh_hold(sockets[role]);
        }
    }
}

static int open_descriptors(gzh_relay *r)
{
    int error = gzh_pipe_open(&r->kick);
    if (error)
        return error;
    error = gzh_fdset_open(&r->set);
    if (!error)
        error = gzh_fdset_add(&r->set, r->kick.read_fd);
    if (error) {
        gzh_fdset_close(&r->set);
        gzh_pipe_close(&r->kick);
    }
    return error;
}

static int proxy_new(gzh_request *request, gzh_socket *const *sockets, const char *const *prefixes,
                     const size_t *sizes, proxy **out)
{
    static const size_t none[2];
    if (!prefixes)
        sizes = none;
    proxy *p = calloc(1, sizeof *p + sizes[0] + sizes[1]);
    if (!p)
        return -ENOMEM;
    gzh_relay *r = &p->relay;
    int error = open_descriptors(r);
    if (error) {
        free(p);
        return -error;
    }
    add_places(r, sockets, request->companion);
    if (prefixes) {
        memcpy(p->prefix, prefixes[0], sizes[0]);
        memcpy(p->prefix + sizes[0], prefixes[1], sizes[1]);
        r->prefixed = true;
        r->swap = sockets[FRONTEND]->wire.type == ZMQ_ROUTER &&
                  sockets[BACKEND]->wire.type == ZMQ_ROUTER;
    }
    add_lane(r, FRONTEND, BACKEND, p->prefix, sizes[0]);
    if (r->role[FRONTEND] != r->role[BACKEND])
        add_lane(r, BACKEND, FRONTEND, p->prefix + sizes[0], sizes[1]);
    gzh_message_init(&r->reply);
    p->request = request;
    *out = p;
    return 0;
}

/* The greenlet's: wait until the companion has left the sockets, but a moment at most. */
static void await_its_leaving(gzh_request *r)
{
    uint64_t end = gzh_now_ns() + LEAVE_MS * 1000000ull;
    struct pollfd fd = {.fd = gzh_companion_fd(r->companion), .events = POLLIN};
    while (atomic_load(&r->state) != GZH_GRANTED) {
        int64_t left = (int64_t)(end - gzh_now_ns());
        if (left <= 0)
            return;
        if (poll(&fd, 1, (int)(left / 1000000) + 1) == 1)
            gzh_companion_drain(r->companion);
    }
}

static int cancel(gzh_request *r)
{
    proxy *p = r->subject;
    take_line();
    if (atomic_load(&r->state) == GZH_QUEUED) {
        if (p->started) {
            stop(p, CANCELLED);
            leave_line();
            GZH_PAUSE("proxy: told to stop");
            await_its_leaving(r);
            take_line();
            if (atomic_load(&r->state) != GZH_GRANTED) {
                r->abandoned = true; /* its companion brings it to its end */
                leave_line();
                return GZH_ABANDONED;
            }
        } else
            unlist(p);
    }
    atomic_store(&r->state, GZH_IDLE);
    leave_line();
    proxy_free(p);
    return 0;
}

static void run_proxy(gzh_request *r)
{
    proxy *p = r->subject;
    int rc = gzh_relay_run(&p->relay);
    take_line();
    bool abandoned = r->abandoned;
    if (abandoned) {
        unlist(p);
        atomic_store(&r->state, GZH_IDLE);
    } else
        grant(p, rc == CANCELLED ? -ECANCELED : rc);
    leave_line();
    if (abandoned)
        proxy_free(p);
}

int gzh_proxy(gzh_companion *companion, gzh_socket *const *sockets, const char *const *prefixes,
              const size_t *sizes)
{
    proxy *p = NULL;
    for (int i = 0; i < ROLES; i++)
        if (sockets[i] && sockets[i]->generation != gzh_generation)
            return GZH_FORKED;
    gzh_request *r = gzh_companion_free_request(companion);
    if (!r || companion == gzh_watch_companion())
        return GZH_BUSY;
    GZH_MUST(pthread_once(&once, set_up));
    int rc = gzh_companion_ready(companion);
    if (rc == 0)
        rc = proxy_new(r, sockets, prefixes, sizes, &p);
    if (rc < 0)
        return rc;
    r->subject = p;
    r->cancel = cancel;
    r->run = run_proxy;
    r->abandoned = false;
    take_line();
    atomic_store(&r->state, GZH_QUEUED);
    enlist(p);
    leave_line();
    /* Now a close is told; this is for one that came before. */
    for (int i = 0; i < p->relay.count; i++) {
        gzh_socket *s = p->relay.places[i].socket;
        lock(s);
        bool closing = s->closing;
        unlock(s);
        if (closing)
            gzh_tell_proxies(s, true);
    }
    take_line();
    start_those_that_can();
    leave_line();
    return GZH_WAIT;
}

int gzh_proxy_end(gzh_companion *companion)
{
    if (gzh_companion_is_strange(companion))
        return GZH_FORKED;
    gzh_companion_drain(companion);
    gzh_request *r = gzh_companion_request(companion);
    take_line();
    bool granted = atomic_load(&r->state) == GZH_GRANTED;
    int rc = r->result;
    if (granted)
        atomic_store(&r->state, GZH_IDLE);
    leave_line();
    if (!granted)
        return GZH_WAIT;
    proxy_free(r->subject);
    return rc;
}
