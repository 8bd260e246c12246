//! From HTTP messages to AI calls: provider detection, requests, responses, streams, usage.
