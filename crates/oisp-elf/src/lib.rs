//! Finds the TLS functions to probe in an executable or library.
