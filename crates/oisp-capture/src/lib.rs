//! What a capture source delivers: connections, bytes, processes, losses.
