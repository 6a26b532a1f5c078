/* DESIGN.  A load is held by who fills it, and by each of its parts until libzmq has done with that; whoever
 * lets go last frees it: the filler, libzmq's I/O thread, or any thread that closes a message.  The filler
 * holds it LOAD_HELD times and, in the end, lets go as often as there are not parts: to make a part
 * then counts nothing that other threads count.
 *
 * One part that waits in a queue keeps all of its load, so a load is small. */
#include "load.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define LOAD_BYTES 2048
/* Larger parts have memory of their own; smaller ones need none, as libzmq keeps them in the zmq_msg_t. */
#define LARGEST 512
#define SMALLEST 34
#define LOAD_HELD LOAD_BYTES /* more than it ever has parts */

struct gzh_load {
    atomic_int holders;
    char data[LOAD_BYTES];
};

static void let_go(gzh_load *load, int holders)
{
    if (atomic_fetch_sub(&load->holders, holders) == holders)
        free(load);
}

static void part_is_done(void *data, void *load)
{
    (void)data;
    let_go(load, 1);
}

int gzh_load_part(gzh_loader *l, zmq_msg_t *part, const void *data, size_t size)
{
    if (size < SMALLEST || size > LARGEST)
        return gzh_part_copy(part, data, size);
    if (!l->load || l->used + size > LOAD_BYTES) {
        gzh_load_end(l);
        l->load = malloc(sizeof *l->load);
        if (!l->load)
            return -ENOMEM;
        atomic_init(&l->load->holders, LOAD_HELD);
    }
    char *to = l->load->data + l->used;
    if (zmq_msg_init_data(part, to, size, part_is_done, l->load) == -1)
        return -ENOMEM;
    memcpy(to, data, size);
    l->used += size;
    l->parts++;
    return 0;
}

void gzh_load_end(gzh_loader *l)
{
    if (l->load)
        let_go(l->load, LOAD_HELD - l->parts);
    *l = (gzh_loader){.load = NULL};
}
