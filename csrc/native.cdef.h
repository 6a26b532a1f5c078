/* Exactly what Python sees.  The contracts are in the headers of the same names. */

typedef struct gzh_companion gzh_companion;
typedef struct gzh_context gzh_context;
typedef struct gzh_socket gzh_socket;
typedef struct gzh_message gzh_message;
typedef ... gzh_slot;

typedef struct {
    gzh_socket *socket;
    int fd;
    int mask;
    int events;
} gzh_poll_item;

static const int GZH_WAIT, GZH_YIELD, GZH_FORKED, GZH_NO_THREAD, GZH_SEVERAL, GZH_LOOK;
static const int GZH_NO_NEWS, GZH_NEWS, GZH_HELPED, GZH_GAVE_WAY, GZH_LINGERS;
static const int GZH_KEEP, GZH_SLOT_BYTES;
static const int GZH_BY_TURNS, GZH_RELAXED;
static const int GZH_BIND, GZH_UNBIND, GZH_CONNECT, GZH_DISCONNECT, GZH_SET, GZH_GET;
static const int GZH_MONITOR, GZH_JOIN, GZH_LEAVE, GZH_DRAFTS;
extern unsigned gzh_generation;

/* _buffers.py has it: Python's `getbufferproc`. */
extern "Python" int gzh_get_buffer(void *instance, void *view, int flags);

/* platform.h */
int gzh_signal_writes(int number, int fd);

/* companion.h */
int gzh_companion_open(gzh_companion **companion);
int gzh_companion_fd(const gzh_companion *companion);
int gzh_companion_number(const gzh_companion *companion);
void gzh_companion_close(gzh_companion *companion);
typedef struct {
    uintptr_t companion;
    int number;
    bool granted;
    uint64_t waited_ns;
} gzh_waiting;
int gzh_companion_waiting(gzh_waiting *waiting, int room);
void gzh_companion_counts(int *living, int *parked, int *on_watch);
int gzh_companion_limit(int limit);

/* calls.h */
int gzh_context_new(int io_threads, gzh_context **context);
int gzh_context_shadow(void *zmq_context, gzh_context **context);
void *gzh_context_underlying(const gzh_context *context);
bool gzh_context_ended(gzh_context *context);
int gzh_context_get(gzh_context *context, int option);
int gzh_context_set(gzh_context *context, int option, int value);
int gzh_socket_open(gzh_context *context, int type, gzh_socket **socket);
int gzh_context_term(gzh_context *context, gzh_companion *companion);
int gzh_context_end_term(gzh_companion *companion);
void gzh_context_drop(gzh_context *context);
int gzh_has(const char *capability);
void gzh_version(int *version);
int gzh_curve_keypair(char *public_key, char *secret_key);
int gzh_curve_public(char *public_key, const char *secret_key);

/* socket.h */
int gzh_socket_wrap(void *zmq_socket, bool shadow, gzh_socket **socket);
void *gzh_socket_underlying(gzh_socket *socket);
int gzh_socket_timeout(const gzh_socket *socket, int direction);
int gzh_socket_order(const gzh_socket *socket);
int gzh_socket_linger(gzh_socket *socket, int hub_fd, int nanoseconds, bool alone);
int gzh_poll_linger(const gzh_poll_item *items, int count, int hub_fd, int nanoseconds, bool alone);
int gzh_send_message(gzh_socket *socket, gzh_companion *companion, gzh_message *message, int flags);
int gzh_poll(gzh_socket *socket, gzh_companion *companion, int mask, int flags);
int gzh_poll_look(gzh_poll_item *items, int count, int flags);
int gzh_poll_begin(gzh_poll_item *items, int count, gzh_companion *companion);
int gzh_poll_end(gzh_poll_item *items, int count, gzh_companion *companion, bool give_up);
int gzh_call(gzh_socket *socket, gzh_companion *companion, int operation, int option, void *data,
             size_t *size);
int gzh_end(gzh_companion *companion, gzh_slot *slot, int flags, bool give_up);
int gzh_end_call(gzh_companion *companion, void *data, size_t *size);
void gzh_socket_close(gzh_socket *socket, const int *linger);
int gzh_socket_shared(gzh_socket *socket);
void gzh_socket_one_by_one(gzh_socket *socket);
bool gzh_socket_lent(gzh_socket *socket);
int gzh_socket_recall(gzh_socket *socket);
int gzh_socket_put_back(gzh_socket *socket, gzh_message *const *messages, int count);
void gzh_slice(uint64_t nanoseconds);
bool gzh_slice_is_over(void);

/* proxy.h */
int gzh_proxy(gzh_companion *companion, gzh_socket *const *sockets, const char *const *prefixes,
              const size_t *sizes);
int gzh_proxy_end(gzh_companion *companion);

/* message.h */
gzh_message *gzh_message_new(void);
void gzh_message_free(gzh_message *message);
int gzh_message_add(gzh_message *message, const char *data, size_t size);
int gzh_message_share(gzh_message *message, gzh_message *other, int index);
int gzh_message_pin(gzh_message *message, const void *data, size_t size, uint64_t number);
gzh_message *gzh_message_take(gzh_message *message, int index);
int gzh_message_parts(const gzh_message *message);
void *gzh_message_data(gzh_message *message, int index);
size_t gzh_message_size(const gzh_message *message, int index);
int gzh_message_get(gzh_message *message, int property);
const char *gzh_message_text(gzh_message *message, const char *property);
int64_t gzh_message_routing_id(gzh_message *message);
int gzh_message_set_routing_id(gzh_message *message, uint32_t routing_id);
const char *gzh_message_group(gzh_message *message);
int gzh_message_set_group(gzh_message *message, const char *group);
int gzh_pin_wait(gzh_companion *companion, uint64_t number);
int gzh_pin_end(gzh_companion *companion, bool give_up);
int gzh_released(uint64_t *numbers, int room);
