/* Generated from src/wire/schema.ts by `npm run wire`. Do not edit. */

#ifndef XM_WIRE_H
#define XM_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define XM_PROTOCOL_VERSION 4
#define XM_MAX_MESSAGE_BYTES 65536
#define XM_MAX_DESCRIPTORS 16

#define XM_ROLE_CONTROL 1
#define XM_ROLE_AGENT 2

#define XM_ACCESS_READ 1
#define XM_ACCESS_READWRITE 2

#define XM_REASON_REMOVED 1
#define XM_REASON_OWNER_EXIT 2
#define XM_REASON_REFUSED 3
#define XM_REASON_PARTITION 4

#define XM_MAKE_FLAG_BACKED 1

#define XM_GOT_FLAG_STABLE 1

#define XM_ATTACH_FLAG_BUS 1

#define XM_SHARE_FLAG_HOLES 1
#define XM_SHARE_FLAG_MORE 2

#define XM_EXTENT_FLAG_COPY 1
#define XM_EXTENT_FLAG_WITHHELD 2

#define XM_WITHHELD_KERNEL 1
#define XM_WITHHELD_TEXT 2
#define XM_WITHHELD_DATA 3
#define XM_WITHHELD_STACK 4
#define XM_WITHHELD_STACK_END 5
#define XM_WITHHELD_OWN 6
#define XM_WITHHELD_ATTACHMENT 7
#define XM_WITHHELD_FILE 8
#define XM_WITHHELD_IMMOVABLE 9
#define XM_WITHHELD_HIDDEN 10

#define XM_WITHHELD_SHIFT 16

#define XM_MAPPING_FLAG_READONLY 1

#define XM_HOLE UINT32_C(4294967295)

#define XM_CODE_HELLO 1
#define XM_CODE_WELCOME 2
#define XM_CODE_FAILURE 3
#define XM_CODE_DONE 4
#define XM_CODE_EXTENTS 5
#define XM_CODE_MAKE 16
#define XM_CODE_MADE 17
#define XM_CODE_GET 18
#define XM_CODE_GOT 19
#define XM_CODE_DESCRIBE 20
#define XM_CODE_RESTORE 21
#define XM_CODE_ATTACH 22
#define XM_CODE_MAPPED 30
#define XM_CODE_PREFETCH 31
#define XM_CODE_FLUSH 32
#define XM_CODE_STATS 33
#define XM_CODE_COUNTED 34
#define XM_CODE_ROLLED_BACK 35
#define XM_CODE_SNAPSHOT 36
#define XM_CODE_RELEASE 23
#define XM_CODE_REMOVE 24
#define XM_CODE_LIST 25
#define XM_CODE_LISTING 26
#define XM_CODE_PARTITIONS 29
#define XM_CODE_GOODBYE 27
#define XM_CODE_PING 28
#define XM_CODE_SHARE 48
#define XM_CODE_REVOKE 49
#define XM_CODE_MOVE 50
#define XM_CODE_ARM 51
#define XM_CODE_ARMED 52
#define XM_CODE_DISARM 53
#define XM_CODE_COPY 59
#define XM_CODE_REPORT 54
#define XM_CODE_HOLDINGS 55
#define XM_CODE_TRIM 57
#define XM_CODE_TRIMMED 58
#define XM_CODE_HELD 56
#define XM_CODE_PUT_BACK 60

struct xm_header {
    uint16_t code;
    uint16_t reserved;
    uint32_t request;
};
_Static_assert(sizeof(struct xm_header) == 8, "header");

