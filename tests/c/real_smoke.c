/* The same calls with the system's libzmq, over inproc and tcp: that fake_zmq.c has not led us to
 * believe in a libzmq that there is not. */
#include <zmq.h>

#include <sys/wait.h>

#include "greenlet.h"

#define MESSAGES 5000

static gzh_context *context;

static gzh_socket *open_socket(int type)
{
    gzh_socket *s;
    CHECK_IS(gzh_socket_open(context, type, &s), 0);
    return s;
}

/* For a blocking call: a companion that is not on watch. */
static int call_by_companion(gzh_socket *s, int operation, char *endpoint, size_t room)
{
    greenlet g, other;
    size_t size = room;
    born(&g);
    born(&other);
    int rc = gzh_call(s, g.companion, operation, 0, endpoint, &size);
    if (rc == GZH_BUSY) {
        greenlet swap = g;
        g = other;
        other = swap;
        size = room;
        rc = gzh_call(s, g.companion, operation, 0, endpoint, &size);
    }
    while (rc == GZH_WAIT) {
        WAIT_TOLD(&g);
        size = room;
        rc = gzh_end_call(g.companion, endpoint, &size);
    }
    dies(&g);
    dies(&other);
    return rc;
}

/* Binds `there` and connects `here`, over inproc or tcp. */
static void connect_pair(gzh_socket *here, gzh_socket *there, bool tcp)
{
    static int number;
    char endpoint[64];
    size_t size = sizeof endpoint;
    memset(endpoint, 0, sizeof endpoint);
    if (tcp)
        strcpy(endpoint, "tcp://127.0.0.1:*");
    else
        snprintf(endpoint, sizeof endpoint, "inproc://number-%d", ++number);
    CHECK_IS(call_by_companion(there, GZH_BIND, endpoint, sizeof endpoint), 0);
    CHECK(strchr(endpoint, '*') == NULL);
    CHECK_IS(gzh_call(here, NULL, GZH_CONNECT, 0, endpoint, &size), 0);
}

static struct {
    gzh_socket *here, *there;
} pair;

static void *pushes(void *argument)
{
    greenlet g;
    char text[32];
    (void)argument;
    born(&g);
    for (int i = 1; i <= MESSAGES; i++) {
        snprintf(text, sizeof text, i % 3 ? "m%d" : "m%d|b|c|d|e|f", i);
        CHECK_IS(do_send(&g, pair.here, text), 0);
    }
    dies(&g);
    return NULL;
}

static void messages_go_through(bool tcp)
{
    greenlet g;
    char text[32];
    pair.here = open_socket(ZMQ_PUSH);
    pair.there = open_socket(ZMQ_PULL);
    CHECK_IS(set_option(pair.here, ZMQ_SNDHWM, 5), 0);
    CHECK_IS(set_option(pair.there, ZMQ_RCVHWM, 5), 0);
    connect_pair(pair.here, pair.there, tcp);
    born(&g);
    pthread_t thread = start(pushes, NULL);
    for (int i = 1; i <= MESSAGES; i++) {
        CHECK(do_recv(&g, pair.there) >= 0);
        snprintf(text, sizeof text, i % 3 ? "m%d" : "m%d|b|c|d|e|f", i);
        CHECK_TEXT(g.text, text);
    }
    join(thread);
    dies(&g);
    gzh_socket_drop(pair.here);
    gzh_socket_drop(pair.there);
}

static void messages_go_through_inproc(void)
{
    messages_go_through(false);
}

static void messages_go_through_tcp(void)
{
    messages_go_through(true);
}

/* ---- many at both ends ------------------------------------------------------------------------ */

#define CLIENTS 4
#define REQUESTS 400

static atomic_int answered;

static void *requests(void *argument)
{
    greenlet g;
    char text[32];
    gzh_socket *s = argument;
    born(&g);
    for (int i = 0; i < REQUESTS; i++) {
        snprintf(text, sizeof text, "q%d|x", i);
        CHECK_IS(do_send(&g, s, text), 0);
        CHECK_IS(do_recv(&g, s), 0);
        CHECK_TEXT(g.text, text);
        atomic_fetch_add(&answered, 1);
    }
    dies(&g);
    return NULL;
}

