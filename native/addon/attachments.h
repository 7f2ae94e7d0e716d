/* Attachments as ArrayBuffers. */

#ifndef XM_ATTACHMENTS_H
#define XM_ATTACHMENTS_H

#include "addon.h"

/*
 * Detaches the buffer of an attachment of this environment and unmaps it. Where the buffer's memory
 * has got into other hands (ArrayBuffer.prototype.transfer) it becomes zero pages instead, which
 * stay until those let go of it.
 */
void xm_detach(napi_env env, struct xm_attachment *attachment);

#endif
