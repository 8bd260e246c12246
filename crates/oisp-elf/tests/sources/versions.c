// Stands in for a program with several versions of AWS-LC below rustls, with symbols.

#define NAMED_2(prefix, function) prefix##function
#define NAMED(prefix, function) NAMED_2(prefix, function)
#define FUNCTION __attribute__((noinline, noipa))

const char *const texts[] = {"PeerMisbehaved", "/home/someone/aws-lc/crypto/fipsmodule/cipher/aead.c"};

#define VERSION(prefix)                                                              \
  FUNCTION int NAMED(prefix, EVP_AEAD_CTX_seal)(volatile int *at) { return *at += 1; } \
  FUNCTION int NAMED(prefix, EVP_AEAD_CTX_open)(volatile int *at) { return *at += 2; }

VERSION(aws_lc_0_28_0_)
VERSION(aws_lc_0_38_0_)

#ifdef TOO_MANY
#define TEN(prefix)                                                                               \
  VERSION(prefix##0_) VERSION(prefix##1_) VERSION(prefix##2_) VERSION(prefix##3_) VERSION(prefix##4_) \
  VERSION(prefix##5_) VERSION(prefix##6_) VERSION(prefix##7_) VERSION(prefix##8_) VERSION(prefix##9_)
TEN(a0) TEN(a1) TEN(a2) TEN(a3) TEN(a4) TEN(a5) TEN(a6) TEN(a7) TEN(a8) TEN(a9) TEN(b0) TEN(b1) TEN(b2)
#endif

int main(int count, char **arguments) {
  volatile int at = count;
  return aws_lc_0_28_0_EVP_AEAD_CTX_seal(&at) + aws_lc_0_38_0_EVP_AEAD_CTX_seal(&at) +
         aws_lc_0_28_0_EVP_AEAD_CTX_open(&at) + aws_lc_0_38_0_EVP_AEAD_CTX_open(&at) + texts[count - 1][0];
}