/* Several of these share the one ROUTER; each takes its greenlet's death now and then. */
static void *answers(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    greenlet g;
    born(&g);
    for (;;) {
        int rc = try_recv(pair.there, g.companion, g.slot, GZH_KEEP);
        if (rc == GZH_WAIT && dice(&state, 3) == 0) {
            dawdle(&state, 100);
            CHECK_IS(gzh_companion_cancel(g.companion), 0);
            continue;
        }
        while (rc == GZH_WAIT) {
            WAIT_TOLD(&g);
            rc = gzh_end(g.companion, g.slot, GZH_KEEP, false);
        }
        if (rc == -ETERM)
            break;
        CHECK_IS(rc, GZH_WHOLE);
        gzh_message *m = g.slot->whole;
        rc = gzh_send_message(pair.there, g.companion, m, 0);
        while (rc == GZH_WAIT) {
            WAIT_TOLD(&g);
            rc = gzh_end(g.companion, NULL, 0, false);
        }
        gzh_message_free(m);
        if (rc == -ETERM)
            break;
        CHECK_IS(rc, 0);
    }
    dies(&g);
    return NULL;
}

static int end_term(greenlet *g)
{
    int rc;
    do {
        WAIT_TOLD(g);
        rc = gzh_context_end_term(g->companion);
    } while (rc == GZH_WAIT);
    return rc;
}

/* And at the end a term while all wait. */
static void requests_are_answered_by_several_who_share_a_router(void)
{
    gzh_context *usual = context;
    pthread_t client[CLIENTS], server[3];
    gzh_socket *req[CLIENTS];
    char endpoint[64] = "tcp://127.0.0.1:*", inproc[64] = "inproc://router";
    size_t size = sizeof endpoint, inproc_size = strlen(inproc) + 1;
    CHECK_IS(gzh_context_new(1, &context), 0);
    pair.there = open_socket(ZMQ_ROUTER);
    CHECK_IS(set_option(pair.there, ZMQ_ROUTER_MANDATORY, 1), 0);
    CHECK_IS(call_by_companion(pair.there, GZH_BIND, endpoint, sizeof endpoint), 0);
    CHECK_IS(call_by_companion(pair.there, GZH_BIND, inproc, sizeof inproc), 0);
    atomic_store(&answered, 0);
    shake(true);
    for (long i = 0; i < 3; i++)
        server[i] = start(answers, (void *)(i + 1));
    for (int i = 0; i < CLIENTS; i++) {
        req[i] = open_socket(ZMQ_REQ);
        CHECK_IS(gzh_call(req[i], NULL, GZH_CONNECT, 0, i % 2 ? endpoint : inproc,
                          i % 2 ? &size : &inproc_size), 0);
        client[i] = start(requests, req[i]);
    }
    for (int i = 0; i < CLIENTS; i++)
        join(client[i]);
    CHECK_IS(atomic_load(&answered), CLIENTS * REQUESTS);
    shake(false);
    greenlet g;
    do
        born(&g);
    while (gzh_context_term(context, g.companion) == GZH_BUSY);
    for (int i = 0; i < 3; i++)
        join(server[i]);
    for (int i = 0; i < CLIENTS; i++)
        gzh_socket_drop(req[i]);
    gzh_socket_drop(pair.there);
    CHECK_IS(end_term(&g), 0);
    dies(&g);
    gzh_context_drop(context);
    context = usual;
}

/* ---- one of each ------------------------------------------------------------------------------ */

static void a_sender_waits_for_its_peer(void)
{
    greenlet g, reader;
    pair.here = open_socket(ZMQ_DEALER);
    pair.there = open_socket(ZMQ_DEALER);
    born(&g);
    born(&reader);
    CHECK_IS(send_now(pair.here, "too early"), -EAGAIN);
    CHECK_IS(ask_send(&g, pair.here, "a|b"), GZH_WAIT);
    CHECK_IS(ask_recv(&reader, pair.here), GZH_WAIT); /* beside it */
    NOT_TOLD(&g);
    connect_pair(pair.here, pair.there, true);
    CHECK_IS(wait_on(&g, GZH_WAIT), 0);
    CHECK_IS(do_recv(&g, pair.there), 0);
    CHECK_TEXT(g.text, "a|b");
    CHECK_IS(do_send(&g, pair.there, "back"), 0);
    CHECK_IS(wait_on(&reader, GZH_WAIT), 4);
    dies(&g);
    dies(&reader);
    gzh_socket_drop(pair.here);
    gzh_socket_drop(pair.there);
}

