/* Companions: started, parked, ended; and OS threads that end while their greenlets wait. */
#include "scene.h"

#include <dirent.h>
#include <sys/resource.h>

/* Every thread of this process, a sanitizer's own among them. */
static int threads_of_process(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks);
    for (struct dirent *entry; (entry = readdir(tasks));)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

static int descriptors_of_process(void)
{
    int count = 0;
    DIR *fds = opendir("/proc/self/fd");
    CHECK(fds);
    while (readdir(fds))
        count++;
    closedir(fds);
    return count;
}

static void a_closed_companion_is_parked_and_opened_again(void)
{
    gzh_companion *first, *second;
    int living, parked, on_watch;
    CHECK_IS(gzh_companion_open(&first), 0);
    int number = gzh_companion_number(first), fd = gzh_companion_fd(first);
    CHECK(number > 0);
    gzh_companion_close(first);
    gzh_companion_counts(&living, &parked, &on_watch);
    CHECK_IS(living, 1);
    CHECK_IS(parked, 1);
    CHECK_IS(on_watch, 0);
    CHECK_IS(gzh_companion_open(&second), 0);
    CHECK_IS(gzh_companion_number(second), number);
    CHECK_IS(gzh_companion_fd(second), fd);
    gzh_companion_close(second);
}

static void those_that_wait_are_told_with_how_long(void)
{
    gzh_companion *c;
    gzh_waiting told;
    CHECK_IS(gzh_companion_open(&c), 0);
    gzh_request *r = gzh_companion_free_request(c);
    CHECK_IS(gzh_companion_waiting(&told, 1), 0);
    atomic_store(&r->state, GZH_QUEUED);
    pause_us(20000);
    CHECK_IS(gzh_companion_waiting(NULL, 0), 1);
    CHECK_IS(gzh_companion_waiting(&told, 1), 1);
    CHECK(told.companion == (uintptr_t)c && told.number == gzh_companion_number(c) && !told.granted);
    CHECK(told.waited_ns > 5000000 && told.waited_ns < 10000000000);
    atomic_store(&r->state, GZH_GRANTED);
    CHECK_IS(gzh_companion_waiting(&told, 1), 1);
    CHECK(told.granted);
    atomic_store(&r->state, GZH_IDLE);
    CHECK_IS(gzh_companion_waiting(&told, 1), 0);
    gzh_companion_close(c);
}

static void a_signal_writes_to_its_descriptor(void)
{
    int ends[2];
    char byte = 0;
    CHECK_IS(pipe(ends), 0);
    CHECK_IS(gzh_signal_writes(SIGUSR1, ends[1]), 0);
    CHECK_IS(raise(SIGUSR1), 0);
    CHECK_IS(read(ends[0], &byte, 1), 1);
    CHECK_IS(byte, SIGUSR1);
    CHECK_IS(gzh_signal_writes(SIGKILL, ends[1]), EINVAL);
    signal(SIGUSR1, SIG_DFL);
    close(ends[0]);
    close(ends[1]);
}

static int parked_companions(void)
{
    int living, parked, on_watch;
    gzh_companion_counts(&living, &parked, &on_watch);
    return parked;
}

static void open_companions(gzh_companion **many, int count)
{
    for (int i = 0; i < count; i++)
        CHECK_IS(gzh_companion_open(&many[i]), 0);
}

static void close_companions(gzh_companion **many, int count)
{
    for (int i = 0; i < count; i++)
        gzh_companion_close(many[i]);
}

static void many_are_parked_for_a_moment_and_a_few_for_good(void)
{
    gzh_companion *many[280];
    int limit = gzh_companion_limit(280);
    open_companions(many, 280);
    CHECK_IS(living_companions(), 280);
    CHECK_IS(parked_companions(), 0);
    close_companions(many, 280);
    int parked = parked_companions();
    CHECK(parked > 4 && parked <= 256);
    UNTIL(living_companions() == 4);
    CHECK_IS(parked_companions(), 4);
    gzh_companion_limit(limit);
}

