#include <errno.h>

#include "session.h"
#include "steps.h"

int xm_do_version(void) {
    struct xm_msg_ping message = {{XM_CODE_PING, 0, 0}};
    struct xm_call call = {.message = &message, .length = XM_BYTES_PING, .answer = XM_CODE_DONE};
    int error = xm_session_call(&call);
    /* Programs ask this to find out whether there is XPMEM, and it was a device that was missing.
     */
    return error == -ETIMEDOUT || error == -ECONNRESET ? -ENOENT : error;
}
