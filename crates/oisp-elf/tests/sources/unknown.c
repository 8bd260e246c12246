// As much of an unknown TLS implementation as every one has.

#include <stdio.h>

int verify(int length)
{
	return printf("%.*s", length, "TLS 1.3, server CertificateVerify");
}

int main(int count, char **arguments)
{
	return verify(count);
}
