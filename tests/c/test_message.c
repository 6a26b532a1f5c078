/* Messages of many parts, shared and taken apart; and pins: memory of the caller's that libzmq
 * reads, and gives back. */
#include "load.h"
#include "scene.h"

static void a_message_grows_part_by_part(void)
{
    gzh_message *m = gzh_message_new();
    char text[32];
    CHECK(m);
    CHECK_IS(gzh_message_parts(m), 0);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "part %d", i);
        CHECK_IS(gzh_message_add(m, text, strlen(text)), 0);
    }
    CHECK_IS(gzh_message_parts(m), 100);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "part %d", i);
        CHECK_IS(gzh_message_size(m, i), strlen(text));
        CHECK(memcmp(gzh_message_data(m, i), text, strlen(text)) == 0);
    }
    CHECK_IS(gzh_message_get(m, ZMQ_MORE), 0);
    CHECK_IS(gzh_message_get(m, 4711), -EINVAL);
    CHECK(gzh_message_text(m, "nothing") == NULL);
    gzh_message_free(m);
    gzh_message_free(NULL);
    CHECK_IS(fake_messages(), 0);
}

/* Of each size around those where a load begins and ends to be used, and more than one load has room for. */
static void small_parts_of_one_load_live_each_as_long_as_it_is_needed(void)
{
    static const size_t sizes[] = {0, 1, 33, 34, 35, 100, 511, 512, 513, 5000, 300, 300, 300, 300, 300, 300, 300};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    gzh_loader loader = {.load = NULL};
    gzh_message *m[COUNT];
    char data[5000];
    for (int i = 0; i < COUNT; i++) {
        memset(data, 'a' + i, sizes[i]);
        m[i] = gzh_message_new();
        CHECK_IS(gzh_load_part(&loader, gzh_message_place(m[i]), data, sizes[i]), 0);
    }
    gzh_load_end(&loader);
    gzh_load_end(&loader);
    /* Every other one first, so that none goes in the order in which it came. */
    for (int turn = 0; turn < 2; turn++)
        for (int i = turn; i < COUNT; i += 2) {
            const char *got = gzh_message_data(m[i], 0);
            CHECK_IS(gzh_message_size(m[i], 0), sizes[i]);
            for (size_t at = 0; at < sizes[i]; at++)
                CHECK(got[at] == 'a' + i);
            gzh_message_free(m[i]);
        }
    CHECK_IS(fake_messages(), 0);
}

static void parts_are_shared_and_taken(void)
{
    gzh_message *m = message_of("a|b|c"), *other = gzh_message_new();
    CHECK_IS(gzh_message_share(other, m, 1), 0);
    CHECK_IS(gzh_message_share(other, m, 2), 0);
    gzh_message *single = gzh_message_take(m, 2);
    CHECK(single);
    CHECK_IS(gzh_message_parts(single), 1);
    CHECK(memcmp(gzh_message_data(single, 0), "c", 1) == 0);
    CHECK_IS(gzh_message_parts(m), 3);
    CHECK_IS(gzh_message_size(m, 2), 0);
    gzh_message_free(m);
    gzh_message_free(single);
    CHECK(memcmp(gzh_message_data(other, 0), "b", 1) == 0);
    CHECK(memcmp(gzh_message_data(other, 1), "c", 1) == 0);
    gzh_message_free(other);
    CHECK_IS(fake_messages(), 0);
}

static void a_message_moves_onto_the_heap_few_parts_or_many(void)
{
    for (int parts = 0; parts < 12; parts++) {
        gzh_message here;
        gzh_message_init(&here);
        for (int i = 0; i < parts; i++)
            CHECK_IS(gzh_message_add(&here, "xyz", 3), 0);
        gzh_message *kept = gzh_message_keep(&here);
        CHECK(kept);
        CHECK_IS(gzh_message_parts(&here), 0);
        CHECK_IS(gzh_message_parts(kept), parts);
        CHECK_IS(gzh_message_add(&here, "again", 5), 0);
        CHECK_IS(gzh_message_add(kept, "more", 4), 0);
        for (int i = 0; i < parts; i++)
            CHECK(memcmp(gzh_message_data(kept, i), "xyz", 3) == 0);
        gzh_message_clear(&here);
        gzh_message_clear(&here);
        gzh_message_free(kept);
        CHECK_IS(fake_messages(), 0);
    }
}

/* ---- pins ------------------------------------------------------------------------------------ */

static char memory[] = "memory of the caller's";

static void a_pin_is_given_back_when_libzmq_is_done(void)
{
    scene s = begin_scene(ZMQ_PUSH);
    uint64_t numbers[4];
    char text[64];
    greenlet g;
    born(&g);
    gzh_message *m = gzh_message_new();
    CHECK_IS(gzh_message_add(m, "head", 4), 0);
    CHECK_IS(gzh_message_pin(m, memory, sizeof memory - 1, 7), 0);
    CHECK_IS(gzh_send_message(s.socket, NULL, m, ZMQ_DONTWAIT), 0);
    gzh_message_free(m);
    CHECK_IS(gzh_released(numbers, 4), 0);
    CHECK_IS(gzh_pin_wait(g.companion, 7), GZH_WAIT);
    CHECK_IS(gzh_pin_wait(g.companion, 7), GZH_BUSY);
    NOT_TOLD(&g);
    CHECK_IS(gzh_pin_end(g.companion, false), GZH_WAIT);
    CHECK(fake_take(s.zmq, NULL, text, sizeof text));
    CHECK_TEXT(text, "head|memory of the caller's");
    WAIT_TOLD(&g);
    CHECK_IS(gzh_pin_end(g.companion, false), 0);
    CHECK_IS(gzh_released(numbers, 4), 1);
    CHECK_IS(numbers[0], 7);
    CHECK_IS(gzh_released(numbers, 4), 0);
    CHECK_IS(gzh_pin_wait(g.companion, 7), 0);
    dies(&g);
    end_scene(&s);
}