static void a_mandatory_router_waits_for_room(void)
{
    greenlet g;
    gzh_socket *router = open_socket(ZMQ_ROUTER), *dealer = open_socket(ZMQ_DEALER);
    char name[] = "A";
    size_t size = 1;
    int sent = 0;
    CHECK_IS(gzh_call(dealer, NULL, GZH_SET, ZMQ_ROUTING_ID, name, &size), 0);
    CHECK_IS(set_option(dealer, ZMQ_RCVHWM, 2), 0);
    CHECK_IS(set_option(router, ZMQ_SNDHWM, 2), 0);
    CHECK_IS(set_option(router, ZMQ_ROUTER_MANDATORY, 1), 0);
    connect_pair(dealer, router, false);
    born(&g);
    CHECK_IS(do_send(&g, dealer, "hello"), 0);
    CHECK_IS(do_recv(&g, router), 0);
    CHECK_TEXT(g.text, "A|hello");
    CHECK_IS(ask_send(&g, router, "B|x"), -EHOSTUNREACH);
    while (send_now(router, "A|more") == 0)
        sent++;
    CHECK(sent > 0 && sent < 10);
    CHECK_IS(ask_send(&g, router, "A|last"), GZH_WAIT);
    NOT_TOLD(&g);
    greenlet reader;
    born(&reader);
    for (int i = 0; i < sent; i++) {
        CHECK_IS(do_recv(&reader, dealer), 4);
        CHECK_TEXT(reader.text, "more");
    }
    CHECK_IS(wait_on(&g, GZH_WAIT), 0);
    CHECK_IS(do_recv(&reader, dealer), 4);
    CHECK_TEXT(reader.text, "last");
    dies(&g);
    dies(&reader);
    gzh_socket_drop(router);
    gzh_socket_drop(dealer);
}

static void a_subscriber_polls_and_receives(void)
{
    greenlet g, reader;
    gzh_socket *pub = open_socket(ZMQ_XPUB), *sub = open_socket(ZMQ_SUB);
    char topic[] = "news";
    size_t size = 4;
    connect_pair(sub, pub, true);
    CHECK_IS(gzh_call(sub, NULL, GZH_SET, ZMQ_SUBSCRIBE, topic, &size), 0);
    born(&g);
    born(&reader);
    CHECK_IS(do_recv(&g, pub), 5); /* the subscription */
    CHECK_IS(try_poll(sub, g.companion, ZMQ_POLLIN, 0), GZH_WAIT);
    CHECK_IS(ask_recv(&reader, sub), GZH_WAIT);
    CHECK_IS(send_now(pub, "weather|rain"), 0);
    CHECK_IS(send_now(pub, "news|all is well"), 0);
    CHECK_IS(wait_on(&g, GZH_WAIT), ZMQ_POLLIN);
    CHECK_IS(read_slot(&reader, wait_on(&reader, GZH_WAIT)), 0);
    CHECK_TEXT(reader.text, "news|all is well");
    int events;
    until_nobody_is_inside(sub);
    CHECK_IS(get_option(sub, ZMQ_EVENTS, &events), 0);
    CHECK_IS(events, 0);
    dies(&g);
    dies(&reader);
    gzh_socket_drop(pub);
    gzh_socket_drop(sub);
}

static void a_request_takes_turns(void)
{
    greenlet g;
    gzh_socket *req = open_socket(ZMQ_REQ), *rep = open_socket(ZMQ_REP);
    connect_pair(req, rep, false);
    born(&g);
    CHECK_IS(ask_recv(&g, req), -EFSM);
    CHECK_IS(ask_send(&g, rep, "x"), -EFSM);
    CHECK_IS(do_send(&g, req, "question"), 0);
    CHECK_IS(send_now(req, "another"), -EFSM);
    CHECK_IS(do_recv(&g, rep), 8);
    CHECK_IS(do_send(&g, rep, "answer"), 0);
    CHECK_IS(do_recv(&g, req), 6);
    CHECK_IS(do_send(&g, req, "another"), 0);
    dies(&g);
    gzh_socket_drop(req);
    gzh_socket_drop(rep);
}