struct xm_row_extent {
    uint64_t offset;
    uint64_t length;
    uint64_t file_offset;
    uint32_t descriptor;
    uint32_t flags;
};
_Static_assert(sizeof(struct xm_row_extent) >= 32 && sizeof(struct xm_row_extent) < 40, "extent");
_Static_assert(offsetof(struct xm_row_extent, offset) == 0, "extent.offset");
_Static_assert(offsetof(struct xm_row_extent, length) == 8, "extent.length");
_Static_assert(offsetof(struct xm_row_extent, file_offset) == 16, "extent.fileOffset");
_Static_assert(offsetof(struct xm_row_extent, descriptor) == 24, "extent.descriptor");
_Static_assert(offsetof(struct xm_row_extent, flags) == 28, "extent.flags");
#define XM_ROW_BYTES_EXTENT 32

struct xm_row_held {
    uint64_t segid;
    uint64_t owner_start;
    uint32_t owner_pid;
    uint32_t reserved;
};
_Static_assert(sizeof(struct xm_row_held) >= 24 && sizeof(struct xm_row_held) < 32, "held");
_Static_assert(offsetof(struct xm_row_held, segid) == 0, "held.segid");
_Static_assert(offsetof(struct xm_row_held, owner_start) == 8, "held.ownerStart");
_Static_assert(offsetof(struct xm_row_held, owner_pid) == 16, "held.ownerPid");
_Static_assert(offsetof(struct xm_row_held, reserved) == 20, "held.reserved");
#define XM_ROW_BYTES_HELD 24

struct xm_row_holding {
    uint64_t segid;
    uint64_t bytes;
    uint32_t attachments;
    uint32_t reserved;
};
_Static_assert(sizeof(struct xm_row_holding) >= 24 && sizeof(struct xm_row_holding) < 32, "holding");
_Static_assert(offsetof(struct xm_row_holding, segid) == 0, "holding.segid");
_Static_assert(offsetof(struct xm_row_holding, bytes) == 8, "holding.bytes");
_Static_assert(offsetof(struct xm_row_holding, attachments) == 16, "holding.attachments");
_Static_assert(offsetof(struct xm_row_holding, reserved) == 20, "holding.reserved");
#define XM_ROW_BYTES_HOLDING 24

struct xm_row_file {
    uint64_t device;
    uint64_t inode;
};
_Static_assert(sizeof(struct xm_row_file) >= 16 && sizeof(struct xm_row_file) < 24, "file");
_Static_assert(offsetof(struct xm_row_file, device) == 0, "file.device");
_Static_assert(offsetof(struct xm_row_file, inode) == 8, "file.inode");
#define XM_ROW_BYTES_FILE 16

struct xm_row_range {
    uint64_t address;
    uint64_t length;
};
_Static_assert(sizeof(struct xm_row_range) >= 16 && sizeof(struct xm_row_range) < 24, "range");
_Static_assert(offsetof(struct xm_row_range, address) == 0, "range.address");
_Static_assert(offsetof(struct xm_row_range, length) == 8, "range.length");
#define XM_ROW_BYTES_RANGE 16

struct xm_row_rollback {
    uint64_t offset;
    uint64_t length;
    uint64_t age_ms;
};
_Static_assert(sizeof(struct xm_row_rollback) >= 24 && sizeof(struct xm_row_rollback) < 32, "rollback");
_Static_assert(offsetof(struct xm_row_rollback, offset) == 0, "rollback.offset");
_Static_assert(offsetof(struct xm_row_rollback, length) == 8, "rollback.length");
_Static_assert(offsetof(struct xm_row_rollback, age_ms) == 16, "rollback.ageMs");
#define XM_ROW_BYTES_ROLLBACK 24

struct xm_row_mapping {
    uint64_t address;
    uint64_t length;
    uint64_t file_offset;
    uint64_t device;
    uint64_t inode;
    uint32_t flags;
    uint32_t reserved;
};
_Static_assert(sizeof(struct xm_row_mapping) >= 48 && sizeof(struct xm_row_mapping) < 56, "mapping");
_Static_assert(offsetof(struct xm_row_mapping, address) == 0, "mapping.address");
_Static_assert(offsetof(struct xm_row_mapping, length) == 8, "mapping.length");
_Static_assert(offsetof(struct xm_row_mapping, file_offset) == 16, "mapping.fileOffset");
_Static_assert(offsetof(struct xm_row_mapping, device) == 24, "mapping.device");
_Static_assert(offsetof(struct xm_row_mapping, inode) == 32, "mapping.inode");
_Static_assert(offsetof(struct xm_row_mapping, flags) == 40, "mapping.flags");
_Static_assert(offsetof(struct xm_row_mapping, reserved) == 44, "mapping.reserved");
#define XM_ROW_BYTES_MAPPING 48

