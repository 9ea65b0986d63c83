//! The statements of the documents about segments hold. One binary, because linking takes longer
//! than running.

mod documents;
mod recipes;
mod reference;
