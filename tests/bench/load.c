/* A client of the admin sockets that is never the bottleneck: many connections, one thread.
 *
 * Speaks the admin protocol by hand: a 4-byte big-endian length, then a protobuf Request. It writes
 * `propose` with a put of the kv state machine, or a linearizable `query` with a get, and reads of
 * an answer only its id and its error. Prints one JSON object.
 *
 *   load [--op put|get] [--clients N] [--depth N] [--size BYTES] [--keys N] [--offset N]
 *        [--random 1] (--total N | --seconds S) [--rate PER_SECOND] SOCKET...
 *
 * Closed loop: each connection keeps `depth` requests under way (1: as etcd's benchmark does).
 * Open loop (--rate): requests are sent when they are due, whether or not earlier ones have been
 * answered; one that finds every slot taken is counted as `skipped`. Connections are spread over
 * the sockets in turn, so every node serves its share.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { SOCKETS_MAX = 16, CODES_MAX = 32, CODE_BYTES = 40, EVENTS = 256 };

typedef struct {
  int fd, target;
  bool armed;                 /* Waits for room to write. */
  uint8_t *out;               /* Requests not sent yet: out[out_at, out_end). */
  size_t out_at, out_end, out_cap;
  uint8_t *in;
  size_t in_end, in_cap;
  uint64_t *sent_at;          /* Of each slot; 0: free. A request's id is its slot + 1. */
  int *free_slots, free_count;
} Connection;

typedef struct {
  double *at;
  size_t count, cap;
} Samples;

static const char *sockets[SOCKETS_MAX];
static int socket_count, clients = 1, depth = 1;
static long total = 0, keys = 0, offset = 0;
static size_t size = 256;
static double seconds = 0, rate = 0;
static bool put = true, random_value;
static volatile sig_atomic_t stopped; /* SIGTERM ends the run early; it is reported like any other. */

static Connection *connections;
static int epoll_fd;
static uint8_t *value;
static long sequence, issued, answered, failed, skipped, lost_connections, outstanding;
static long by_target[SOCKETS_MAX];
static double retry_after_sum;
static Samples good, bad;
static struct { char code[CODE_BYTES]; long count; } codes[CODES_MAX];
static int code_count;