struct xm_msg_hello {
    struct xm_header header;
    uint32_t version;
    uint32_t role;
    uint64_t image;
    uint32_t thread;
    uint32_t reserved;
};
_Static_assert(sizeof(struct xm_msg_hello) >= 32 && sizeof(struct xm_msg_hello) < 40, "hello");
_Static_assert(offsetof(struct xm_msg_hello, version) == 8, "hello.version");
_Static_assert(offsetof(struct xm_msg_hello, role) == 12, "hello.role");
_Static_assert(offsetof(struct xm_msg_hello, image) == 16, "hello.image");
_Static_assert(offsetof(struct xm_msg_hello, thread) == 24, "hello.thread");
_Static_assert(offsetof(struct xm_msg_hello, reserved) == 28, "hello.reserved");
#define XM_BYTES_HELLO 32

struct xm_msg_welcome {
    struct xm_header header;
    uint64_t service_start;
    uint32_t partition;
    uint32_t incarnation;
};
_Static_assert(sizeof(struct xm_msg_welcome) >= 24 && sizeof(struct xm_msg_welcome) < 32, "welcome");
_Static_assert(offsetof(struct xm_msg_welcome, service_start) == 8, "welcome.serviceStart");
_Static_assert(offsetof(struct xm_msg_welcome, partition) == 16, "welcome.partition");
_Static_assert(offsetof(struct xm_msg_welcome, incarnation) == 20, "welcome.incarnation");
#define XM_BYTES_WELCOME 24

struct xm_msg_failure {
    struct xm_header header;
    uint32_t errno;
    uint32_t reserved;
};
_Static_assert(sizeof(struct xm_msg_failure) >= 16 && sizeof(struct xm_msg_failure) < 24, "failure");
_Static_assert(offsetof(struct xm_msg_failure, errno) == 8, "failure.errno");
_Static_assert(offsetof(struct xm_msg_failure, reserved) == 12, "failure.reserved");
#define XM_BYTES_FAILURE 16

struct xm_msg_done {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_done) >= 8 && sizeof(struct xm_msg_done) < 16, "done");
#define XM_BYTES_DONE 8

struct xm_msg_extents {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_extents) >= 8 && sizeof(struct xm_msg_extents) < 16, "extents");
#define XM_BYTES_EXTENTS 8

struct xm_msg_make {
    struct xm_header header;
    uint64_t segid;
    uint64_t token_high;
    uint64_t token_low;
    uint64_t address;
    uint64_t length;
    uint64_t data_length;
    uint64_t file_offset;
    uint32_t mode;
    uint32_t flags;
};
_Static_assert(sizeof(struct xm_msg_make) >= 72 && sizeof(struct xm_msg_make) < 80, "make");
_Static_assert(offsetof(struct xm_msg_make, segid) == 8, "make.segid");
_Static_assert(offsetof(struct xm_msg_make, token_high) == 16, "make.tokenHigh");
_Static_assert(offsetof(struct xm_msg_make, token_low) == 24, "make.tokenLow");
_Static_assert(offsetof(struct xm_msg_make, address) == 32, "make.address");
_Static_assert(offsetof(struct xm_msg_make, length) == 40, "make.length");
_Static_assert(offsetof(struct xm_msg_make, data_length) == 48, "make.dataLength");
_Static_assert(offsetof(struct xm_msg_make, file_offset) == 56, "make.fileOffset");
_Static_assert(offsetof(struct xm_msg_make, mode) == 64, "make.mode");
_Static_assert(offsetof(struct xm_msg_make, flags) == 68, "make.flags");
#define XM_BYTES_MAKE 72

