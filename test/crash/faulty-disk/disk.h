/*
 * faulty-disk: runs one server on a disk that can lose power, lie about or fail a sync.
 *
 *   supervise.c   starts the server under a seccomp filter, pulls the plug
 *   calls.c       answers the server's file system calls
 *   contents.c    what was written to each file and is not yet durable: undo, and replay of a part of it
 *   names.c       which directory entries were made, renamed or removed and are not yet durable
 *
 * The kernel stops every call of the server that could change a file and asks this process what to do
 * (seccomp_unotify(2)). Calls on files below the watched directory are carried out HERE, so that each change is
 * recorded before the server learns that it happened; all others continue untouched. The record lives outside the
 * server's process: a bug of the server cannot damage it, and servers that make raw system calls (Go) are seen as well.
 *
 * What a power cut keeps:
 *   - every change covered by an fsync, fdatasync or sync that was answered with success, and every completed write
 *     through a descriptor opened O_SYNC or O_DSYNC;
 *   - of the other changes of a file any subset, each whole, or in part at 512-byte sectors; a file that grew may
 *     keep its new size and read zeros where the lost bytes were;
 *   - of directory operations a prefix: file systems journal them in order. They become durable with an fsync of
 *     a directory, or with the fsync of a file for the operations up to the last one that named that file (what
 *     ext4, xfs and btrfs do, though POSIX does not promise it).
 * Not modelled: stores through a shared writable mapping (each such mapping is reported), read errors.
 *
 * All functions of contents.c and names.c are called with the one lock of calls.c held.
 */
#ifndef FAULTY_DISK_H
#define FAULTY_DISK_H

#include <stdint.h>
#include <sys/types.h>

/* splitmix64: tiny, seedable, good enough to choose faults. */
struct random {
  uint64_t state;
};
uint64_t random_next(struct random *random);
/* Uniform in [0, bound); bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);

/* The harness itself failed (not the server): says what and exits with EXIT_HARNESS. */
#define EXIT_HARNESS 97
#define EXIT_POWER_CUT 75
_Noreturn void harness_failed(const char *what, const char *detail);
void *allocate(size_t size);

/* Position of the newest recorded change; changes of contents and names share one order. */
uint64_t change_next(void);
uint64_t change_last(void);

struct cut_report {
  uint64_t pending; /* changes that were not durable at the cut */
  uint64_t kept;
  uint64_t torn;
  uint64_t lost;
  uint64_t names_pending;
  uint64_t names_lost;
};

/* contents.c. `fd` is the server's own open file (shared description); results are a count or -errno. */
#define AT_POSITION ((off_t)-1)
/* Writes at `offset`, or at the file's position. Sets *is_sync when the descriptor promises durable writes. */
ssize_t contents_write(int fd, const uint8_t *data, size_t length, off_t offset, int *is_sync);
int contents_set_size(int fd, off_t size);
int contents_allocate(int fd, int mode, off_t offset, off_t length);
/* A sync answered with success: changes of this file up to `through` are durable (unless doomed before). */
void contents_synced(int fd, uint64_t through);
/* A sync answered with an error: the pages are marked clean and will never be written. */
void contents_doomed(int fd, uint64_t through);
void contents_synced_all(uint64_t through);
/* The same for the one change at `position`: a write through a descriptor that promises durable writes. */
void contents_synced_one(int fd, uint64_t position);
void contents_doomed_one(int fd, uint64_t position);
void contents_cut(struct random *random, struct cut_report *report);

/* names.c. Paths are absolute and resolved. Results are 0 or -errno. */
void names_keep_aside_in(const char *directory);
void names_created(const char *path, ino_t inode);
int names_make_directory(const char *path, mode_t mode);
int names_remove_directory(const char *path);
int names_link(const char *from, const char *to);
int names_rename(const char *from, const char *to, unsigned flags);
int names_unlink(const char *path);
void names_synced_directory(uint64_t through);
void names_synced_file(ino_t inode, uint64_t through);
void names_cut(struct random *random, struct cut_report *report);

/* calls.c */
struct settings {
  const char *directory; /* absolute, resolved */
  uint64_t seed;
  uint64_t cut_at;          /* the plug is pulled at this change or sync, counted from 1; 0: never */
  uint64_t fail_sync_at;    /* this sync (counted from 1, of paths with fail_match) fails with EIO; 0: never */
  int fail_forever;         /* and so do all later ones */
  const char *fail_match;   /* part of the path of the files whose syncs may fail or be slow */
  uint64_t sync_us_min;     /* a sync takes this long; no device is asked */
  uint64_t sync_us_max;
  int lying;                /* syncs succeed and make nothing durable */
};
void report_event(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Serves the listener's calls until the server is gone; run by several threads at once. */
void calls_start(const struct settings *settings, pid_t server, int listener);
void *calls_serve(void *unused);
/* Kills the server; what is not durable when it is dead will be lost. */
void calls_pull_plug(void);
/* After the server's death: whether the plug was pulled. No call is served any more. */
int calls_stop(struct random *random, struct cut_report *report);

#endif
