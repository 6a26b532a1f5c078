/* DESIGN.  A message has one holder, so its functions lock nothing.
 *
 * A pin is memory of the caller's that libzmq reads.  libzmq calls `release` on its I/O thread, on
 * a thread that closes a message, or while Python ends: it must not touch Python.  It moves the pin
 * from `pinned` to `released`, and grants those who wait for it; whoever calls gzh_released lets
 * the memory go.  Both lists are guarded by `pins`, an innermost mutex. */
#include "message.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "platform.h"

typedef struct pin {
    struct pin *next, *prev;
    uint64_t number;
} pin;

static pthread_mutex_t pins = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pin *pinned, *released;
static gzh_request *waiters;

void gzh_message_init(gzh_message *m)
{
    m->next = NULL;
    m->part = m->few;
    m->count = 0;
    m->room = GZH_INLINE_PARTS;
    m->captured = false;
}

void gzh_message_clear(gzh_message *m)
{
    for (int i = 0; i < m->count; i++)
        zmq_msg_close(&m->part[i]);
    if (m->part != m->few)
        free(m->part);
    gzh_message_init(m);
}

gzh_message *gzh_message_new(void)
{
    gzh_message *m = malloc(sizeof *m);
    if (m)
        gzh_message_init(m);
    return m;
}

void gzh_message_free(gzh_message *m)
{
    if (!m)
        return;
    gzh_message_clear(m);
    free(m);
}

static void move(zmq_msg_t *to, zmq_msg_t *from)
{
    zmq_msg_init(to);
    GZH_MUST(zmq_msg_move(to, from) == 0 ? 0 : errno);
    zmq_msg_close(from);
}

void gzh_message_move(gzh_message *m, gzh_message *source)
{
    gzh_message_init(m);
    if (source->part != source->few) {
        m->part = source->part;
        m->room = source->room;
    } else
        for (int i = 0; i < source->count; i++)
            move(&m->part[i], &source->part[i]);
    m->count = source->count;
    m->captured = source->captured;
    gzh_message_init(source);
}

gzh_message *gzh_message_keep(gzh_message *source)
{
    gzh_message *m = gzh_message_new();
    if (m)
        gzh_message_move(m, source);
    return m;
}

gzh_message *gzh_message_must_keep(gzh_message *source)
{
    gzh_message *m = gzh_message_keep(source);
    if (!m)
        gzh_panic(__FILE__, __LINE__, "a received message", ENOMEM);
    return m;
}

zmq_msg_t *gzh_message_place(gzh_message *m)
{
    if (m->count == m->room) {
        /* A zmq_msg_t is moved by libzmq's own means only, never by realloc. */
        zmq_msg_t *more = malloc(sizeof *more * (size_t)m->room * 2);
        if (!more)
            return NULL;
        for (int i = 0; i < m->count; i++)
            move(&more[i], &m->part[i]);
        if (m->part != m->few)
            free(m->part);
        m->part = more;
        m->room *= 2;
    }
    return &m->part[m->count++];
}

int gzh_part_copy(zmq_msg_t *part, const void *data, size_t size)
{
    if (size >= GZH_LARGE)
        gzh_keep_memory();
    if (zmq_msg_init_size(part, size) == -1)
        return -ENOMEM;
    if (size)
        memcpy(zmq_msg_data(part), data, size);
    return 0;
}

int gzh_message_add(gzh_message *m, const void *data, size_t size)
{
    zmq_msg_t *part = gzh_message_place(m);
    int rc = part ? gzh_part_copy(part, data, size) : -ENOMEM;
    if (rc < 0)
        m->count -= part != NULL;
    return rc;
}

int gzh_message_share(gzh_message *m, gzh_message *other, int index)
{
    zmq_msg_t *part = gzh_message_place(m);
    if (!part)
        return -ENOMEM;
    zmq_msg_init(part);
    return zmq_msg_copy(part, &other->part[index]) == -1 ? -errno : 0;
}

static void lock(void)
{
    gzh_lock(&pins);
}

static void unlock(void)
{
    gzh_unlock(&pins);
}

/* The child keeps its copy of the lists: nobody releases those pins there, and nobody waits. */
static void in_child(void)
{
    waiters = NULL;
    unlock();
}

static void set_up(void)
{
    GZH_MUST(pthread_atfork(lock, unlock, in_child));
}

static void release(void *data, void *hint)
{
    pin *p = hint;
    (void)data;
    lock();
    if (p->prev)
        p->prev->next = p->next;
    else
        pinned = p->next;
    if (p->next)
        p->next->prev = p->prev;
    p->next = released;
    released = p;
    for (gzh_request **at = &waiters; *at;) {
        gzh_request *r = *at;
        if (r->size == p->number) {
            *at = r->next;
            gzh_grant(r, 0);
        } else
            at = &r->next;
    }
    unlock();
}

