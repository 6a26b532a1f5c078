/* DESIGN.  What libzmq promises to csrc, and not more: a test that passes here must not lean on
 * luck.  Three kinds of fields in a socket:
 *
 *   mailbox, commands, out          under `mutex`: both sides enter
 *   inbound, credit, state, begun   plain, touched only by calls on the socket.  The calls lock
 *                                   nothing before they touch them, so that the thread sanitizer
 *                                   sees two calls that no fence divides
 *   inside, failures                atomics that order nothing, for the same reason
 *
 * Misuse ends the process with one sentence: two threads inside one socket, a call on a closed
 * socket, on a context that is gone, or on what a parent process made; a zmq_msg_t that was copied
 * as bytes, is used uninitialised or is lost.  Closed sockets and ended contexts are therefore never
 * freed: they stay in a list, so that leak checkers still find them. */
#include "fake_zmq.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <zmq.h>

#define PEERS 4
/* libzmq's inbound_poll_rate: after so many receives it looks at the mailbox though it need not. */
#define RECEIVE_RATE 100

_Noreturn static void misuse(const char *call, const char *what)
{
    fprintf(stderr, "fake_zmq: %s: %s\n", call, what);
    abort();
}

static int fail(int error)
{
    errno = error;
    return -1;
}

/* ---- controls for all ----------------------------------------------------------------------- */

static atomic_int throttle = 1, socket_error, sockets, contexts, messages, at_gate;
static atomic_bool jittery, reaps_at_once;
static pthread_mutex_t gate_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_cond = PTHREAD_COND_INITIALIZER;
static bool gate_shut;

