/* fork: the child uses the library afresh, touches nothing of its parent's, and steals nothing. */
#include "scene.h"

#include "inside.h"

#include <sys/wait.h>

/* The address sanitizer's allocator has locks of its own, that a fork may catch taken; the thread
 * sanitizer takes a child's thread for its parent's of the same pthread_t. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MAY_FORK_AT_ANY_TIME false
#else
#define MAY_FORK_AT_ANY_TIME true
#endif

/* What any new process can do: its own context, socket, companion, and a wait. */
static void all_works(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    greenlet g;
    char text[64];
    born(&g);
    CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
    fake_deliver(s.zmq, "hello");
    CHECK_IS(wait_on(&g, GZH_WAIT), 5);
    CHECK_IS(do_send(&g, s.socket, "a|b"), 0);
    CHECK(fake_take(s.zmq, NULL, text, sizeof text));
    CHECK_TEXT(text, "a|b");
    int rc = ask_call(&g, s.socket, GZH_BIND, "tcp://x");
    if (rc == GZH_BUSY) {
        greenlet other;
        born(&other);
        rc = wait_on(&other, ask_call(&other, s.socket, GZH_BIND, "tcp://x"));
        dies(&other);
    } else
        rc = wait_on(&g, rc);
    CHECK_IS(rc, 0);
    gzh_socket_drop(s.socket);
    dies(&g);
    gzh_context *c;
    CHECK_IS(gzh_context_new(1, &c), 0);
    born(&g);
    if (gzh_context_term(c, g.companion) == GZH_WAIT)
        WAIT_TOLD(&g);
    gzh_context_drop(s.context);
}

static pid_t fork_child(void)
{
    if (!MAY_FORK_AT_ANY_TIME)
        pause_us(20000); /* until the others rest */
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid != -1);
    if (pid == 0)
        alarm(20); /* a child does not inherit the parent's */
    return pid;
}

static void child_is_fine(pid_t pid)
{
    int status;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_IS(WEXITSTATUS(status), 0);
}

static void a_fork_before_there_was_any_companion_is_noticed(void)
{
    /* First of all tests: nothing was ever waited for in this process. */
    scene s = begin_scene(ZMQ_PULL);
    gzh_slot *slot = malloc(sizeof *slot);
    CHECK(slot);
    pid_t pid = fork_child();
    if (pid == 0) {
        CHECK_IS(try_recv(s.socket, NULL, slot, ZMQ_DONTWAIT), GZH_FORKED);
        CHECK_IS(try_poll(s.socket, NULL, ZMQ_POLLIN, ZMQ_DONTWAIT), GZH_FORKED);
        gzh_socket_drop(s.socket);
        CHECK(gzh_context_ended(s.context));
        CHECK_IS(gzh_context_get(s.context, ZMQ_IO_THREADS), GZH_FORKED);
        gzh_context_drop(s.context);
        all_works();
        _exit(0);
    }
    child_is_fine(pid);
    fake_deliver(s.zmq, "hello");
    CHECK_IS(try_recv(s.socket, NULL, slot, ZMQ_DONTWAIT), 5);
    free(slot);
    end_scene(&s);
}

