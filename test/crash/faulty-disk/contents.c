/*
 * Contents of files: every change since the last durable one is kept with the bytes it replaced and the bytes it
 * brought. A power cut first undoes all kept changes, newest first, which restores the durable file exactly, then
 * replays, oldest first, the durable ones whole and of the others what the dice say.
 *
 * Invariants: a file's list is ordered by time; its first change is not durable (a durable prefix needs no undo and is
 * dropped at once); a durable change behind one that is not stays in the list, because undoing the older one may
 * touch the same bytes.
 */
#define _GNU_SOURCE
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR_BYTES 512

enum fate { PENDING, DURABLE, DOOMED };

struct change {
  struct change *next;
  struct change *previous;
  uint64_t position;
  enum fate fate;
  off_t size_before;
  off_t size_after;
  off_t offset;         /* of both byte runs */
  size_t old_length;    /* bytes that were there, at most up to size_before */
  size_t new_length;    /* 0: only the size changed */
  uint8_t bytes[];      /* old, then new */
};

struct file {
  struct file *next;
  dev_t device;
  ino_t inode;
  int fd; /* our own open file description, read and write */
  struct change *first;
  struct change *last;
};

static struct file *files;

static struct file *file_find(const struct stat *stat) {
  for (struct file *file = files; file != NULL; file = file->next)
    if (file->inode == stat->st_ino && file->device == stat->st_dev) return file;
  return NULL;
}

static struct file *file_of(int fd, const struct stat *stat) {
  struct file *file = file_find(stat);
  if (file != NULL) return file;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  file = allocate(sizeof *file);
  file->fd = open(link, O_RDWR | O_CLOEXEC);
  if (file->fd < 0) harness_failed("cannot reopen a written file", strerror(errno));
  file->device = stat->st_dev;
  file->inode = stat->st_ino;
  file->next = files;
  files = file;
  return file;
}

static void write_fully(int fd, const uint8_t *data, size_t length, off_t offset) {
  while (length > 0) {
    ssize_t written = pwrite(fd, data, length, offset);
    if (written <= 0) harness_failed("cannot write while rolling back", strerror(errno));
    data += written;
    offset += written;
    length -= (size_t)written;
  }
}

static void set_size(int fd, off_t size) {
  if (ftruncate(fd, size) != 0) harness_failed("cannot set a size while rolling back", strerror(errno));
}

static void grow_to(int fd, off_t size) {
  struct stat stat;
  if (fstat(fd, &stat) != 0) harness_failed("cannot stat while rolling back", strerror(errno));
  if (stat.st_size < size) set_size(fd, size);
}

/* A change of `length` bytes at `offset`, with the old bytes read; to be filled in and linked by the caller. */
static struct change *change_prepare(struct file *file, off_t size, off_t offset, size_t length, size_t new_length) {
  size_t old_length = offset >= size ? 0 : (size_t)(size - offset);
  if (old_length > length) old_length = length;
  struct change *change = allocate(sizeof *change + old_length + new_length);
  change->offset = offset;
  change->old_length = old_length;
  change->new_length = new_length;
  change->size_before = size;
  size_t got = 0;
  while (got < old_length) {
    ssize_t count = pread(file->fd, change->bytes + got, old_length - got, offset + (off_t)got);
    if (count <= 0) harness_failed("cannot read what a write replaces", strerror(errno));
    got += (size_t)count;
  }
  return change;
}

static void change_link(struct file *file, struct change *change, off_t size_after) {
  change->size_after = size_after;
  change->position = change_next();
  change->previous = file->last;
  if (file->last != NULL) file->last->next = change;
  else file->first = change;
  file->last = change;
}

static void drop_durable_prefix(struct file *file) {
  while (file->first != NULL && file->first->fate == DURABLE) {
    struct change *change = file->first;
    file->first = change->next;
    if (file->first != NULL) file->first->previous = NULL;
    else file->last = NULL;
    free(change);
  }
}

ssize_t contents_write(int fd, const uint8_t *data, size_t length, off_t offset, int *is_sync) {
  struct stat stat;
  *is_sync = 0;
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fstat(fd, &stat) != 0) return -errno;
  if ((flags & O_ACCMODE) == O_RDONLY) return -EBADF;
  if (length == 0) return 0;
  struct file *file = file_of(fd, &stat);
  int at_position = offset == AT_POSITION;
  if (at_position) {
    offset = lseek(fd, 0, SEEK_CUR);
    if (offset < 0) return -errno;
  }
  if ((flags & O_APPEND) != 0) offset = stat.st_size;
  struct change *change = change_prepare(file, stat.st_size, offset, length, length);
  ssize_t written = pwrite(file->fd, data, length, offset);
  if (written < 0) {
    int error = errno;
    free(change);
    return -error;
  }
  memcpy(change->bytes + change->old_length, data, (size_t)written);
  change->new_length = (size_t)written;
  off_t end = offset + written;
  change_link(file, change, end > stat.st_size ? end : stat.st_size);
  if (at_position && lseek(fd, end, SEEK_SET) < 0) harness_failed("cannot move a position", strerror(errno));
  *is_sync = (flags & O_DSYNC) != 0; /* O_SYNC contains the bit of O_DSYNC */
  return written;
}