static void who_waits_for_a_pin_may_leave(void)
{
    greenlet g, other;
    uint64_t number;
    born(&g);
    born(&other);
    gzh_message *m = gzh_message_new();
    CHECK_IS(gzh_message_pin(m, memory, 3, 11), 0);
    CHECK_IS(gzh_pin_wait(g.companion, 11), GZH_WAIT);
    CHECK_IS(gzh_companion_cancel(g.companion), 0);
    CHECK_IS(gzh_pin_wait(g.companion, 11), GZH_WAIT);
    CHECK_IS(gzh_pin_end(g.companion, true), -EAGAIN);
    CHECK_IS(gzh_pin_wait(g.companion, 11), GZH_WAIT);
    CHECK_IS(gzh_pin_wait(other.companion, 11), GZH_WAIT);
    gzh_message_free(m);
    WAIT_TOLD(&g);
    WAIT_TOLD(&other);
    CHECK_IS(gzh_pin_end(g.companion, true), 0);
    CHECK_IS(gzh_companion_cancel(other.companion), 0);
    CHECK_IS(gzh_released(&number, 1), 1);
    CHECK_IS(number, 11);
    dies(&g);
    dies(&other);
}

static greenlet leaver;

static void *leaves(void *rc)
{
    *(int *)rc = gzh_pin_end(leaver.companion, true);
    return NULL;
}

static void a_pin_that_is_given_back_when_one_leaves_tells_it_nothing_more(void)
{
    gzh_message *m = gzh_message_new();
    uint64_t number;
    int rc = 0;
    born(&leaver);
    CHECK_IS(gzh_message_pin(m, memory, 3, 11), 0);
    CHECK_IS(gzh_pin_wait(leaver.companion, 11), GZH_WAIT);
    stop_at("pin: has looked");
    pthread_t thread = start(leaves, &rc);
    wait_stopped();
    gzh_message_free(m);
    let_go();
    join(thread);
    CHECK_IS(rc, -EAGAIN);
    NOT_TOLD(&leaver); /* or its next wait would be woken for nothing */
    CHECK_IS(gzh_released(&number, 1), 1);
    dies(&leaver);
}

static void a_shared_pin_is_given_back_by_the_last(void)
{
    uint64_t numbers[2];
    gzh_message *m = gzh_message_new(), *other = gzh_message_new();
    CHECK_IS(gzh_message_pin(m, memory, 3, 12), 0);
    CHECK_IS(gzh_message_share(other, m, 0), 0);
    gzh_message_free(m);
    CHECK_IS(gzh_released(numbers, 2), 0);
    gzh_message_free(other);
    CHECK_IS(gzh_released(numbers, 2), 1);
    CHECK_IS(numbers[0], 12);
}

#define PINS 4000

static atomic_char told[4 * PINS];

static void *pins_and_releases(void *argument)
{
    int base = (int)(intptr_t)argument * PINS;
    unsigned state = (unsigned)base + 1;
    uint64_t numbers[8];
    greenlet g;
    born(&g);
    for (int i = 0; i < PINS; i++) {
        gzh_message *m = gzh_message_new();
        CHECK_IS(gzh_message_pin(m, memory, 3, (uint64_t)(base + i)), 0);
        if (i % 8 == 0) {
            CHECK_IS(gzh_pin_wait(g.companion, (uint64_t)(base + i)), GZH_WAIT);
            gzh_message_free(m);
            CHECK_IS(gzh_pin_end(g.companion, false), 0);
        } else
            gzh_message_free(m);
        if (dice(&state, 4) == 0)
            for (int j = gzh_released(numbers, 8); j-- > 0;)
                CHECK_IS(atomic_fetch_add(&told[numbers[j]], 1), 0);
    }
    dies(&g);
    return NULL;
}

static void pins_of_many_threads_are_each_told_once(void)
{
    pthread_t thread[4];
    uint64_t numbers[8];
    int count;
    for (long i = 0; i < 4; i++)
        thread[i] = start(pins_and_releases, (void *)i);
    for (int i = 0; i < 4; i++)
        join(thread[i]);
    while ((count = gzh_released(numbers, 8)) > 0)
        while (count-- > 0)
            CHECK_IS(atomic_fetch_add(&told[numbers[count]], 1), 0);
    for (int i = 0; i < 4 * PINS; i++)
        CHECK_IS(atomic_load(&told[i]), 1);
}

int main(void)
{
    begin();
    RUN(a_message_grows_part_by_part);
    RUN(small_parts_of_one_load_live_each_as_long_as_it_is_needed);
    RUN(parts_are_shared_and_taken);
    RUN(a_message_moves_onto_the_heap_few_parts_or_many);
    RUN(a_pin_is_given_back_when_libzmq_is_done);
    RUN(who_waits_for_a_pin_may_leave);
    RUN(a_pin_that_is_given_back_when_one_leaves_tells_it_nothing_more);
    RUN(a_shared_pin_is_given_back_by_the_last);
    RUN(pins_of_many_threads_are_each_told_once);
    return 0;
}