struct xm_msg_made {
    struct xm_header header;
    uint64_t segid;
    uint64_t token_high;
    uint64_t token_low;
};
_Static_assert(sizeof(struct xm_msg_made) >= 32 && sizeof(struct xm_msg_made) < 40, "made");
_Static_assert(offsetof(struct xm_msg_made, segid) == 8, "made.segid");
_Static_assert(offsetof(struct xm_msg_made, token_high) == 16, "made.tokenHigh");
_Static_assert(offsetof(struct xm_msg_made, token_low) == 24, "made.tokenLow");
#define XM_BYTES_MADE 32

struct xm_msg_get {
    struct xm_header header;
    uint64_t segid;
    uint32_t access;
    uint32_t reserved;
};
_Static_assert(sizeof(struct xm_msg_get) >= 24 && sizeof(struct xm_msg_get) < 32, "get");
_Static_assert(offsetof(struct xm_msg_get, segid) == 8, "get.segid");
_Static_assert(offsetof(struct xm_msg_get, access) == 16, "get.access");
_Static_assert(offsetof(struct xm_msg_get, reserved) == 20, "get.reserved");
#define XM_BYTES_GET 24

struct xm_msg_got {
    struct xm_header header;
    uint64_t apid;
    uint64_t segid;
    uint64_t token_high;
    uint64_t token_low;
    uint64_t length;
    uint64_t data_length;
    uint64_t owner_start;
    uint32_t owner_pid;
    uint32_t access;
    uint32_t flags;
    uint32_t reserved;
};
_Static_assert(sizeof(struct xm_msg_got) >= 80 && sizeof(struct xm_msg_got) < 88, "got");
_Static_assert(offsetof(struct xm_msg_got, apid) == 8, "got.apid");
_Static_assert(offsetof(struct xm_msg_got, segid) == 16, "got.segid");
_Static_assert(offsetof(struct xm_msg_got, token_high) == 24, "got.tokenHigh");
_Static_assert(offsetof(struct xm_msg_got, token_low) == 32, "got.tokenLow");
_Static_assert(offsetof(struct xm_msg_got, length) == 40, "got.length");
_Static_assert(offsetof(struct xm_msg_got, data_length) == 48, "got.dataLength");
_Static_assert(offsetof(struct xm_msg_got, owner_start) == 56, "got.ownerStart");
_Static_assert(offsetof(struct xm_msg_got, owner_pid) == 64, "got.ownerPid");
_Static_assert(offsetof(struct xm_msg_got, access) == 68, "got.access");
_Static_assert(offsetof(struct xm_msg_got, flags) == 72, "got.flags");
_Static_assert(offsetof(struct xm_msg_got, reserved) == 76, "got.reserved");
#define XM_BYTES_GOT 80

struct xm_msg_describe {
    struct xm_header header;
    uint64_t apid;
};
_Static_assert(sizeof(struct xm_msg_describe) >= 16 && sizeof(struct xm_msg_describe) < 24, "describe");
_Static_assert(offsetof(struct xm_msg_describe, apid) == 8, "describe.apid");
#define XM_BYTES_DESCRIBE 16

