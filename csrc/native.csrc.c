/* What the generated glue includes. */
#include "calls.h"
#include "companion.h"
#include "message.h"
#include "proxy.h"
#include "socket.h"