static void where_descriptors_are_few_the_park_leaves_most_to_others(void)
{
    gzh_companion *many[100];
    struct rlimit before, few;
    CHECK_IS(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 200;
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &few), 0);
    open_companions(many, 100);
    close_companions(many, 100);
    CHECK(parked_companions() <= 50);
    UNTIL(living_companions() == 4);
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static int newest_of(gzh_companion **many, int count)
{
    int newest = 0;
    for (int i = 0; i < count; i++)
        if (gzh_companion_number(many[i]) > newest)
            newest = gzh_companion_number(many[i]);
    return newest;
}

/* Short greenlets are given the threads of those before, and have few started: also where they come by the
 * hundred. */
static void those_that_are_needed_again_and_again_stay_in_the_park(void)
{
    gzh_companion *many[200];
    open_companions(many, 200);
    int newest = newest_of(many, 200);
    for (int round = 0; round < 40; round++) {
        close_companions(many, 200);
        pause_us(10000);
        open_companions(many, 200);
        UNTIL(living_companions() == 200);
    }
    CHECK(newest_of(many, 200) - newest < 2000); /* of 8,000 */
    close_companions(many, 200);
    UNTIL(living_companions() == 4);
}

static void beyond_the_limit_a_thread_is_started_when_it_has_work(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet first, second, third;
    born(&first);
    CHECK_IS(ask_recv(&first, s.socket), GZH_WAIT); /* on watch */
    int before = living_companions();
    int limit = gzh_companion_limit(before);
    gzh_companion *parked[8]; /* the park may be full: its threads live already */
    for (int i = 0; i < 8; i++)
        CHECK_IS(gzh_companion_open(&parked[i]), 0);
    CHECK_IS(living_companions(), before);
    born(&second);
    born(&third);
    CHECK_IS(ask_recv(&second, s.socket), GZH_WAIT);
    CHECK_IS(living_companions(), before);
    CHECK_IS(ask_call(&third, s.socket, GZH_BIND, "tcp://x"), GZH_WAIT);
    CHECK_IS(living_companions(), before + 1);
    CHECK_IS(wait_on(&third, GZH_WAIT), 0);
    fake_deliver(s.zmq, "m1");
    fake_deliver(s.zmq, "m2");
    CHECK_IS(wait_on(&first, GZH_WAIT), 2);
    CHECK_IS(wait_on(&second, GZH_WAIT), 2);
    CHECK_IS(gzh_companion_limit(limit), before);
    dies(&first);
    dies(&second);
    dies(&third);
    for (int i = 0; i < 8; i++)
        gzh_companion_close(parked[i]);
    end_scene(&s);
}

#define ROUNDS 10000

static void ten_thousand_companions_come_and_go(void)
{
    int before = descriptors_of_process();
    for (int i = 0; i < ROUNDS; i += 20) {
        gzh_companion *some[20];
        for (int j = 0; j < 20; j++)
            CHECK_IS(gzh_companion_open(&some[j]), 0);
        for (int j = 0; j < 20; j++)
            gzh_companion_close(some[j]);
    }
    UNTIL(living_companions() <= 5);
    UNTIL(threads_of_process() <= 8);
    CHECK(descriptors_of_process() <= before + 5);
}

static void *opens_and_closes(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < 2000; i++) {
        gzh_companion *one, *two;
        CHECK_IS(gzh_companion_open(&one), 0);
        CHECK_IS(gzh_companion_open(&two), 0);
        dawdle(&state, 20);
        gzh_companion_close(one);
        dawdle(&state, 20);
        gzh_companion_close(two);
    }
    return NULL;
}

static void many_threads_open_and_close_companions_at_once(void)
{
    pthread_t thread[4];
    for (long i = 0; i < 4; i++)
        thread[i] = start(opens_and_closes, (void *)(i + 1));
    for (int i = 0; i < 4; i++)
        join(thread[i]);
    UNTIL(living_companions() <= 5);
}

