//! What the documents about segments say is so. One binary, because linking takes longer than running.

mod documents;
mod recipes;
mod reference;
