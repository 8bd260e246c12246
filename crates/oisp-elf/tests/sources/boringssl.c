// Stands in for BoringSSL's ssl_lib.cc: the same errors at the same lines, the same calls, none of the text.
#include <stddef.h>
#include <string.h>

#define FUNCTION __attribute__((noinline, noipa))
#ifdef __clang__
#undef FUNCTION
#define FUNCTION __attribute__((noinline))
#endif

struct span { char *data; size_t size; };
struct state { long sequence; long other; struct span pending; };
struct ssl { struct state *s3; void *quic; int (*do_handshake)(struct ssl *); int writes; };

volatile unsigned last_error;

FUNCTION void ERR_put_error(int library, int unused, int reason, const char *file, unsigned line) {
  last_error = library + reason + line + file[0] + unused;
}
#define REPORT(reason) ERR_put_error(16, 0, reason, FILE_NAME, __LINE__)
#ifndef FILE_NAME
#define FILE_NAME "../../third_party/boringssl/src/ssl/ssl_lib.cc"
#endif

FUNCTION int unrelated_before(struct ssl *ssl) {
#line 200
  if (!ssl) { REPORT(68); return -1; }
  return 1;
}

FUNCTION struct ssl *SSL_new(struct ssl *context) {
#line 503
  if (!context) { REPORT(185); return NULL; }
  context->writes = 0;
  return context;
}

FUNCTION int ssl_read_impl(struct ssl *ssl) {
#line 837
  if (!ssl->do_handshake) { REPORT(226); return -1; }
  while (ssl->s3->pending.size == 0) {
    int result = ssl->do_handshake(ssl);
    if (result < 0) return result;
#line 870
    if (result == 0) { REPORT(215); return -1; }
  }
  return 1;
}

#ifdef PEEK_INLINED
static inline __attribute__((always_inline)) int peek(struct ssl *ssl, void *buffer, int size) {
#else
FUNCTION int peek(struct ssl *ssl, void *buffer, int size) {
#endif
#line 931
  if (ssl->quic) { REPORT(66); return -1; }
  int result = ssl_read_impl(ssl);
  if (result <= 0) return result;
  if (size <= 0) return size;
  size_t take = ssl->s3->pending.size < (size_t)size ? ssl->s3->pending.size : (size_t)size;
  memcpy(buffer, ssl->s3->pending.data, take);
  return (int)take;
}

FUNCTION int SSL_read(struct ssl *ssl, void *buffer, int size) {
  int result = peek(ssl, buffer, size);
  if (result <= 0) return result;
  ssl->s3->pending.data += result;
  ssl->s3->pending.size -= result;
  if (ssl->s3->pending.size == 0) ssl->s3->other = 0;
  return result;
}

FUNCTION int SSL_peek(struct ssl *ssl, void *buffer, int size) { return peek(ssl, buffer, size); }

#ifndef WITHOUT_WRITE
FUNCTION int SSL_write(struct ssl *ssl, const void *buffer, int size) {
#line 953
  if (ssl->quic) { REPORT(66); return -1; }
#line 958
  if (!ssl->do_handshake) { REPORT(226); return -1; }
  int result = ssl->do_handshake(ssl);
  if (result < 0) return result;
#line 973
  if (result == 0) { REPORT(215); return -1; }
#line 979
  if (size < 0) { REPORT(111); return -1; }
  ssl->writes += ((const char *)buffer)[0];
  return size;
}
#else
#define SSL_write(a, b, c) 0
#endif

#ifdef SECOND_WRITE
FUNCTION int another_write(struct ssl *ssl, const void *buffer, int size) {
#line 1053
  if (ssl->quic) { REPORT(66); return -1; }
  if (!ssl->do_handshake) { REPORT(226); return -1; }
  int result = ssl->do_handshake(ssl);
  if (result == 0) { REPORT(215); return -1; }
  if (size < 0) { REPORT(111); return -1; }
  ssl->writes -= ((const char *)buffer)[0];
  return size + 1;
}
#else
#define another_write(a, b, c) 0
#endif

FUNCTION int SSL_key_update(struct ssl *ssl) {
#line 1019
  if (!ssl->do_handshake) { REPORT(226); return -1; }
  if (ssl->writes > 9) { REPORT(291); return 0; }
  return 1;
}

int main(int count, char **arguments) {
  struct state state = {0};
  struct ssl ssl = {&state, arguments[0], NULL, count};
  struct ssl *made = SSL_new(count > 5 ? NULL : &ssl);
  char buffer[16] = {0};
  return unrelated_before(made) + SSL_read(made, buffer, count) + SSL_peek(made, buffer, count) +
         SSL_write(made, buffer, count) + another_write(made, buffer, count) + SSL_key_update(made);
}