struct xm_msg_restore {
    struct xm_header header;
    uint64_t apid;
    uint64_t segid;
    uint64_t token_high;
    uint64_t token_low;
    uint64_t owner_start;
    uint32_t owner_pid;
    uint32_t access;
};
_Static_assert(sizeof(struct xm_msg_restore) >= 56 && sizeof(struct xm_msg_restore) < 64, "restore");
_Static_assert(offsetof(struct xm_msg_restore, apid) == 8, "restore.apid");
_Static_assert(offsetof(struct xm_msg_restore, segid) == 16, "restore.segid");
_Static_assert(offsetof(struct xm_msg_restore, token_high) == 24, "restore.tokenHigh");
_Static_assert(offsetof(struct xm_msg_restore, token_low) == 32, "restore.tokenLow");
_Static_assert(offsetof(struct xm_msg_restore, owner_start) == 40, "restore.ownerStart");
_Static_assert(offsetof(struct xm_msg_restore, owner_pid) == 48, "restore.ownerPid");
_Static_assert(offsetof(struct xm_msg_restore, access) == 52, "restore.access");
#define XM_BYTES_RESTORE 56

struct xm_msg_attach {
    struct xm_header header;
    uint64_t apid;
    uint64_t offset;
    uint64_t length;
    uint32_t flags;
    uint32_t reserved;
};
_Static_assert(sizeof(struct xm_msg_attach) >= 40 && sizeof(struct xm_msg_attach) < 48, "attach");
_Static_assert(offsetof(struct xm_msg_attach, apid) == 8, "attach.apid");
_Static_assert(offsetof(struct xm_msg_attach, offset) == 16, "attach.offset");
_Static_assert(offsetof(struct xm_msg_attach, length) == 24, "attach.length");
_Static_assert(offsetof(struct xm_msg_attach, flags) == 32, "attach.flags");
_Static_assert(offsetof(struct xm_msg_attach, reserved) == 36, "attach.reserved");
#define XM_BYTES_ATTACH 40

struct xm_msg_mapped {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_mapped) >= 8 && sizeof(struct xm_msg_mapped) < 16, "mapped");
#define XM_BYTES_MAPPED 8

struct xm_msg_prefetch {
    struct xm_header header;
    uint64_t address;
    uint64_t length;
    uint32_t access;
    uint32_t reserved;
};
_Static_assert(sizeof(struct xm_msg_prefetch) >= 32 && sizeof(struct xm_msg_prefetch) < 40, "prefetch");
_Static_assert(offsetof(struct xm_msg_prefetch, address) == 8, "prefetch.address");
_Static_assert(offsetof(struct xm_msg_prefetch, length) == 16, "prefetch.length");
_Static_assert(offsetof(struct xm_msg_prefetch, access) == 24, "prefetch.access");
_Static_assert(offsetof(struct xm_msg_prefetch, reserved) == 28, "prefetch.reserved");
#define XM_BYTES_PREFETCH 32

struct xm_msg_flush {
    struct xm_header header;
    uint64_t address;
    uint64_t length;
};
_Static_assert(sizeof(struct xm_msg_flush) >= 24 && sizeof(struct xm_msg_flush) < 32, "flush");
_Static_assert(offsetof(struct xm_msg_flush, address) == 8, "flush.address");
_Static_assert(offsetof(struct xm_msg_flush, length) == 16, "flush.length");
#define XM_BYTES_FLUSH 24

struct xm_msg_stats {
    struct xm_header header;
    uint64_t address;
    uint64_t length;
};
_Static_assert(sizeof(struct xm_msg_stats) >= 24 && sizeof(struct xm_msg_stats) < 32, "stats");
_Static_assert(offsetof(struct xm_msg_stats, address) == 8, "stats.address");
_Static_assert(offsetof(struct xm_msg_stats, length) == 16, "stats.length");
#define XM_BYTES_STATS 24

struct xm_msg_counted {
    struct xm_header header;
    uint64_t faults;
    uint64_t pages_in;
    uint64_t pages_out;
    uint64_t waited_micros;
};
_Static_assert(sizeof(struct xm_msg_counted) >= 40 && sizeof(struct xm_msg_counted) < 48, "counted");
_Static_assert(offsetof(struct xm_msg_counted, faults) == 8, "counted.faults");
_Static_assert(offsetof(struct xm_msg_counted, pages_in) == 16, "counted.pagesIn");
_Static_assert(offsetof(struct xm_msg_counted, pages_out) == 24, "counted.pagesOut");
_Static_assert(offsetof(struct xm_msg_counted, waited_micros) == 32, "counted.waitedMicros");
#define XM_BYTES_COUNTED 40