static int count_of(atomic_int *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void fake_throttle(int every)
{
    atomic_store(&throttle, every);
}

void fake_jitter(bool on)
{
    atomic_store(&jittery, on);
}

void fake_reap_at_once(bool at_once)
{
    atomic_store(&reaps_at_once, at_once);
}

void fake_fail_socket(int error)
{
    atomic_store(&socket_error, error);
}

int fake_sockets(void)
{
    return count_of(&sockets);
}

int fake_contexts(void)
{
    return count_of(&contexts);
}

int fake_messages(void)
{
    return count_of(&messages);
}

int fake_at_gate(void)
{
    return atomic_load(&at_gate);
}

void fake_gate(bool shut)
{
    pthread_mutex_lock(&gate_mutex);
    gate_shut = shut;
    pthread_cond_broadcast(&gate_cond);
    pthread_mutex_unlock(&gate_mutex);
}

static void wait_at_gate(void)
{
    pthread_mutex_lock(&gate_mutex);
    atomic_fetch_add(&at_gate, 1);
    while (gate_shut)
        pthread_cond_wait(&gate_cond, &gate_mutex);
    atomic_fetch_sub(&at_gate, 1);
    pthread_mutex_unlock(&gate_mutex);
}

static void maybe_give_way(void)
{
    static _Thread_local uint32_t dice;
    if (!atomic_load_explicit(&jittery, memory_order_relaxed))
        return;
    dice = (dice ? dice : (uint32_t)(uintptr_t)&dice | 1) * 1664525u + 1013904223u;
    if (dice >> 29 == 0)
        sched_yield();
}

/* ---- zmq_msg_t ------------------------------------------------------------------------------ */

typedef struct {
    atomic_int holders;
    size_t size;
    void *data;
    zmq_free_fn *release;
    void *hint;
} body;

/* `self` finds out those that were copied as bytes. */
typedef struct {
    const void *self;
    body *content; /* NULL: empty */
    bool more;
} part;

_Static_assert(sizeof(part) <= sizeof(zmq_msg_t), "a part lives inside a zmq_msg_t");

static part *part_of(const zmq_msg_t *message, const char *call)
{
    part *p = (part *)(uintptr_t)message;
    if (p->self != p)
        misuse(call, "a zmq_msg_t that is not initialised, or was copied as bytes");
    return p;
}

static void let_go(body *content)
{
    if (!content || atomic_fetch_sub(&content->holders, 1) > 1)
        return;
    if (content->release)
        content->release(content->data, content->hint);
    else
        free(content->data);
    free(content);
}

int zmq_msg_init(zmq_msg_t *message)
{
    part *p = (part *)message;
    *p = (part){.self = p};
    atomic_fetch_add_explicit(&messages, 1, memory_order_relaxed);
    return 0;
}

int zmq_msg_init_data(zmq_msg_t *message, void *data, size_t size, zmq_free_fn *release, void *hint)
{
    body *content = calloc(1, sizeof *content);
    if (!content)
        return fail(ENOMEM);
    atomic_init(&content->holders, 1);
    content->size = size;
    content->data = data;
    content->release = release;
    content->hint = hint;
    zmq_msg_init(message);
    ((part *)message)->content = content;
    return 0;
}

int zmq_msg_init_size(zmq_msg_t *message, size_t size)
{
    void *data = malloc(size ? size : 1);
    if (!data)
        return fail(ENOMEM);
    return zmq_msg_init_data(message, data, size, NULL, NULL);
}

int zmq_msg_close(zmq_msg_t *message)
{
    part *p = part_of(message, "zmq_msg_close");
    let_go(p->content);
    p->self = NULL;
    atomic_fetch_sub_explicit(&messages, 1, memory_order_relaxed);
    return 0;
}

int zmq_msg_move(zmq_msg_t *to, zmq_msg_t *from)
{
    part *target = part_of(to, "zmq_msg_move"), *source = part_of(from, "zmq_msg_move");
    let_go(target->content);
    target->content = source->content;
    target->more = source->more;
    source->content = NULL;
    source->more = false;
    return 0;
}

int zmq_msg_copy(zmq_msg_t *to, zmq_msg_t *from)
{
    part *target = part_of(to, "zmq_msg_copy"), *source = part_of(from, "zmq_msg_copy");
    if (source->content)
        atomic_fetch_add(&source->content->holders, 1);
    let_go(target->content);
    target->content = source->content;
    target->more = source->more;
    return 0;
}

void *zmq_msg_data(zmq_msg_t *message)
{
    static char nothing;
    part *p = part_of(message, "zmq_msg_data");
    return p->content ? p->content->data : &nothing;
}

size_t zmq_msg_size(const zmq_msg_t *message)
{
    part *p = part_of(message, "zmq_msg_size");
    return p->content ? p->content->size : 0;
}

int zmq_msg_more(const zmq_msg_t *message)
{
    return part_of(message, "zmq_msg_more")->more;
}

int zmq_msg_get(const zmq_msg_t *message, int property)
{
    part *p = part_of(message, "zmq_msg_get");
    return property == ZMQ_MORE ? p->more : fail(EINVAL);
}

int zmq_msg_set(zmq_msg_t *message, int property, int value)
{
    (void)property, (void)value;
    part_of(message, "zmq_msg_set");
    return fail(EINVAL);
}

const char *zmq_msg_gets(const zmq_msg_t *message, const char *property)
{
    (void)property;
    part_of(message, "zmq_msg_gets");
    errno = EINVAL;
    return NULL;
}

/* ---- messages on their way: a list of parts each ------------------------------------------------ */

typedef struct parcel {
    struct parcel *next;
    int count;
    zmq_msg_t part[64];
} parcel;

typedef struct { parcel *head, *tail; } parcels;

static parcel *parcel_new(void)
{
    parcel *p = malloc(sizeof *p);
    if (!p)
        misuse("malloc", "no memory for the test itself");
    p->next = NULL;
    p->count = 0;
    return p;
}

static void parcel_free(parcel *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->count; i++)
        zmq_msg_close(&p->part[i]);
    free(p);
}

static void append(parcels *list, parcel *p)
{
    p->next = NULL;
    if (list->tail)
        list->tail->next = p;
    else
        list->head = p;
    list->tail = p;
}

static parcel *take_first(parcels *list)
{
    parcel *p = list->head;
    if (p) {
        list->head = p->next;
        if (!list->head)
            list->tail = NULL;
    }
    return p;
}

static void free_all(parcels *list)
{
    for (parcel *p; (p = take_first(list));)
        parcel_free(p);
}

static zmq_msg_t *next_place(parcel *p)
{
    if (p->count == (int)(sizeof p->part / sizeof p->part[0]))
        misuse("a message", "more parts than a test may use");
    return &p->part[p->count++];
}

static parcel *parcel_of(const char *text)
{
    parcel *p = parcel_new();
    for (const char *end;; text = end + 1) {
        end = strchr(text, '|');
        size_t size = end ? (size_t)(end - text) : strlen(text);
        zmq_msg_t *m = next_place(p);
        zmq_msg_init_size(m, size);
        memcpy(zmq_msg_data(m), text, size);
        ((part *)m)->more = end != NULL;
        if (!end)
            return p;
    }
}

static bool begins_with(parcel *p, const char *name)
{
    return zmq_msg_size(&p->part[0]) == strlen(name) &&
           memcmp(zmq_msg_data(&p->part[0]), name, strlen(name)) == 0;
}

