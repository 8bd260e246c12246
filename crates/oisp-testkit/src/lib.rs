//! A fake AI provider, client programs and a recording harness for tests and the demo.