struct xm_msg_rolled_back {
    struct xm_header header;
    uint64_t segid;
};
_Static_assert(sizeof(struct xm_msg_rolled_back) >= 16 && sizeof(struct xm_msg_rolled_back) < 24, "rolledBack");
_Static_assert(offsetof(struct xm_msg_rolled_back, segid) == 8, "rolledBack.segid");
#define XM_BYTES_ROLLED_BACK 16

struct xm_msg_snapshot {
    struct xm_header header;
    uint64_t apid;
    uint64_t offset;
    uint64_t length;
};
_Static_assert(sizeof(struct xm_msg_snapshot) >= 32 && sizeof(struct xm_msg_snapshot) < 40, "snapshot");
_Static_assert(offsetof(struct xm_msg_snapshot, apid) == 8, "snapshot.apid");
_Static_assert(offsetof(struct xm_msg_snapshot, offset) == 16, "snapshot.offset");
_Static_assert(offsetof(struct xm_msg_snapshot, length) == 24, "snapshot.length");
#define XM_BYTES_SNAPSHOT 32

struct xm_msg_release {
    struct xm_header header;
    uint64_t apid;
};
_Static_assert(sizeof(struct xm_msg_release) >= 16 && sizeof(struct xm_msg_release) < 24, "release");
_Static_assert(offsetof(struct xm_msg_release, apid) == 8, "release.apid");
#define XM_BYTES_RELEASE 16

struct xm_msg_remove {
    struct xm_header header;
    uint64_t segid;
};
_Static_assert(sizeof(struct xm_msg_remove) >= 16 && sizeof(struct xm_msg_remove) < 24, "remove");
_Static_assert(offsetof(struct xm_msg_remove, segid) == 8, "remove.segid");
#define XM_BYTES_REMOVE 16

struct xm_msg_list {
    struct xm_header header;
    uint64_t cursor;
};
_Static_assert(sizeof(struct xm_msg_list) >= 16 && sizeof(struct xm_msg_list) < 24, "list");
_Static_assert(offsetof(struct xm_msg_list, cursor) == 8, "list.cursor");
#define XM_BYTES_LIST 16

struct xm_msg_listing {
    struct xm_header header;
    uint64_t cursor;
};
_Static_assert(sizeof(struct xm_msg_listing) >= 16 && sizeof(struct xm_msg_listing) < 24, "listing");
_Static_assert(offsetof(struct xm_msg_listing, cursor) == 8, "listing.cursor");
#define XM_BYTES_LISTING 16

struct xm_msg_partitions {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_partitions) >= 8 && sizeof(struct xm_msg_partitions) < 16, "partitions");
#define XM_BYTES_PARTITIONS 8

struct xm_msg_goodbye {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_goodbye) >= 8 && sizeof(struct xm_msg_goodbye) < 16, "goodbye");
#define XM_BYTES_GOODBYE 8

struct xm_msg_ping {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_ping) >= 8 && sizeof(struct xm_msg_ping) < 16, "ping");
#define XM_BYTES_PING 8

struct xm_msg_share {
    struct xm_header header;
    uint64_t address;
    uint64_t length;
    uint64_t most;
    uint32_t flags;
    uint32_t reserved;
};
_Static_assert(sizeof(struct xm_msg_share) >= 40 && sizeof(struct xm_msg_share) < 48, "share");
_Static_assert(offsetof(struct xm_msg_share, address) == 8, "share.address");
_Static_assert(offsetof(struct xm_msg_share, length) == 16, "share.length");
_Static_assert(offsetof(struct xm_msg_share, most) == 24, "share.most");
_Static_assert(offsetof(struct xm_msg_share, flags) == 32, "share.flags");
_Static_assert(offsetof(struct xm_msg_share, reserved) == 36, "share.reserved");
#define XM_BYTES_SHARE 40