static void text_of(parcel *p, char *text, size_t room)
{
    size_t used = 0;
    for (int i = 0; i < p->count; i++) {
        size_t size = zmq_msg_size(&p->part[i]);
        if (used + size + 2 > room)
            misuse("fake_take", "the text has no room");
        if (i)
            text[used++] = '|';
        memcpy(text + used, zmq_msg_data(&p->part[i]), size);
        used += size;
    }
    text[used] = 0;
}

/* ---- sockets ------------------------------------------------------------------------------------ */

enum { LIVING = 0x5a5a0001, CLOSED, ENDED };

typedef struct context context;

typedef struct command {
    struct command *next;
    enum { MESSAGE, ROOM, REFUSE, STOP } kind;
    int value;
    parcel *message;
} command;

typedef struct fake_socket {
    atomic_int magic, inside;
    int type;
    pid_t process;
    context *home;
    struct fake_socket *next, *next_open;
    int fd;

    pthread_mutex_t mutex;
    command *commands, *last_command;
    bool signalled;
    parcels out;
    int out_count;
    bool mailbox_closed;

    /* Of the calls alone. */
    unsigned touched;
    parcels inbound;
    parcel *reading, *begun;
    int read_parts;
    bool dropping, refusing, stopped;
    int hwm, hwm_used[PEERS];
    char peer[PEERS][16];
    int current_peer;
    bool receiving; /* REQ and REP: whose turn it is */
    int ticks, sends;
    int rcvtimeo, sndtimeo, linger, relaxed, other;
    char endpoint[64];

    atomic_int send_error, send_errors, receive_error, receive_errors;
    atomic_int refused_part, refused_parts;
    atomic_bool is_begun;
} fake_socket;

struct context {
    atomic_int magic;
    pid_t process;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool shut, terminating;
    fake_socket *open;
    int unreaped; /* a descriptor, or -1 */
    int io_threads, max_sockets;
    context *next;
};

static pthread_mutex_t graveyard = PTHREAD_MUTEX_INITIALIZER;
static fake_socket *all_sockets;
static context *all_contexts;

static void lock_graveyard(void)
{
    pthread_mutex_lock(&graveyard);
}

static void unlock_graveyard(void)
{
    pthread_mutex_unlock(&graveyard);
}

/* A child that is forked off while another thread opens a socket must be able to open its own. */
__attribute__((constructor)) static void be_ready_for_forks(void)
{
    pthread_atfork(lock_graveyard, unlock_graveyard, unlock_graveyard);
}

static fake_socket *enter(void *zmq, const char *call)
{
    fake_socket *s = zmq;
    if (!s)
        misuse(call, "no socket (NULL)");
    int magic = atomic_load_explicit(&s->magic, memory_order_relaxed);
    if (magic == CLOSED)
        misuse(call, "the socket was closed");
    if (magic != LIVING)
        misuse(call, "this is no socket");
    if (s->process != getpid())
        misuse(call, "the socket belongs to a parent process");
    if (atomic_exchange_explicit(&s->inside, 1, memory_order_relaxed))
        misuse(call, "two threads are inside one socket");
    s->touched++;
    maybe_give_way();
    return s;
}

static int leave(fake_socket *s, int rc)
{
    int error = errno;
    maybe_give_way();
    s->touched++;
    atomic_store_explicit(&s->inside, 0, memory_order_relaxed);
    errno = error;
    return rc;
}

/* The other side's half of the mailbox. */
static bool post(fake_socket *s, int kind, int value, parcel *message)
{
    command *c = malloc(sizeof *c);
    uint64_t one = 1;
    if (!c)
        misuse("malloc", "no memory for the test itself");
    *c = (command){.kind = kind, .value = value, .message = message};
    pthread_mutex_lock(&s->mutex);
    bool open = !s->mailbox_closed;
    if (open) {
        if (s->commands)
            s->last_command->next = c;
        else
            s->commands = c;
        s->last_command = c;
        if (!s->signalled) {
            s->signalled = true;
            if (write(s->fd, &one, sizeof one) != sizeof one)
                misuse("ZMQ_FD", "somebody else has closed or filled it");
        }
    }
    pthread_mutex_unlock(&s->mutex);
    if (!open) {
        parcel_free(message);
        free(c);
    }
    return open;
}

static void apply(fake_socket *s, command *c)
{
    switch (c->kind) {
    case MESSAGE:
        append(&s->inbound, c->message);
        break;
    case ROOM:
        s->hwm_used[c->value]--;
        break;
    case REFUSE:
        s->refusing = c->value;
        break;
    case STOP:
        s->stopped = true;
        break;
    }
}

