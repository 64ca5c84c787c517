/*
 * Directory entries: operations in the order in which they happened. A power cut keeps a prefix that reaches at least
 * to the newest durable operation and undoes the rest, newest first. Files that an operation would destroy (removed,
 * replaced by a rename) are kept alive by a second link in a directory beside the watched one.
 */
#define _GNU_SOURCE
#include "disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { CREATED, DIRECTORY_MADE, DIRECTORY_REMOVED, RENAMED, UNLINKED };

struct operation {
  struct operation *previous;
  uint64_t position;
  enum kind kind;
  ino_t inode;
  mode_t mode;     /* of a removed directory */
  char *path;      /* the entry made or removed; of a rename the old name */
  char *new_path;  /* of a rename */
  char *aside;     /* link to the file removed or replaced */
};

static struct operation *newest;
static uint64_t durable_through;
static const char *aside_directory;
static unsigned aside_count;

void names_keep_aside_in(const char *directory) {
  aside_directory = directory;
}

static char *copy_of(const char *text) {
  char *copy = strdup(text);
  if (copy == NULL) harness_failed("out of memory", NULL);
  return copy;
}

static struct operation *record(enum kind kind, const char *path, ino_t inode) {
  struct operation *operation = allocate(sizeof *operation);
  operation->kind = kind;
  operation->path = copy_of(path);
  operation->inode = inode;
  operation->position = change_next();
  operation->previous = newest;
  newest = operation;
  return operation;
}

static char *keep_aside(const char *path) {
  char *aside = NULL;
  if (asprintf(&aside, "%s/%u", aside_directory, aside_count++) < 0) harness_failed("out of memory", NULL);
  if (link(path, aside) != 0) harness_failed("cannot keep a removed file", strerror(errno));
  return aside;
}

static void forget(char *aside) {
  if (aside == NULL) return;
  unlink(aside);
  free(aside);
}

void names_created(const char *path, ino_t inode) {
  record(CREATED, path, inode);
}

int names_make_directory(const char *path, mode_t mode) {
  if (mkdir(path, mode) != 0) return -errno;
  record(DIRECTORY_MADE, path, 0);
  return 0;
}

int names_remove_directory(const char *path) {
  struct stat stat;
  if (lstat(path, &stat) != 0 || rmdir(path) != 0) return -errno;
  record(DIRECTORY_REMOVED, path, 0)->mode = stat.st_mode & 07777;
  return 0;
}

int names_link(const char *from, const char *to) {
  struct stat stat;
  if (link(from, to) != 0 || lstat(to, &stat) != 0) return -errno;
  record(CREATED, to, stat.st_ino);
  return 0;
}

int names_rename(const char *from, const char *to, unsigned flags) {
  struct stat moved;
  struct stat replaced;
  if (lstat(from, &moved) != 0) return -errno;
  int replaces = lstat(to, &replaced) == 0;
  if (replaces && replaced.st_ino == moved.st_ino) return 0; /* two names of one file: rename does nothing */
  char *aside = replaces && S_ISREG(replaced.st_mode) ? keep_aside(to) : NULL;
  if (syscall(SYS_renameat2, -100 /* AT_FDCWD */, from, -100, to, flags) != 0) {
    int error = errno;
    forget(aside);
    return -error;
  }
  struct operation *operation = record(RENAMED, from, moved.st_ino);
  operation->new_path = copy_of(to);
  operation->aside = aside;
  return 0;
}

int names_unlink(const char *path) {
  struct stat stat;
  if (lstat(path, &stat) != 0) return -errno;
  char *aside = S_ISREG(stat.st_mode) ? keep_aside(path) : NULL;
  if (unlink(path) != 0) {
    int error = errno;
    forget(aside);
    return -error;
  }
  record(UNLINKED, path, stat.st_ino)->aside = aside;
  return 0;
}

void names_synced_directory(uint64_t through) {
  if (through > durable_through) durable_through = through;
}

void names_synced_file(ino_t inode, uint64_t through) {
  for (struct operation *operation = newest; operation != NULL; operation = operation->previous) {
    if (operation->position > through || operation->inode != inode) continue;
    names_synced_directory(operation->position);
    return;
  }
}

/* Every step may find that there is nothing to undo: a socket's name, or a directory that others still fill. */
static void undo(const struct operation *operation) {
  switch (operation->kind) {
    case CREATED:
      unlink(operation->path);
      break;
    case DIRECTORY_MADE:
      rmdir(operation->path);
      break;
    case DIRECTORY_REMOVED:
      mkdir(operation->path, operation->mode);
      break;
    case RENAMED:
      if (rename(operation->new_path, operation->path) != 0) harness_failed("cannot undo a rename", operation->path);
      if (operation->aside != NULL && link(operation->aside, operation->new_path) != 0)
        harness_failed("cannot bring back a replaced file", operation->new_path);
      break;
    case UNLINKED:
      if (operation->aside != NULL && link(operation->aside, operation->path) != 0)
        harness_failed("cannot bring back a removed file", operation->path);
      break;
  }
}

void names_cut(struct random *random, struct cut_report *report) {
  for (struct operation *operation = newest; operation != NULL; operation = operation->previous)
    if (operation->position > durable_through) report->names_pending++;
  report->names_lost = random_below(random, report->names_pending + 1);
  /* Losing all or nothing of the tail is where the interesting states are. */
  if (random_below(random, 3) == 0) report->names_lost = report->names_pending;
  const struct operation *operation = newest;
  for (uint64_t lost = 0; lost < report->names_lost; lost++) {
    undo(operation);
    operation = operation->previous;
  }
}