static void a_companion_whose_call_was_abandoned_is_parked_when_it_gets_out(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet watcher, binder, others[4];
    gzh_companion *again;
    born(&watcher);
    CHECK_IS(ask_recv(&watcher, s.socket), GZH_WAIT);
    for (int i = 0; i < 4; i++)
        born(&others[i]);
    born(&binder);
    CHECK_IS(parked_companions(), 0);
    int number = gzh_companion_number(binder.companion), living = living_companions();
    fake_gate(true);
    CHECK_IS(ask_call(&binder, s.socket, GZH_BIND, "slow:x"), GZH_WAIT);
    UNTIL(fake_at_gate() == 1);
    CHECK_IS(gzh_companion_cancel(binder.companion), GZH_ABANDONED);
    dies(&binder);
    CHECK_IS(parked_companions(), 0);
    CHECK_IS(living_companions(), living);
    fake_gate(false);
    UNTIL(parked_companions() == 1);
    CHECK_IS(gzh_companion_open(&again), 0);
    CHECK_IS(gzh_companion_number(again), number);
    /* For all uses: nothing of the old call clings to it. */
    binder.companion = again;
    binder.slot = malloc(sizeof *binder.slot);
    NOT_TOLD(&binder);
    CHECK_IS(gzh_companion_cancel(again), 0);
    CHECK_IS(wait_on(&binder, ask_call(&binder, s.socket, GZH_BIND, "tcp://x")), 0);
    dies(&binder);
    for (int i = 0; i < 4; i++)
        dies(&others[i]);
    dies(&watcher);
    end_scene(&s);
}

/* ---- OS threads that end --------------------------------------------------------------------- */

static struct {
    scene *s;
    greenlet g[3];
    bool granted;
} ghost;

static void *waits_and_ends(void *argument)
{
    (void)argument;
    for (int i = 0; i < 3; i++) {
        born(&ghost.g[i]);
        CHECK_IS(ask_recv(&ghost.g[i], ghost.s->socket), GZH_WAIT);
    }
    fake_deliver(ghost.s->zmq, "m1"); /* the first may be granted when the thread ends, or not */
    if (ghost.granted)
        WAIT_TOLD(&ghost.g[0]);
    return NULL;
}

static void messages_of_a_thread_that_ended_go_to_others(void)
{
    for (int round = 0; round < 100; round++) {
        scene s = begin_scene(ZMQ_PULL);
        greenlet heir;
        int pause = round % 10 ? 0 : 1000;
        born(&heir);
        ghost.s = &s;
        ghost.granted = round % 2;
        join(start(waits_and_ends, NULL));
        pause_us(pause);
        CHECK_IS(do_recv(&heir, s.socket), 2);
        CHECK_TEXT(heir.text, "m1");
        fake_deliver(s.zmq, "m2");
        CHECK_IS(do_recv(&heir, s.socket), 2);
        CHECK_TEXT(heir.text, "m2");
        /* A collector finds the helpers later, on another thread. */
        for (int i = 0; i < 3; i++)
            dies(&ghost.g[i]);
        dies(&heir);
        end_scene(&s);
    }
    UNTIL(living_companions() <= 6);
}

static void *binds_and_ends(void *argument)
{
    greenlet *g = argument;
    born(g);
    greenlet other;
    born(&other); /* whichever of them is not on watch */
    int rc = ask_call(g, ghost.s->socket, GZH_BIND, "slow:x");
    if (rc == GZH_BUSY) {
        greenlet swap = *g;
        *g = other;
        other = swap;
        rc = ask_call(g, ghost.s->socket, GZH_BIND, "slow:x");
    }
    CHECK_IS(rc, GZH_WAIT);
    dies(&other);
    UNTIL(fake_at_gate() == 1);
    return NULL;
}

/* The companion comes out of the call without a thread to tell; its helper is closed much later, by
 * which time the companion must not be somebody else's. */