/* The calls' half: consumes the signal, if there is one.  False: the context ends. */
static bool empty_mailbox(fake_socket *s)
{
    command *taken = NULL;
    uint64_t count;
    pthread_mutex_lock(&s->mutex);
    if (s->signalled) {
        s->signalled = false;
        if (read(s->fd, &count, sizeof count) != sizeof count)
            misuse("ZMQ_FD", "somebody else has read it");
        taken = s->commands;
        s->commands = s->last_command = NULL;
    }
    pthread_mutex_unlock(&s->mutex);
    while (taken) {
        command *next = taken->next;
        apply(s, taken);
        free(taken);
        taken = next;
    }
    return !s->stopped;
}

static bool is_publisher(const fake_socket *s)
{
    return s->type == ZMQ_XPUB || s->type == ZMQ_PUB;
}

static bool can_receive(const fake_socket *s)
{
    return s->type != ZMQ_PUSH && s->type != ZMQ_PUB;
}

static bool can_send(const fake_socket *s)
{
    return s->type != ZMQ_PULL && s->type != ZMQ_SUB;
}

/* A ROUTER's peers have room of their own; all others have peer 0. */
static int peer_of(fake_socket *s, const zmq_msg_t *name)
{
    if (s->type != ZMQ_ROUTER)
        return 0;
    size_t size = zmq_msg_size(name);
    if (size >= sizeof s->peer[0])
        misuse("zmq_msg_send", "the name of a peer is too long");
    const void *data = zmq_msg_data((zmq_msg_t *)(uintptr_t)name);
    for (int i = 0; i < PEERS; i++) {
        if (!s->peer[i][0])
            memcpy(s->peer[i], data, size);
        if (strlen(s->peer[i]) == size && memcmp(s->peer[i], data, size) == 0)
            return i;
    }
    misuse("zmq_msg_send", "more peers than a test may use");
}

static bool has_room(const fake_socket *s, int peer)
{
    return !s->refusing && (s->hwm == 0 || s->hwm_used[peer] < s->hwm);
}

static int events(const fake_socket *s)
{
    int found = 0;
    bool waits_for_send = s->type == ZMQ_REP ? s->receiving : s->type == ZMQ_REQ && !s->receiving;
    bool waits_for_receive = s->type == ZMQ_REP   ? !s->receiving
                             : s->type == ZMQ_REQ && s->receiving && !s->relaxed;
    if (can_receive(s) && (s->inbound.head || s->reading) && !waits_for_send)
        found |= ZMQ_POLLIN;
    /* libzmq's ROUTER and PUB say it always. */
    if (can_send(s) && !waits_for_receive &&
        (s->type == ZMQ_ROUTER || s->type == ZMQ_PUB || has_room(s, 0)))
        found |= ZMQ_POLLOUT;
    return found;
}

void *zmq_socket(void *zmq, int type)
{
    context *c = zmq;
    int error = atomic_exchange(&socket_error, 0);
    if (atomic_load(&c->magic) != LIVING)
        misuse("zmq_socket", "the context has ended");
    if (c->process != getpid())
        misuse("zmq_socket", "the context belongs to a parent process");
    pthread_mutex_lock(&c->mutex);
    if (!error && c->shut)
        error = ETERM;
    int fd = error ? -1 : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd == -1) {
        error = error ? error : errno;
        pthread_mutex_unlock(&c->mutex);
        errno = error;
        return NULL;
    }
    fake_socket *s = calloc(1, sizeof *s);
    if (!s)
        misuse("calloc", "no memory for the test itself");
    s->type = type;
    s->process = getpid();
    s->home = c;
    s->fd = fd;
    s->hwm = 1000;
    s->rcvtimeo = s->sndtimeo = s->linger = -1;
    pthread_mutex_init(&s->mutex, NULL);
    atomic_init(&s->magic, LIVING);
    s->next_open = c->open;
    c->open = s;
    pthread_mutex_unlock(&c->mutex);
    atomic_fetch_add(&sockets, 1);
    pthread_mutex_lock(&graveyard);
    s->next = all_sockets;
    all_sockets = s;
    pthread_mutex_unlock(&graveyard);
    return s;
}

/* Context's mutex held: `fd` is the next to be reaped, -1 for none. */
static void reap(context *c, int fd)
{
    if (c->unreaped != -1)
        close(c->unreaped);
    c->unreaped = fd;
    if (atomic_load(&reaps_at_once) && fd != -1)
        reap(c, -1);
}