static void a_child_touches_nothing_of_its_parents(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    greenlet reader, granted, writer, poller, several, idle;
    gzh_poll_item items[2] = {{.socket = s.socket, .mask = ZMQ_POLLOUT}, {.fd = 0}};
    char text[64];
    int value;
    born(&granted);
    born(&reader);
    born(&writer);
    born(&poller);
    born(&several);
    born(&idle);
    set_option(s.socket, ZMQ_SNDHWM, 1);
    CHECK_IS(send_now(s.socket, "first"), 0);
    CHECK_IS(ask_recv(&granted, s.socket), GZH_WAIT);
    CHECK_IS(ask_recv(&reader, s.socket), GZH_WAIT);
    CHECK_IS(ask_send(&writer, s.socket, "a|b"), GZH_WAIT);
    CHECK_IS(try_poll(s.socket, poller.companion, ZMQ_POLLOUT, 0), GZH_WAIT);
    CHECK_IS(gzh_poll_begin(items, 2, several.companion), GZH_WAIT);
    fake_deliver(s.zmq, "m1");
    WAIT_TOLD(&granted);
    for (int generation = 0; generation < 2; generation++) {
        pid_t pid = fork_child();
        if (pid == 0) {
            int living, parked, on_watch;
            gzh_companion_counts(&living, &parked, &on_watch);
            CHECK_IS(living, 0);
            CHECK_IS(parked, 0);
            CHECK_IS(on_watch, 0);
            /* The copied greenlets, if they run, find nothing and wake nobody. */
            CHECK(!is_told(&granted, 20));
            CHECK_IS(end_other(&granted), GZH_FORKED);
            CHECK_IS(gzh_end(reader.companion, reader.slot, 0, true), GZH_FORKED);
            CHECK_IS(gzh_end_call(poller.companion, NULL, NULL), GZH_FORKED);
            CHECK_IS(gzh_context_end_term(idle.companion), GZH_FORKED);
            CHECK_IS(gzh_poll_end(items, 2, several.companion, true), GZH_FORKED);
            CHECK_IS(gzh_poll_begin(items, 2, several.companion), GZH_BUSY);
            CHECK_IS(gzh_poll_look(items, 2, ZMQ_DONTWAIT), GZH_FORKED);
            CHECK_IS(gzh_companion_cancel(writer.companion), 0);
            CHECK_IS(ask_recv(&idle, s.socket), GZH_FORKED);
            CHECK_IS(ask_send(&idle, s.socket, "x"), GZH_FORKED);
            CHECK_IS(send_nonblocking(s.socket, "x"), GZH_FORKED);
            CHECK_IS(try_poll(s.socket, idle.companion, ZMQ_POLLIN, 0), GZH_FORKED);
            CHECK_IS(ask_call(&idle, s.socket, GZH_BIND, "tcp://x"), GZH_FORKED);
            CHECK_IS(get_option(s.socket, ZMQ_EVENTS, &value), GZH_FORKED);
            CHECK(gzh_context_ended(s.context));
            CHECK_IS(gzh_context_term(s.context, idle.companion), 0);
            gzh_socket *fresh_socket;
            CHECK_IS(gzh_socket_open(s.context, ZMQ_PULL, &fresh_socket), GZH_FORKED);
            /* A parent's companion with a socket of the child's own: take another. */
            scene fresh = begin_scene(ZMQ_PULL);
            CHECK_IS(ask_recv(&idle, fresh.socket), GZH_BUSY);
            CHECK_IS(ask_recv(&reader, fresh.socket), GZH_BUSY);
            CHECK_IS(ask_call(&idle, fresh.socket, GZH_BIND, "tcp://x"), GZH_BUSY);
            CHECK_IS(gzh_context_term(fresh.context, idle.companion), GZH_BUSY);
            gzh_socket_close(s.socket, NULL);
            gzh_socket_drop(s.socket);
            gzh_context_drop(s.context);
            dies(&granted);
            dies(&reader);
            dies(&writer);
            dies(&poller);
            dies(&several);
            dies(&idle);
            all_works();
            pid = fork_child(); /* and a grandchild */
            if (pid == 0) {
                CHECK_IS(recv_now(&idle, fresh.socket), GZH_FORKED);
                all_works();
                _exit(0);
            }
            child_is_fine(pid);
            CHECK_IS(gzh_socket_open(fresh.context, ZMQ_PULL, &fresh_socket), 0);
            _exit(0);
        }
        child_is_fine(pid);
    }
    /* The parent has all that it had. */
    CHECK_IS(wait_on(&granted, GZH_WAIT), 2);
    NOT_TOLD(&reader);
    NOT_TOLD(&writer);
    NOT_TOLD(&several);
    CHECK(fake_take(s.zmq, NULL, text, sizeof text));
    WAIT_TOLD(&several);
    CHECK_IS(gzh_poll_end(items, 2, several.companion, false), 1);
    CHECK_IS(wait_on(&writer, GZH_WAIT), 0);
    fake_deliver(s.zmq, "m2");
    CHECK_IS(wait_on(&reader, GZH_WAIT), 2);
    dies(&granted);
    dies(&reader);
    dies(&writer);
    dies(&poller);
    dies(&several);
    dies(&idle);
    end_scene(&s);
}