static void stop(int number) {
  (void)number;
  stopped = 1;
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void *grown(void *old, size_t bytes) {
  void *new = realloc(old, bytes);
  if (!new) die("out of memory");
  return new;
}

static void sample(Samples *s, double ms) {
  if (s->count == s->cap) s->at = grown(s->at, (s->cap = s->cap ? 2 * s->cap : 4096) * sizeof *s->at);
  s->at[s->count++] = ms;
}

/* ---- protobuf, as much of it as is needed --------------------------------------------------- */

static size_t varint_size(uint64_t v) {
  size_t n = 1;
  while (v >>= 7) n++;
  return n;
}

static uint8_t *put_varint(uint8_t *p, uint64_t v) {
  for (; v >= 0x80; v >>= 7) *p++ = (uint8_t)(v | 0x80);
  *p++ = (uint8_t)v;
  return p;
}

static uint8_t *put_head(uint8_t *p, int field, uint64_t length) {
  *p++ = (uint8_t)(field << 3 | 2);
  return put_varint(p, length);
}

static const uint8_t *get_varint(const uint8_t *p, const uint8_t *end, uint64_t *v) {
  *v = 0;
  for (int shift = 0; p < end && shift < 64; shift += 7) {
    uint8_t byte = *p++;
    *v |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return p;
  }
  fprintf(stderr, "load: an answer is cut off\n");
  exit(1);
}

/* Write one framed Request at p, which has room for the value and 128 bytes. */
static uint8_t *put_request(uint8_t *p, uint64_t id, long number) {
  char key[32];
  size_t key_size = (size_t)snprintf(key, sizeof key, "k%08ld", number);
  size_t pair = 1 + varint_size(key_size) + key_size;
  if (put) pair += 1 + varint_size(size) + size;
  size_t command = 1 + varint_size(pair) + pair; /* KvCommand.put or KvQuery.get, both field 1 */
  size_t body = 1 + varint_size(command) + command; /* ProposeRequest.data, QueryRequest.data */
  uint64_t deadline = 10000;
  size_t request = 1 + varint_size(id) + 1 + varint_size(deadline) + 1 + varint_size(body) + body;
  *p++ = (uint8_t)(request >> 24);
  *p++ = (uint8_t)(request >> 16);
  *p++ = (uint8_t)(request >> 8);
  *p++ = (uint8_t)request;
  *p++ = 1 << 3;
  p = put_varint(p, id);
  *p++ = 2 << 3;
  p = put_varint(p, deadline);
  p = put_head(p, put ? 12 : 13, body);
  p = put_head(p, 1, command);
  p = put_head(p, 1, pair);
  p = put_head(p, 1, key_size);
  memcpy(p, key, key_size);
  p += key_size;
  if (put) {
    p = put_head(p, 2, size);
    memcpy(p, value, size);
    p += size;
  }
  return p;
}

/* Return the id of a Response; note its error, if it has one. */
static uint64_t read_response(const uint8_t *p, const uint8_t *end, bool *is_error) {
  uint64_t id = 0;
  *is_error = false;
  while (p < end) {
    uint64_t tag, number;
    p = get_varint(p, end, &tag);
    switch (tag & 7) {
      case 0:
        p = get_varint(p, end, &number);
        if (tag >> 3 == 1) id = number;
        break;
      case 1: p += 8; break;
      case 5: p += 4; break;
      case 2: {
        p = get_varint(p, end, &number);
        const uint8_t *next = p + number;
        if (tag >> 3 == 6) { /* Error { code = 1; ...; retry_after_ms = 6 } */
          *is_error = true;
          char code[CODE_BYTES] = "?";
          for (const uint8_t *q = p; q < next;) {
            uint64_t inner, length;
            q = get_varint(q, next, &inner);
            q = get_varint(q, next, &length);
            if (inner >> 3 == 6 && (inner & 7) == 0) retry_after_sum += (double)length;
            if ((inner & 7) != 2) continue;
            if (inner >> 3 == 1) snprintf(code, sizeof code, "%.*s", (int)length, (const char *)q);
            q += length;
          }
          int i = 0;
          while (i < code_count && strcmp(codes[i].code, code)) i++;
          if (i == code_count && i < CODES_MAX) memcpy(codes[code_count++].code, code, CODE_BYTES);
          if (i < CODES_MAX) codes[i].count++;
        }
        p = next;
        break;
      }
      default: fprintf(stderr, "load: an answer is no protobuf message\n"); exit(1);
    }
  }
  return id;
}

/* ---- connections ---------------------------------------------------------------------------- */

static bool open_connection(Connection *c) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", sockets[c->target]);
  c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) {
    close(c->fd);
    c->fd = -1;
    return false;
  }
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
  c->armed = false;
  c->out_at = c->out_end = c->in_end = 0;
  c->free_count = 0;
  for (int i = depth - 1; i >= 0; i--) {
    c->sent_at[i] = 0;
    c->free_slots[c->free_count++] = i;
  }
  return true;
}

static void drop_connection(Connection *c) {
  lost_connections++;
  for (int i = 0; i < depth; i++) {
    if (c->sent_at[i]) {
      answered++;
      failed++;
      outstanding--;
    }
  }
  close(c->fd);
  c->fd = -1;
}

static void arm(Connection *c, bool wanted) {
  if (c->armed == wanted) return;
  c->armed = wanted;
  struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event)) die("epoll_ctl");
}

static void flush(Connection *c) {
  while (c->out_at < c->out_end) {
    ssize_t n = send(c->fd, c->out + c->out_at, c->out_end - c->out_at, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN) break;
      drop_connection(c);
      return;
    }
    c->out_at += (size_t)n;
  }
  if (c->out_at == c->out_end) c->out_at = c->out_end = 0;
  arm(c, c->out_end > 0);
}

