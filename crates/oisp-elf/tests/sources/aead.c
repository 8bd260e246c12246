// Stands in for AWS-LC's aead.c below rustls: the same errors in the same order of lines, none of the text.
#include <stddef.h>

#define FUNCTION __attribute__((noinline, noipa))
#ifdef __clang__
#undef FUNCTION
#define FUNCTION __attribute__((noinline))
#endif

volatile unsigned last_error;
const char *const rustls_error = "PeerMisbehaved";

FUNCTION void ERR_put_error(int library, int unused, int reason, const char *file, unsigned line) {
  last_error = library + reason + line + file[0] + unused;
}
#define REPORT(reason) \
  ERR_put_error(30, 0, reason, "/home/someone/aws-lc/crypto/fipsmodule/cipher/aead.c", __LINE__)

typedef int (*method)(char *, size_t);

FUNCTION int AeadSeal(method seal, char *out, size_t size, size_t room, const char *in) {
#line 172
  if (size + 9 < size) { REPORT(117); goto error; }
#line 177
  if (room < size) { REPORT(103); goto error; }
#line 182
  if (in != out) { REPORT(115); goto error; }
  if (seal(out, size)) return 1;
error:
  out[0] = 0;
  return 0;
}

FUNCTION int AeadSealScatter(method seal, char *out, size_t size, const char *in) {
#line 214
  if (in != out) { REPORT(115); goto error; }
#line 219
  if (!seal) { REPORT(112); goto error; }
  if (seal(out, size)) return 1;
error:
  out[0] = 0;
  return 0;
}

FUNCTION int AeadOpen(method open, char *out, size_t size, size_t room, const char *in) {
#line 244
  if (in != out) { REPORT(115); goto error; }
  if (open) {
    if (open(out, size)) return 1;
    goto error;
  }
#line 261
  if (size < 16) { REPORT(101); goto error; }
#line 267
  if (room < size) { REPORT(103); goto error; }
  return 1;
error:
  out[0] = 0;
  return 0;
}

FUNCTION int AeadOpenGather(method open, char *out, size_t size, const char *in) {
#line 292
  if (in != out) { REPORT(115); goto error; }
#line 297
  if (!open) { REPORT(104); goto error; }
  if (open(out, size)) return 1;
error:
  out[0] = 0;
  return 0;
}

int main(int count, char **arguments) {
  method methods[2] = {NULL, NULL};
  return AeadSeal(methods[count], arguments[0], count, 3, rustls_error) +
         AeadSealScatter(methods[count], arguments[0], count, arguments[0]) +
         AeadOpen(methods[count], arguments[0], count, 3, arguments[0]) +
         AeadOpenGather(methods[count], arguments[0], count, arguments[0]);
}