int contents_set_size(int fd, off_t size) {
  struct stat stat;
  if (size < 0) return -EINVAL;
  if (fstat(fd, &stat) != 0) return -errno;
  struct file *file = file_of(fd, &stat);
  size_t cut = size < stat.st_size ? (size_t)(stat.st_size - size) : 0;
  struct change *change = change_prepare(file, stat.st_size, size, cut, 0);
  if (ftruncate(file->fd, size) != 0) {
    int error = errno;
    free(change);
    return -error;
  }
  change_link(file, change, size);
  return 0;
}

int contents_allocate(int fd, int mode, off_t offset, off_t length) {
  struct stat before;
  struct stat after;
  int zeroes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
  if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) return -EOPNOTSUPP;
  if (offset < 0 || length <= 0) return -EINVAL;
  if (fstat(fd, &before) != 0) return -errno;
  struct file *file = file_of(fd, &before);
  /* Zeroed bytes beyond the end are covered by the size alone. */
  off_t inside = offset >= before.st_size ? 0 : before.st_size - offset;
  size_t zeroed = zeroes == 0 ? 0 : (size_t)(inside < length ? inside : length);
  struct change *change = change_prepare(file, before.st_size, offset, zeroed, zeroed);
  if (fallocate(fd, mode, offset, length) != 0) {
    int error = errno;
    free(change);
    return -error;
  }
  if (fstat(fd, &after) != 0) harness_failed("cannot stat an allocated file", strerror(errno));
  if (zeroed == 0 && after.st_size == before.st_size) free(change); /* reserved space without an effect on contents */
  else change_link(file, change, after.st_size);
  return 0;
}

static void settle(struct file *file, uint64_t from, uint64_t through, enum fate fate) {
  for (struct change *change = file->first; change != NULL && change->position <= through; change = change->next)
    if (change->position >= from && change->fate == PENDING) change->fate = fate;
  drop_durable_prefix(file);
}

static struct file *file_known(int fd) {
  struct stat stat;
  return fstat(fd, &stat) == 0 ? file_find(&stat) : NULL;
}

static void settle_known(int fd, uint64_t from, uint64_t through, enum fate fate) {
  struct file *file = file_known(fd);
  if (file != NULL) settle(file, from, through, fate);
}

void contents_synced(int fd, uint64_t through) {
  settle_known(fd, 0, through, DURABLE);
}

void contents_doomed(int fd, uint64_t through) {
  settle_known(fd, 0, through, DOOMED);
}

void contents_synced_one(int fd, uint64_t position) {
  settle_known(fd, position, position, DURABLE);
}

void contents_doomed_one(int fd, uint64_t position) {
  settle_known(fd, position, position, DOOMED);
}

void contents_synced_all(uint64_t through) {
  for (struct file *file = files; file != NULL; file = file->next) settle(file, 0, through, DURABLE);
}

static void replay_whole(struct file *file, const struct change *change) {
  write_fully(file->fd, change->bytes + change->old_length, change->new_length, change->offset);
  if (change->size_after < change->size_before) set_size(file->fd, change->size_after);
  else if (change->size_after > change->size_before) grow_to(file->fd, change->size_after);
}

/* Sectors of the file (not of the write) survive one by one, as a disk writes them. */
static void replay_torn(struct file *file, const struct change *change, struct random *random) {
  const uint8_t *data = change->bytes + change->old_length;
  size_t start = 0;
  while (start < change->new_length) {
    size_t into = (size_t)((change->offset + (off_t)start) % SECTOR_BYTES);
    size_t length = SECTOR_BYTES - into;
    if (length > change->new_length - start) length = change->new_length - start;
    if (random_below(random, 2) == 0) write_fully(file->fd, data + start, length, change->offset + (off_t)start);
    start += length;
  }
}

/* One style a cut: chances in 100 that a pending change is kept whole, and else that it is torn. */
struct style {
  unsigned kept;
  unsigned torn;
};
static const struct style styles[] = {{0, 0}, {50, 0}, {50, 50}, {0, 100}, {90, 50}, {10, 30}};

static void cut_change(struct file *file, const struct change *change, const struct style *style,
                       struct random *random, struct cut_report *report) {
  if (change->fate == DURABLE) {
    replay_whole(file, change);
    return;
  }
  report->pending++;
  int is_doomed = change->fate == DOOMED;
  if (!is_doomed && random_below(random, 100) < style->kept) {
    replay_whole(file, change);
    report->kept++;
  } else if (!is_doomed && change->new_length > 0 && random_below(random, 100) < style->torn) {
    replay_torn(file, change, random);
    report->torn++;
  } else {
    if (!is_doomed && change->size_after > change->size_before && random_below(random, 4) == 0)
      grow_to(file->fd, change->size_after); /* the size survived, the bytes did not */
    report->lost++;
  }
}

void contents_cut(struct random *random, struct cut_report *report) {
  const struct style *style = &styles[random_below(random, sizeof styles / sizeof styles[0])];
  for (struct file *file = files; file != NULL; file = file->next) {
    for (struct change *change = file->last; change != NULL; change = change->previous) {
      set_size(file->fd, change->size_before);
      write_fully(file->fd, change->bytes, change->old_length, change->offset);
    }
    for (struct change *change = file->first; change != NULL; change = change->next)
      cut_change(file, change, style, random, report);
  }
}
