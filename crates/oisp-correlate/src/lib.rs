//! Joins AI calls with processes and hosts, and makes OISP events of them.