static void a_fork_while_a_companion_is_inside_a_call_leaves_that_to_the_parent(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet reader, binder;
    born(&reader);
    CHECK_IS(ask_recv(&reader, s.socket), GZH_WAIT);
    born(&binder); /* not the one on watch: that is older */
    fake_gate(true);
    CHECK_IS(ask_call(&binder, s.socket, GZH_BIND, "slow:x"), GZH_WAIT);
    UNTIL(fake_at_gate() == 1);
    pid_t pid = fork_child();
    if (pid == 0) {
        CHECK(!is_told(&binder, 20));
        CHECK_IS(end_other(&binder), GZH_FORKED);
        CHECK_IS(gzh_companion_cancel(binder.companion), 0);
        dies(&binder);
        dies(&reader);
        gzh_socket_drop(s.socket);
        fake_gate(false);
        all_works();
        _exit(0);
    }
    child_is_fine(pid);
    fake_gate(false);
    CHECK_IS(wait_on(&binder, GZH_WAIT), 0);
    CHECK_IS(gzh_companion_cancel(reader.companion), 0);
    dies(&binder);
    dies(&reader);
    end_scene(&s);
}

static void a_socket_whose_mutex_was_taken_during_the_fork_stops_no_child(void)
{
    scene s = begin_scene(ZMQ_PULL);
    lock(s.socket);
    pid_t pid = fork_child();
    if (pid == 0) {
        CHECK(!gzh_socket_underlying(s.socket));
        _exit(0);
    }
    unlock(s.socket);
    child_is_fine(pid);
    CHECK(gzh_socket_underlying(s.socket) == s.zmq);
    end_scene(&s);
}

/* ---- forks from the midst of it ----------------------------------------------------------------- */

static atomic_bool stop;

static void *is_busy(void *argument)
{
    scene *s = argument;
    char text[64];
    greenlet g;
    born(&g);
    while (!atomic_load(&stop)) {
        CHECK(fake_deliver(s->zmq, "hello|you"));
        CHECK_IS(do_recv(&g, s->socket), 0);
        CHECK_IS(do_send(&g, s->socket, "a|b"), 0);
        CHECK(fake_take(s->zmq, NULL, text, sizeof text));
        greenlet other;
        born(&other);
        dies(&other);
    }
    dies(&g);
    return NULL;
}

static void forks_from_the_midst_of_all_kinds_of_work_do_well(void)
{
    scene s = begin_scene(ZMQ_DEALER);
    pthread_t thread[2];
    atomic_store(&stop, false);
    for (int i = 0; i < 2; i++)
        thread[i] = start(is_busy, &s);
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork_child();
        if (pid == 0) {
            all_works();
            _exit(0);
        }
        child_is_fine(pid);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        join(thread[i]);
    end_scene(&s);
}

int main(void)
{
    begin();
    RUN(a_fork_before_there_was_any_companion_is_noticed);
    RUN(a_child_touches_nothing_of_its_parents);
    RUN(a_fork_while_a_companion_is_inside_a_call_leaves_that_to_the_parent);
    RUN(a_socket_whose_mutex_was_taken_during_the_fork_stops_no_child);
    RUN_IF(MAY_FORK_AT_ANY_TIME, forks_from_the_midst_of_all_kinds_of_work_do_well,
           "the sanitizers' own locks do not bear it");
    return 0;
}