int gzh_message_pin(gzh_message *m, const void *data, size_t size, uint64_t number)
{
    GZH_MUST(pthread_once(&once, set_up));
    pin *p = malloc(sizeof *p);
    zmq_msg_t *part = p ? gzh_message_place(m) : NULL;
    if (!part || zmq_msg_init_data(part, (void *)data, size, release, p) == -1) {
        m->count -= part != NULL;
        free(p);
        return -ENOMEM;
    }
    p->number = number;
    p->prev = NULL;
    lock();
    p->next = pinned;
    if (pinned)
        pinned->prev = p;
    pinned = p;
    unlock();
    return 0;
}

/* pins held */
static void forget(gzh_request *r)
{
    gzh_request_remove(&waiters, r);
    atomic_store(&r->state, GZH_IDLE);
}

static int cancel(gzh_request *r)
{
    lock();
    forget(r);
    unlock();
    return 0;
}

int gzh_pin_wait(gzh_companion *companion, uint64_t number)
{
    gzh_request *r = gzh_companion_free_request(companion);
    if (!r)
        return GZH_BUSY;
    lock();
    pin *p = pinned;
    while (p && p->number != number)
        p = p->next;
    if (p) {
        r->cancel = cancel;
        r->size = number;
        atomic_store(&r->state, GZH_QUEUED);
        r->next = waiters;
        waiters = r;
    }
    unlock();
    return p ? GZH_WAIT : 0;
}

int gzh_pin_end(gzh_companion *companion, bool give_up)
{
    gzh_request *r = gzh_companion_request(companion);
    if (gzh_companion_is_strange(companion))
        return GZH_FORKED;
    gzh_companion_drain(companion);
    lock();
    bool granted = atomic_load(&r->state) == GZH_GRANTED;
    if (granted || give_up)
        forget(r);
    unlock();
    GZH_PAUSE("pin: has looked");
    return granted ? 0 : give_up ? -EAGAIN : GZH_WAIT;
}

gzh_message *gzh_message_take(gzh_message *m, int index)
{
    gzh_message *single = gzh_message_new();
    if (!single)
        return NULL;
    zmq_msg_t *to = gzh_message_place(single);
    zmq_msg_init(to);
    GZH_MUST(zmq_msg_move(to, &m->part[index]) == 0 ? 0 : errno);
    return single;
}

int gzh_message_parts(const gzh_message *m)
{
    return m->count;
}

void *gzh_message_data(gzh_message *m, int index)
{
    return zmq_msg_data(&m->part[index]);
}

size_t gzh_message_total(const gzh_message *m)
{
    size_t total = 0;
    for (int i = 0; i < m->count; i++)
        total += zmq_msg_size(&m->part[i]);
    return total;
}

size_t gzh_message_size(const gzh_message *m, int index)
{
    return zmq_msg_size(&m->part[index]);
}

int gzh_message_get(gzh_message *m, int property)
{
    int value = zmq_msg_get(&m->part[0], property);
    return value == -1 ? -errno : value;
}

const char *gzh_message_text(gzh_message *m, const char *property)
{
    return zmq_msg_gets(&m->part[0], property);
}

#if GZH_DRAFTS

int64_t gzh_message_routing_id(gzh_message *m)
{
    return zmq_msg_routing_id(&m->part[0]);
}

int gzh_message_set_routing_id(gzh_message *m, uint32_t routing_id)
{
    return zmq_msg_set_routing_id(&m->part[0], routing_id) == -1 ? -errno : 0;
}

const char *gzh_message_group(gzh_message *m)
{
    return zmq_msg_group(&m->part[0]);
}

int gzh_message_set_group(gzh_message *m, const char *group)
{
    return zmq_msg_set_group(&m->part[0], group) == -1 ? -errno : 0;
}

#else

int64_t gzh_message_routing_id(gzh_message *m)
{
    (void)m;
    return -ENOTSUP;
}

int gzh_message_set_routing_id(gzh_message *m, uint32_t routing_id)
{
    (void)m, (void)routing_id;
    return -ENOTSUP;
}

const char *gzh_message_group(gzh_message *m)
{
    (void)m;
    return NULL;
}

int gzh_message_set_group(gzh_message *m, const char *group)
{
    (void)m, (void)group;
    return -ENOTSUP;
}

#endif

int gzh_released(uint64_t *numbers, int room)
{
    int count = 0;
    lock();
    while (released && count < room) {
        pin *p = released;
        released = p->next;
        numbers[count++] = p->number;
        free(p);
    }
    unlock();
    return count;
}
