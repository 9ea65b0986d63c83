//! The JSON form against published shapes, and its errors.
