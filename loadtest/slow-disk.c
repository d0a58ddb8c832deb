/* A slow disk, for nodes that the load test starts (LD_PRELOAD): the sync of a file whose name ends with SLOW_DISK_NAME
 * takes as long as a disk of SLOW_DISK_BYTES_PER_S would take for what was written to the file since its last sync. The
 * program itself knows nothing of it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define FILES 4096
static atomic_llong written[FILES];

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

static void count(int file, ssize_t bytes) {
  if (file >= 0 && file < FILES && bytes > 0) atomic_fetch_add(&written[file], bytes);
}

ssize_t pwrite64(int file, const void *from, size_t bytes, off64_t at) {
  static ssize_t (*real)(int, const void *, size_t, off64_t);
  if (!real) real = next("pwrite64");
  ssize_t done = real(file, from, bytes, at);
  count(file, done);
  return done;
}

ssize_t pwrite(int file, const void *from, size_t bytes, off_t at) {
  static ssize_t (*real)(int, const void *, size_t, off_t);
  if (!real) real = next("pwrite");
  ssize_t done = real(file, from, bytes, at);
  count(file, done);
  return done;
}

static int is_slow(int file) {
  const char *ending = getenv("SLOW_DISK_NAME");
  char link[64], name[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, name, sizeof name - 1);
  size_t wanted = ending ? strlen(ending) : 0;
  if (length < (ssize_t)wanted) return 0;
  name[length] = 0;
  return wanted > 0 && strcmp(name + length - wanted, ending) == 0;
}

static void wait_for(int file) {
  const char *setting = getenv("SLOW_DISK_BYTES_PER_S");
  double bytes_per_s = setting ? atof(setting) : 0;
  if (file < 0 || file >= FILES || bytes_per_s <= 0 || !is_slow(file)) return;
  double seconds = (double)atomic_exchange(&written[file], 0) / bytes_per_s;
  struct timespec span = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  while (nanosleep(&span, &span) != 0) {}
}

int fdatasync(int file) {
  static int (*real)(int);
  if (!real) real = next("fdatasync");
  wait_for(file);
  return real(file);
}

int fsync(int file) {
  static int (*real)(int);
  if (!real) real = next("fsync");
  wait_for(file);
  return real(file);
}