static void a_thread_that_ended_inside_a_bind_leaves_no_companion_with_two_keepers(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet late, others[6];
    ghost.s = &s;
    fake_gate(true);
    join(start(binds_and_ends, &late));
    for (int i = 0; i < 6; i++)
        born(&others[i]); /* empties the park, so that there would be room for it */
    fake_gate(false);
    UNTIL(fake_at_gate() == 0);
    pause_us(2000);
    greenlet suspects[6];
    for (int i = 0; i < 6; i++) {
        born(&suspects[i]);
        CHECK(suspects[i].companion != late.companion);
    }
    gzh_companion_close(late.companion);
    free(late.slot);
    for (int i = 0; i < 6; i++) {
        CHECK_IS(ask_recv(&suspects[i], s.socket), GZH_WAIT);
        dies(&others[i]);
    }
    for (int i = 0; i < 6; i++)
        dies(&suspects[i]);
    end_scene(&s);
}

static void *waits_and_ends_soon(void *argument)
{
    greenlet *g = argument;
    born(g);
    CHECK_IS(ask_recv(g, ghost.s->socket), GZH_WAIT);
    return NULL;
}

static void *closes(void *argument)
{
    greenlet *g = argument;
    gzh_companion_close(g->companion);
    return NULL;
}

/* Both take the request back, and one of them only. */
static void a_thread_that_ends_while_a_collector_closes_its_companion_is_no_trouble(void)
{
    for (int round = 0; round < 100; round++) {
        scene s = begin_scene(ZMQ_PULL);
        greenlet g;
        ghost.s = &s;
        stop_at("cancel: seen, not taken back");
        pthread_t thread = start(waits_and_ends_soon, &g);
        wait_stopped(); /* in the thread's destructor */
        pthread_t collector = start(closes, &g);
        pause_us(round % 3 * 300);
        if (round % 2)
            gzh_socket_close(s.socket, NULL);
        let_go();
        join(thread);
        join(collector);
        free(g.slot);
        greenlet next;
        born(&next);
        NOT_TOLD(&next);
        dies(&next);
        end_scene(&s);
    }
    UNTIL(living_companions() <= 6);
}

/* ---- signals ------------------------------------------------------------------------------------ */

static atomic_int caught;
static _Atomic(unsigned long) catcher;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&catcher, (unsigned long)pthread_self());
    atomic_fetch_add(&caught, 1);
}

static void companions_take_no_signals(void)
{
    scene s = begin_scene(ZMQ_PULL);
    greenlet g;
    struct sigaction action = {.sa_handler = on_signal};
    born(&g);
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < 50; i++) {
        CHECK_IS(ask_recv(&g, s.socket), GZH_WAIT);
        kill(getpid(), SIGUSR1);
        UNTIL(atomic_load(&caught) == i + 1);
        CHECK(atomic_load(&catcher) == (unsigned long)pthread_self());
        fake_deliver(s.zmq, "m1");
        CHECK_IS(wait_on(&g, GZH_WAIT), 2);
    }
    dies(&g);
    end_scene(&s);
}

int main(void)
{
    begin();
    RUN(a_closed_companion_is_parked_and_opened_again);
    RUN(those_that_wait_are_told_with_how_long);
    RUN(a_signal_writes_to_its_descriptor);
    RUN(many_are_parked_for_a_moment_and_a_few_for_good);
    RUN(where_descriptors_are_few_the_park_leaves_most_to_others);
    RUN(those_that_are_needed_again_and_again_stay_in_the_park);
    RUN(beyond_the_limit_a_thread_is_started_when_it_has_work);
    RUN(ten_thousand_companions_come_and_go);
    RUN(many_threads_open_and_close_companions_at_once);
    RUN(a_companion_whose_call_was_abandoned_is_parked_when_it_gets_out);
    RUN(messages_of_a_thread_that_ended_go_to_others);
    RUN(a_thread_that_ended_inside_a_bind_leaves_no_companion_with_two_keepers);
    RUN(a_thread_that_ends_while_a_collector_closes_its_companion_is_no_trouble);
    RUN(companions_take_no_signals);
    return 0;
}