int zmq_close(void *zmq)
{
    fake_socket *s = enter(zmq, "zmq_close");
    context *c = s->home;
    pthread_mutex_lock(&s->mutex);
    s->mailbox_closed = true;
    command *left = s->commands;
    s->commands = NULL;
    free_all(&s->out);
    s->out_count = 0;
    uint64_t one = 1;
    if (write(s->fd, &one, sizeof one) != sizeof one)
        misuse("zmq_close", "somebody else has closed or filled the descriptor");
    pthread_mutex_unlock(&s->mutex);
    while (left) {
        command *next = left->next;
        parcel_free(left->message);
        free(left);
        left = next;
    }
    free_all(&s->inbound);
    parcel_free(s->reading);
    parcel_free(s->begun);
    s->reading = s->begun = NULL;
    atomic_store(&s->magic, CLOSED);
    leave(s, 0);
    atomic_fetch_sub(&sockets, 1);
    pthread_mutex_lock(&c->mutex);
    fake_socket **at = &c->open;
    while (*at != s)
        at = &(*at)->next_open;
    *at = s->next_open;
    reap(c, s->fd);
    pthread_cond_broadcast(&c->cond);
    pthread_mutex_unlock(&c->mutex);
    return 0;
}

static bool injected(atomic_int *times)
{
    int left = atomic_load_explicit(times, memory_order_relaxed);
    while (left > 0)
        if (atomic_compare_exchange_weak_explicit(times, &left, left - 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    return false;
}

static int error_of(atomic_int *error)
{
    return fail(atomic_load_explicit(error, memory_order_relaxed));
}

/* Part `index` is refused: what becomes of the beginning. */
static int refuse_part(fake_socket *s, bool more)
{
    if (!is_publisher(s)) {
        parcel_free(s->begun);
        s->begun = NULL;
        s->dropping = s->type != ZMQ_PAIR && more;
    }
    return fail(EAGAIN);
}

static void end_message(fake_socket *s)
{
    parcel *p = s->begun;
    s->begun = NULL;
    atomic_store_explicit(&s->is_begun, false, memory_order_relaxed);
    s->hwm_used[s->current_peer]++;
    s->receiving = s->type == ZMQ_REQ;
    pthread_mutex_lock(&s->mutex);
    append(&s->out, p);
    s->out_count++;
    pthread_mutex_unlock(&s->mutex);
}

static int send_one(fake_socket *s, zmq_msg_t *message, int flags)
{
    bool more = flags & ZMQ_SNDMORE;
    zmq_msg_t fresh;
    if (s->stopped || (++s->sends % count_of(&throttle) == 0 && !empty_mailbox(s)))
        return fail(ETERM);
    if (!can_send(s))
        return fail(ENOTSUP);
    if (s->type == ZMQ_REQ && s->receiving) {
        if (!s->relaxed)
            return fail(EFSM);
        s->receiving = false;
    }
    if (s->type == ZMQ_REP && !s->receiving)
        return fail(EFSM);
    if (s->dropping) {
        s->dropping = more;
        if (!more && s->type == ZMQ_REQ)
            s->receiving = true;
    } else {
        if (!s->begun) {
            if (injected(&s->send_errors))
                return error_of(&s->send_error);
            s->current_peer = peer_of(s, message);
            if (!has_room(s, s->current_peer))
                return fail(EAGAIN);
        } else if (s->begun->count == atomic_load(&s->refused_part) &&
                   injected(&s->refused_parts))
            return refuse_part(s, more);
        if (!s->begun)
            s->begun = parcel_new();
        atomic_store_explicit(&s->is_begun, true, memory_order_relaxed);
        zmq_msg_t *place = next_place(s->begun);
        zmq_msg_init(place);
        zmq_msg_copy(place, message);
        ((part *)place)->more = more;
        if (!more)
            end_message(s);
    }
    /* Sent: what the caller has left is empty. */
    zmq_msg_init(&fresh);
    zmq_msg_move(message, &fresh);
    zmq_msg_close(&fresh);
    return 0;
}

int zmq_msg_send(zmq_msg_t *message, void *zmq, int flags)
{
    fake_socket *s = enter(zmq, "zmq_msg_send");
    if (!(flags & ZMQ_DONTWAIT))
        misuse("zmq_msg_send", "without ZMQ_DONTWAIT it may block");
    part_of(message, "zmq_msg_send");
    return leave(s, send_one(s, message, flags));
}

static bool take_part(fake_socket *s, zmq_msg_t *message)
{
    if (!s->reading) {
        s->reading = take_first(&s->inbound);
        s->read_parts = 0;
    }
    if (!s->reading)
        return false;
    zmq_msg_t *first = &s->reading->part[s->read_parts++];
    zmq_msg_move(message, first);
    if (s->read_parts == s->reading->count) {
        parcel_free(s->reading);
        s->reading = NULL;
        if (s->type == ZMQ_REQ)
            s->receiving = false;
        else if (s->type == ZMQ_REP)
            s->receiving = true;
    }
    return true;
}

static int receive_one(fake_socket *s, zmq_msg_t *message)
{
    if (s->stopped)
        return fail(ETERM);
    if (!can_receive(s))
        return fail(ENOTSUP);
    if (++s->ticks % RECEIVE_RATE == 0 && !empty_mailbox(s))
        return fail(ETERM);
    if (injected(&s->receive_errors))
        return error_of(&s->receive_error);
    if ((s->type == ZMQ_REQ && !s->receiving) || (s->type == ZMQ_REP && s->receiving))
        return fail(EFSM);
    if (take_part(s, message))
        return (int)zmq_msg_size(message);
    if (!empty_mailbox(s))
        return fail(ETERM);
    return take_part(s, message) ? (int)zmq_msg_size(message) : fail(EAGAIN);
}

int zmq_msg_recv(zmq_msg_t *message, void *zmq, int flags)
{
    fake_socket *s = enter(zmq, "zmq_msg_recv");
    if (!(flags & ZMQ_DONTWAIT))
        misuse("zmq_msg_recv", "without ZMQ_DONTWAIT it may block");
    part_of(message, "zmq_msg_recv");
    return leave(s, receive_one(s, message));
}

/* bind, connect and their opposites look at the mailbox too, and so may eat a signal. */
static int attend(void *zmq, const char *call, const char *endpoint)
{
    fake_socket *s = enter(zmq, call);
    if (!s->stopped && !strncmp(endpoint, "slow:", 5))
        wait_at_gate();
    if (!empty_mailbox(s))
        return leave(s, fail(ETERM));
    return leave(s, strncmp(endpoint, "bad:", 4) ? 0 : fail(EADDRINUSE));
}

int zmq_bind(void *zmq, const char *endpoint)
{
    fake_socket *s = zmq;
    int rc = attend(zmq, "zmq_bind", endpoint);
    if (rc == 0)
        snprintf(s->endpoint, sizeof s->endpoint, "%s%s", endpoint, strchr(endpoint, '*') ? "1" : "");
    return rc;
}

int zmq_unbind(void *zmq, const char *endpoint)
{
    return attend(zmq, "zmq_unbind", endpoint);
}

int zmq_connect(void *zmq, const char *endpoint)
{
    return attend(zmq, "zmq_connect", endpoint);
}

int zmq_disconnect(void *zmq, const char *endpoint)
{
    return attend(zmq, "zmq_disconnect", endpoint);
}

int zmq_socket_monitor(void *zmq, const char *endpoint, int mask)
{
    (void)mask;
    return attend(zmq, "zmq_socket_monitor", endpoint ? endpoint : "");
}

static int *option_of(fake_socket *s, int option)
{
    switch (option) {
    case ZMQ_TYPE:
        return &s->type;
    case ZMQ_FD:
        return &s->fd;
    case ZMQ_RCVTIMEO:
        return &s->rcvtimeo;
    case ZMQ_SNDTIMEO:
        return &s->sndtimeo;
    case ZMQ_LINGER:
        return &s->linger;
    case ZMQ_SNDHWM:
        return &s->hwm;
    case ZMQ_REQ_RELAXED:
        return &s->relaxed;
    default:
        return &s->other;
    }
}

int zmq_setsockopt(void *zmq, int option, const void *data, size_t size)
{
    fake_socket *s = enter(zmq, "zmq_setsockopt");
    if (s->stopped)
        return leave(s, fail(ETERM));
    if (size != sizeof(int))
        return leave(s, fail(EINVAL));
    memcpy(option_of(s, option), data, sizeof(int));
    return leave(s, 0);
}

int zmq_getsockopt(void *zmq, int option, void *data, size_t *size)
{
    fake_socket *s = enter(zmq, "zmq_getsockopt");
    int value;
    if (s->stopped)
        return leave(s, fail(ETERM));
    if (option == ZMQ_LAST_ENDPOINT) {
        size_t length = strlen(s->endpoint) + 1;
        if (*size < length)
            return leave(s, fail(EINVAL));
        memcpy(data, s->endpoint, length);
        *size = length;
        return leave(s, 0);
    }
    if (*size < sizeof(int))
        return leave(s, fail(EINVAL));
    if (option == ZMQ_EVENTS) {
        if (!empty_mailbox(s))
            return leave(s, fail(ETERM));
        value = events(s);
    } else
        value = *option_of(s, option);
    memcpy(data, &value, sizeof value);
    *size = sizeof value;
    return leave(s, 0);
}

#ifdef ZMQ_BUILD_DRAFT_API

int zmq_join(void *zmq, const char *group)
{
    return attend(zmq, "zmq_join", group);
}

int zmq_leave(void *zmq, const char *group)
{
    return attend(zmq, "zmq_leave", group);
}

/* Nothing here is tried with them; they are for the linker. */

void *zmq_poller_new(void)
{
    return NULL;
}

int zmq_poller_destroy(void **poller)
{
    (void)poller;
    return fail(ENOTSUP);
}

int zmq_poller_add(void *poller, void *zmq, void *user_data, short events)
{
    (void)poller, (void)zmq, (void)user_data, (void)events;
    return fail(ENOTSUP);
}

int zmq_poller_fd(void *poller, zmq_fd_t *fd)
{
    (void)poller, (void)fd;
    return fail(ENOTSUP);
}

int zmq_poller_wait(void *poller, zmq_poller_event_t *event, long timeout)
{
    (void)poller, (void)event, (void)timeout;
    return fail(ENOTSUP);
}

uint32_t zmq_msg_routing_id(zmq_msg_t *msg)
{
    (void)msg;
    return 0;
}

int zmq_msg_set_routing_id(zmq_msg_t *msg, uint32_t routing_id)
{
    (void)msg, (void)routing_id;
    return fail(ENOTSUP);
}

const char *zmq_msg_group(zmq_msg_t *msg)
{
    (void)msg;
    return "";
}

int zmq_msg_set_group(zmq_msg_t *msg, const char *group)
{
    (void)msg, (void)group;
    return fail(ENOTSUP);
}

#endif

/* ---- contexts ------------------------------------------------------------------------------------- */

static context *living(void *zmq, const char *call)
{
    context *c = zmq;
    if (atomic_load(&c->magic) != LIVING)
        misuse(call, "the context has ended");
    if (c->process != getpid())
        misuse(call, "the context belongs to a parent process");
    return c;
}

void *zmq_ctx_new(void)
{
    context *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->process = getpid();
    c->unreaped = -1;
    c->io_threads = 1;
    c->max_sockets = 1023;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->cond, NULL);
    atomic_init(&c->magic, LIVING);
    atomic_fetch_add(&contexts, 1);
    pthread_mutex_lock(&graveyard);
    c->next = all_contexts;
    all_contexts = c;
    pthread_mutex_unlock(&graveyard);
    return c;
}

/* Mutex held. */
static void stop_sockets(context *c)
{
    if (!c->shut)
        for (fake_socket *s = c->open; s; s = s->next_open)
            post(s, STOP, 0, NULL);
    c->shut = true;
}

int zmq_ctx_shutdown(void *zmq)
{
    context *c = living(zmq, "zmq_ctx_shutdown");
    pthread_mutex_lock(&c->mutex);
    stop_sockets(c);
    pthread_mutex_unlock(&c->mutex);
    return 0;
}

int zmq_ctx_term(void *zmq)
{
    context *c = living(zmq, "zmq_ctx_term");
    pthread_mutex_lock(&c->mutex);
    if (c->terminating)
        misuse("zmq_ctx_term", "another thread is inside it: which of them frees the context?");
    stop_sockets(c);
    c->terminating = true;
    while (c->open)
        pthread_cond_wait(&c->cond, &c->mutex);
    reap(c, -1);
    atomic_store(&c->magic, ENDED);
    pthread_mutex_unlock(&c->mutex);
    atomic_fetch_sub(&contexts, 1);
    return 0;
}

int zmq_ctx_set(void *zmq, int option, int value)
{
    context *c = living(zmq, "zmq_ctx_set");
    if (option != ZMQ_IO_THREADS && option != ZMQ_MAX_SOCKETS)
        return fail(EINVAL);
    if (value == FAKE_SLOW_VALUE)
        wait_at_gate();
    living(zmq, "zmq_ctx_set (coming out again)");
    pthread_mutex_lock(&c->mutex);
    *(option == ZMQ_IO_THREADS ? &c->io_threads : &c->max_sockets) = value;
    pthread_mutex_unlock(&c->mutex);
    return 0;
}

int zmq_ctx_get(void *zmq, int option)
{
    context *c = living(zmq, "zmq_ctx_get");
    pthread_mutex_lock(&c->mutex);
    int value = option == ZMQ_IO_THREADS    ? c->io_threads
                : option == ZMQ_MAX_SOCKETS ? c->max_sockets
                                            : fail(EINVAL);
    pthread_mutex_unlock(&c->mutex);
    return value;
}

int zmq_has(const char *capability)
{
    return !strcmp(capability, "ipc");
}

void zmq_version(int *major, int *minor, int *patch)
{
    *major = ZMQ_VERSION_MAJOR;
    *minor = ZMQ_VERSION_MINOR;
    *patch = ZMQ_VERSION_PATCH;
}

int zmq_curve_keypair(char *public_key, char *secret_key)
{
    (void)public_key, (void)secret_key;
    return fail(ENOTSUP);
}

int zmq_curve_public(char *public_key, const char *secret_key)
{
    (void)public_key, (void)secret_key;
    return fail(ENOTSUP);
}

/* ---- the other side ------------------------------------------------------------------------------- */

bool fake_deliver(void *zmq, const char *text)
{
    return post(zmq, MESSAGE, 0, parcel_of(text));
}

bool fake_deliver_size(void *zmq, size_t size)
{
    parcel *p = parcel_new();
    zmq_msg_t *m = next_place(p);
    zmq_msg_init_size(m, size);
    memset(zmq_msg_data(m), 'x', size);
    return post(zmq, MESSAGE, 0, p);
}

bool fake_take(void *zmq, const char *peer, char *text, size_t room)
{
    fake_socket *s = zmq;
    parcels rest = {0};
    parcel *found = NULL;
    int index = 0;
    pthread_mutex_lock(&s->mutex);
    for (parcel *p; (p = take_first(&s->out));)
        if (!found && (!peer || begins_with(p, peer)))
            found = p;
        else
            append(&rest, p);
    s->out = rest;
    if (found) {
        s->out_count--;
        if (s->type == ZMQ_ROUTER)
            while (!begins_with(found, s->peer[index])) /* written before the message came here */
                index++;
    }
    pthread_mutex_unlock(&s->mutex);
    if (!found)
        return false;
    text_of(found, text, room);
    parcel_free(found);
    post(s, ROOM, index, NULL);
    return true;
}

int fake_sent(void *zmq)
{
    fake_socket *s = zmq;
    pthread_mutex_lock(&s->mutex);
    int count = s->out_count;
    pthread_mutex_unlock(&s->mutex);
    return count;
}

void fake_refuse(void *zmq, bool refuse)
{
    post(zmq, REFUSE, refuse, NULL);
}

void fake_fail_sends(void *zmq, int error, int times)
{
    fake_socket *s = zmq;
    atomic_store(&s->send_error, error);
    atomic_store(&s->send_errors, times);
}

void fake_fail_receives(void *zmq, int error, int times)
{
    fake_socket *s = zmq;
    atomic_store(&s->receive_error, error);
    atomic_store(&s->receive_errors, times);
}

void fake_refuse_part(void *zmq, int index, int times)
{
    fake_socket *s = zmq;
    atomic_store(&s->refused_part, index);
    atomic_store(&s->refused_parts, times);
}

bool fake_is_begun(void *zmq)
{
    fake_socket *s = zmq;
    return atomic_load(&s->is_begun);
}

bool fake_is_inside(void *zmq)
{
    fake_socket *s = zmq;
    return atomic_load(&s->inside);
}

bool fake_is_terminating(void *zmq)
{
    context *c = zmq;
    pthread_mutex_lock(&c->mutex);
    bool terminating = c->terminating;
    pthread_mutex_unlock(&c->mutex);
    return terminating;
}

/* Reads fields of the calls without a lock: the process is about to end. */
__attribute__((no_sanitize("thread"))) void fake_dump(void *zmq)
{
    fake_socket *s = zmq;
    int posted = 0, inbound = 0;
    pthread_mutex_lock(&s->mutex);
    for (command *c = s->commands; c; c = c->next)
        posted++;
    for (parcel *p = s->inbound.head; p; p = p->next)
        inbound++;
    fprintf(stderr,
            "fake_zmq: socket of type %d: %s, %d commands in the mailbox, %ssignalled, %d inbound, "
            "%d sent and not taken, room used %d of %d%s%s%s\n",
            s->type, atomic_load(&s->magic) == LIVING ? "open" : "closed", posted,
            s->signalled ? "" : "not ", inbound, s->out_count, s->hwm_used[0], s->hwm,
            s->refusing ? ", refusing" : "", s->stopped ? ", stopped" : "",
            atomic_load(&s->inside) ? ", a thread inside" : "");
    pthread_mutex_unlock(&s->mutex);
}