static void issue(Connection *c) {
  if (c->out_cap - c->out_end < size + 128) {
    memmove(c->out, c->out + c->out_at, c->out_end - c->out_at);
    c->out_end -= c->out_at;
    c->out_at = 0;
    if (c->out_cap - c->out_end < size + 128)
      c->out = grown(c->out, c->out_cap = 2 * c->out_cap + size + 128);
  }
  int slot = c->free_slots[--c->free_count];
  long number = offset + sequence++;
  if (keys) number = offset + number % keys;
  c->out_end = (size_t)(put_request(c->out + c->out_end, (uint64_t)slot + 1, number) - c->out);
  c->sent_at[slot] = now_ns();
  issued++;
  outstanding++;
}

static void receive(Connection *c) {
  for (;;) {
    if (c->in_end == c->in_cap) c->in = grown(c->in, c->in_cap *= 2);
    size_t room = c->in_cap - c->in_end;
    ssize_t n = recv(c->fd, c->in + c->in_end, room, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
      drop_connection(c);
      return;
    }
    if (n < 0) return;
    c->in_end += (size_t)n;
    size_t at = 0;
    while (c->in_end - at >= 4) {
      uint8_t *p = c->in + at;
      size_t length = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
      if (c->in_end - at - 4 < length) break;
      bool is_error;
      uint64_t id = read_response(p + 4, p + 4 + length, &is_error);
      at += 4 + length;
      if (id == 0 || id > (uint64_t)depth || !c->sent_at[id - 1]) continue;
      double ms = (double)(now_ns() - c->sent_at[id - 1]) / 1e6;
      sample(is_error ? &bad : &good, ms);
      answered++;
      failed += is_error;
      by_target[c->target]++;
      outstanding--;
      c->sent_at[id - 1] = 0;
      c->free_slots[c->free_count++] = (int)id - 1;
    }
    memmove(c->in, c->in + at, c->in_end - at);
    c->in_end -= at;
    if ((size_t)n < room) return; /* Nothing is left: spare the call that would say so. */
  }
}