static void what_is_closed_or_ended_says_so(void)
{
    greenlet g;
    gzh_context *usual = context;
    CHECK_IS(gzh_context_new(1, &context), 0);
    gzh_socket *s = open_socket(ZMQ_PULL), *other = open_socket(ZMQ_PULL);
    born(&g);
    CHECK_IS(ask_recv(&g, s), GZH_WAIT);
    gzh_socket_close(s, NULL);
    CHECK_IS(wait_on(&g, GZH_WAIT), -ENOTSOCK);
    gzh_socket_drop(s);
    CHECK_IS(ask_recv(&g, other), GZH_WAIT);
    CHECK_IS(gzh_context_shutdown(context), 0);
    CHECK_IS(wait_on(&g, GZH_WAIT), -ETERM);
    gzh_socket_drop(other);
    gzh_context_drop(context);
    context = usual;
    dies(&g);
}

static char memory[100000];

static void a_pin_comes_back_from_libzmqs_thread(void)
{
    greenlet g;
    uint64_t number;
    pair.here = open_socket(ZMQ_PUSH);
    pair.there = open_socket(ZMQ_PULL);
    connect_pair(pair.here, pair.there, true);
    born(&g);
    gzh_message *m = gzh_message_new();
    CHECK_IS(gzh_message_pin(m, memory, sizeof memory, 42), 0);
    int rc = gzh_send_message(pair.here, g.companion, m, 0);
    gzh_message_free(m);
    while (rc == GZH_WAIT) {
        WAIT_TOLD(&g);
        rc = gzh_end(g.companion, NULL, 0, false);
    }
    CHECK_IS(rc, 0);
    rc = try_recv(pair.there, g.companion, g.slot, 0);
    while (rc == GZH_WAIT) {
        WAIT_TOLD(&g);
        rc = gzh_end(g.companion, g.slot, 0, false);
    }
    CHECK_IS(rc, GZH_WHOLE);
    CHECK_IS(gzh_message_size(g.slot->whole, 0), sizeof memory);
    gzh_message_free(g.slot->whole);
    if (gzh_pin_wait(g.companion, 42) == GZH_WAIT) {
        do
            WAIT_TOLD(&g);
        while (gzh_pin_end(g.companion, false) == GZH_WAIT);
    }
    CHECK_IS(gzh_released(&number, 1), 1);
    CHECK_IS(number, 42);
    dies(&g);
    gzh_socket_drop(pair.here);
    gzh_socket_drop(pair.there);
}

static void a_forked_child_has_a_libzmq_of_its_own(void)
{
    greenlet g;
    pair.here = open_socket(ZMQ_PUSH);
    pair.there = open_socket(ZMQ_PULL);
    connect_pair(pair.here, pair.there, true);
    born(&g);
    CHECK_IS(ask_recv(&g, pair.there), GZH_WAIT);
    /* Until libzmq's threads rest: one that allocates would leave the child a lock of the address
     * sanitizer's taken. */
    pause_us(50000);
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid != -1);
    if (pid == 0) {
        alarm(20);
        CHECK_IS(end_other(&g), GZH_FORKED);
        gzh_socket_drop(pair.here);
        gzh_socket_drop(pair.there);
        gzh_context_drop(context);
        dies(&g);
        CHECK_IS(gzh_context_new(1, &context), 0);
        a_sender_waits_for_its_peer();
        _exit(0);
    }
    int status;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_IS(send_now(pair.here, "hello"), 0);
    CHECK_IS(wait_on(&g, GZH_WAIT), 5);
    dies(&g);
    gzh_socket_drop(pair.here);
    gzh_socket_drop(pair.there);
}

int main(void)
{
    int version[3];
    begin();
    gzh_version(version);
    printf("libzmq %d.%d.%d\n", version[0], version[1], version[2]);
    CHECK_IS(gzh_context_new(1, &context), 0);
    RUN(messages_go_through_inproc);
    RUN(messages_go_through_tcp);
    RUN(requests_are_answered_by_several_who_share_a_router);
    RUN(a_sender_waits_for_its_peer);
    RUN(a_mandatory_router_waits_for_room);
    RUN(a_subscriber_polls_and_receives);
    RUN(a_request_takes_turns);
    RUN(what_is_closed_or_ended_says_so);
    RUN(a_pin_comes_back_from_libzmqs_thread);
    RUN(a_forked_child_has_a_libzmq_of_its_own);
    greenlet g;
    do
        born(&g);
    while (gzh_context_term(context, g.companion) == GZH_BUSY);
    CHECK_IS(end_term(&g), 0);
    dies(&g);
    gzh_context_drop(context);
    return 0;
}