struct xm_msg_revoke {
    struct xm_header header;
    uint64_t segid;
    uint32_t reason;
    uint32_t reserved;
};
_Static_assert(sizeof(struct xm_msg_revoke) >= 24 && sizeof(struct xm_msg_revoke) < 32, "revoke");
_Static_assert(offsetof(struct xm_msg_revoke, segid) == 8, "revoke.segid");
_Static_assert(offsetof(struct xm_msg_revoke, reason) == 16, "revoke.reason");
_Static_assert(offsetof(struct xm_msg_revoke, reserved) == 20, "revoke.reserved");
#define XM_BYTES_REVOKE 24

struct xm_msg_move {
    struct xm_header header;
    uint64_t address;
    uint64_t length;
};
_Static_assert(sizeof(struct xm_msg_move) >= 24 && sizeof(struct xm_msg_move) < 32, "move");
_Static_assert(offsetof(struct xm_msg_move, address) == 8, "move.address");
_Static_assert(offsetof(struct xm_msg_move, length) == 16, "move.length");
#define XM_BYTES_MOVE 24

struct xm_msg_arm {
    struct xm_header header;
    uint64_t device;
    uint64_t inode;
};
_Static_assert(sizeof(struct xm_msg_arm) >= 24 && sizeof(struct xm_msg_arm) < 32, "arm");
_Static_assert(offsetof(struct xm_msg_arm, device) == 8, "arm.device");
_Static_assert(offsetof(struct xm_msg_arm, inode) == 16, "arm.inode");
#define XM_BYTES_ARM 24

struct xm_msg_armed {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_armed) >= 8 && sizeof(struct xm_msg_armed) < 16, "armed");
#define XM_BYTES_ARMED 8

struct xm_msg_disarm {
    struct xm_header header;
    uint64_t device;
    uint64_t inode;
};
_Static_assert(sizeof(struct xm_msg_disarm) >= 24 && sizeof(struct xm_msg_disarm) < 32, "disarm");
_Static_assert(offsetof(struct xm_msg_disarm, device) == 8, "disarm.device");
_Static_assert(offsetof(struct xm_msg_disarm, inode) == 16, "disarm.inode");
#define XM_BYTES_DISARM 24

struct xm_msg_copy {
    struct xm_header header;
    uint64_t device;
    uint64_t inode;
};
_Static_assert(sizeof(struct xm_msg_copy) >= 24 && sizeof(struct xm_msg_copy) < 32, "copy");
_Static_assert(offsetof(struct xm_msg_copy, device) == 8, "copy.device");
_Static_assert(offsetof(struct xm_msg_copy, inode) == 16, "copy.inode");
#define XM_BYTES_COPY 24

struct xm_msg_report {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_report) >= 8 && sizeof(struct xm_msg_report) < 16, "report");
#define XM_BYTES_REPORT 8

struct xm_msg_holdings {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_holdings) >= 8 && sizeof(struct xm_msg_holdings) < 16, "holdings");
#define XM_BYTES_HOLDINGS 8

struct xm_msg_trim {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_trim) >= 8 && sizeof(struct xm_msg_trim) < 16, "trim");
#define XM_BYTES_TRIM 8

struct xm_msg_trimmed {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_trimmed) >= 8 && sizeof(struct xm_msg_trimmed) < 16, "trimmed");
#define XM_BYTES_TRIMMED 8

struct xm_msg_held {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_held) >= 8 && sizeof(struct xm_msg_held) < 16, "held");
#define XM_BYTES_HELD 8

struct xm_msg_put_back {
    struct xm_header header;
};
_Static_assert(sizeof(struct xm_msg_put_back) >= 8 && sizeof(struct xm_msg_put_back) < 16, "putBack");
#define XM_BYTES_PUT_BACK 8

#endif
