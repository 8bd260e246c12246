//! Protocol decoding without I/O: stream assembly, HTTP, SSE, content encodings.