/* ---- the run -------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double percentile(Samples *s, double fraction) {
  if (!s->count) return 0;
  size_t i = (size_t)(fraction * (double)s->count);
  return s->at[i < s->count ? i : s->count - 1];
}

static double cpu_seconds(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void run(uint64_t start) {
  uint64_t end = seconds > 0 ? start + (uint64_t)(seconds * 1e9) : UINT64_MAX;
  uint64_t give_up = 0; /* Answers that never come must not hold the run up for ever. */
  struct epoll_event events[EVENTS];
  int turn = 0;
  for (;;) {
    uint64_t now = now_ns();
    bool open = (total == 0 || issued < total) && now < end && !stopped;
    if (!open) {
      if (outstanding == 0) return;
      if (!give_up) give_up = now + 60000000000u;
      if (now > give_up) return;
    }
    int alive = 0;
    for (int i = 0; i < clients; i++) {
      Connection *c = &connections[i];
      if (c->fd < 0 && open) open_connection(c);
      alive += c->fd >= 0;
    }
    if (!alive) {
      fprintf(stderr, "load: every node has closed its connections\n");
      return;
    }
    if (open && rate > 0) {
      long due = (long)(rate * (double)(now - start) / 1e9) - issued - skipped;
      for (; due > 0 && (total == 0 || issued < total); due--) {
        int tries = 0;
        Connection *c;
        do {
          c = &connections[turn++ % clients];
        } while ((c->fd < 0 || !c->free_count) && ++tries < clients);
        if (tries == clients) skipped++;
        else issue(c);
      }
    } else if (open) {
      for (int i = 0; i < clients; i++) {
        Connection *c = &connections[i];
        while (c->fd >= 0 && c->free_count && (total == 0 || issued < total)) issue(c);
      }
    }
    for (int i = 0; i < clients; i++) {
      Connection *c = &connections[i];
      if (c->fd >= 0 && c->out_end && !c->armed) flush(c);
    }
    int count = epoll_wait(epoll_fd, events, EVENTS, rate > 0 ? 1 : 100);
    for (int i = 0; i < count; i++) {
      Connection *c = events[i].data.ptr;
      if (c->fd >= 0 && events[i].events & EPOLLOUT) flush(c);
      if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
    }
  }
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, stop);
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    if (name[0] != '-') {
      if (socket_count < SOCKETS_MAX) sockets[socket_count++] = name;
      continue;
    }
    if (++i == argc) {
      fprintf(stderr, "load: %s needs a value\n", name);
      return 2;
    }
    const char *text = argv[i];
    if (!strcmp(name, "--op")) put = !strcmp(text, "put");
    else if (!strcmp(name, "--clients")) clients = atoi(text);
    else if (!strcmp(name, "--depth")) depth = atoi(text);
    else if (!strcmp(name, "--size")) size = (size_t)atol(text);
    else if (!strcmp(name, "--random")) random_value = atoi(text);
    else if (!strcmp(name, "--keys")) keys = atol(text);
    else if (!strcmp(name, "--offset")) offset = atol(text);
    else if (!strcmp(name, "--total")) total = atol(text);
    else if (!strcmp(name, "--seconds")) seconds = atof(text);
    else if (!strcmp(name, "--rate")) rate = atof(text);
    else {
      fprintf(stderr, "load: unknown option %s\n", name);
      return 2;
    }
  }
  if (!socket_count || clients < 1 || depth < 1 || (!total && seconds <= 0)) {
    fprintf(stderr, "load: a socket, and --total or --seconds, are needed\n");
    return 2;
  }
  value = grown(NULL, size + 1);
  memset(value, 'x', size);
  for (size_t i = 0; random_value && i < size; i++) value[i] = (uint8_t)(rand() >> 8);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  connections = calloc((size_t)clients, sizeof *connections);
  for (int i = 0; i < clients; i++) {
    Connection *c = &connections[i];
    c->target = i % socket_count;
    c->out = grown(NULL, c->out_cap = size + 256);
    c->in = grown(NULL, c->in_cap = 8192);
    c->sent_at = calloc((size_t)depth, sizeof *c->sent_at);
    c->free_slots = calloc((size_t)depth, sizeof *c->free_slots);
    if (!open_connection(c)) die(sockets[c->target]);
  }
  double cpu = cpu_seconds();
  uint64_t start = now_ns();
  run(start);
  double elapsed = (double)(now_ns() - start) / 1e9;
  cpu = cpu_seconds() - cpu;
  qsort(good.at, good.count, sizeof *good.at, ascending);
  qsort(bad.at, bad.count, sizeof *bad.at, ascending);
  printf("{\"generator\": \"c\", \"seconds\": %.4f, \"issued\": %ld, \"ok\": %zu, \"failed\": %ld, ",
         elapsed, issued, good.count, failed);
  printf("\"skipped\": %ld, \"unanswered\": %ld, \"lost_connections\": %ld, ", skipped, outstanding,
         lost_connections);
  printf("\"rate\": %.1f, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f, ",
         (double)good.count / elapsed, percentile(&good, 0.5), percentile(&good, 0.99),
         percentile(&good, 1));
  printf("\"refused_p50_ms\": %.4f, \"refused_p99_ms\": %.4f, \"retry_after_ms\": %.1f, ",
         percentile(&bad, 0.5), percentile(&bad, 0.99),
         bad.count ? retry_after_sum / (double)bad.count : 0.0);
  printf("\"cpu_share\": %.4f, \"by_socket\": [", cpu / elapsed);
  for (int i = 0; i < socket_count; i++) printf("%s%ld", i ? ", " : "", by_target[i]);
  printf("], \"errors\": {");
  for (int i = 0; i < code_count; i++)
    printf("%s\"%s\": %ld", i ? ", " : "", codes[i].code, codes[i].count);
  printf("}}\n");
  return 0;
}
