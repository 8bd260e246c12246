//! Loads the kernel programs, attaches them and turns their records into capture events.
