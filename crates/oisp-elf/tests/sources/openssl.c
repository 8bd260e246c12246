// Stands in for OpenSSL 3's ssl_lib.c: the same way of reporting errors, none of the text. FLAGS as from 3.3 on.
#include <stddef.h>

#define FUNCTION __attribute__((noinline, noipa))
#ifdef __clang__
#undef FUNCTION
#define FUNCTION __attribute__((noinline))
#endif

volatile unsigned last_error;

FUNCTION void ERR_new(void) { last_error++; }
FUNCTION void ERR_set_debug(const char *file, int line, const char *function) {
  last_error += file[0] + line + function[0];
}
FUNCTION void ERR_set_error(int library, int reason, const char *format, ...) {
  last_error += library + reason + (format != NULL);
}
#define REPORT(reason) (ERR_new(), ERR_set_debug("ssl/ssl_lib.c", __LINE__, __func__), ERR_set_error(20, reason, NULL))

struct ssl { int (*handshake)(struct ssl *); int shutdown; int mode; };

#ifdef FLAGS
#define FLAGS_PARAMETER unsigned long flags,
#define FLAGS_ARGUMENT 0,
#define FLAGS_USE (int)flags
#else
#define FLAGS_PARAMETER
#define FLAGS_ARGUMENT
#define FLAGS_USE 0
#endif

FUNCTION struct ssl *SSL_new(struct ssl *context) {
  if (!context) { REPORT(195); return NULL; }
  context->shutdown = 0;
  return context;
}

FUNCTION int ssl_read_internal(struct ssl *ssl, void *buffer, size_t size, size_t *count) {
  if (!ssl->handshake) { REPORT(276); return -1; }
  int result = ssl->handshake(ssl);
  ((char *)buffer)[0] = (char)size;
  *count = size;
  return result;
}

FUNCTION int ssl_write_internal(struct ssl *ssl, const void *buffer, size_t size, FLAGS_PARAMETER size_t *count) {
  if (!ssl->handshake) { REPORT(276); return -1; }
  if (ssl->shutdown) { REPORT(207); return -1; }
  int result = ssl->handshake(ssl) + FLAGS_USE;
  ssl->mode = ((const char *)buffer)[0];
  *count = size;
  return result;
}

FUNCTION int SSL_read(struct ssl *ssl, void *buffer, int size) {
  size_t count;
  if (size < 0) { REPORT(271); return -1; }
  int result = ssl_read_internal(ssl, buffer, (size_t)size, &count);
  return result > 0 ? (int)count : result;
}

FUNCTION int SSL_write(struct ssl *ssl, const void *buffer, int size) {
  size_t count;
  if (size < 0) { REPORT(271); return -1; }
  int result = ssl_write_internal(ssl, buffer, (size_t)size, FLAGS_ARGUMENT &count);
  return result > 0 ? (int)count : result;
}

int main(int count, char **arguments) {
  struct ssl context = {NULL, count, 0};
  struct ssl *ssl = SSL_new(count > 5 ? NULL : &context);
  return SSL_read(ssl, arguments[0], count) + SSL_write(ssl, arguments[0], count);
}
