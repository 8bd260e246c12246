//! The OISP event model: types, identifiers, JSON.
