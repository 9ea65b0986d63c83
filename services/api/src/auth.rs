//! Authentication: static tokens, each with a role.

use std::sync::{PoisonError, RwLock};

use axum::http::{HeaderMap, StatusCode, header};
use subtle::ConstantTimeEq;

use crate::access::Role;
use crate::problem::Problem;

/// A client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The token's name.
    pub name: String,
    /// `None`: an unknown client, or no authentication is configured.
    pub role: Option<Role>,
}

impl Principal {
    /// Any client of a port without authentication.
    pub(crate) fn anybody() -> Principal {
        Principal {
            name: "local".to_owned(),
            role: None,
        }
    }
}

/// A static token.
#[derive(Clone)]
pub struct Token {
    /// Appears in refusals.
    pub name: String,
    pub secret: String,
    pub role: Role,
}

/// All known clients.
pub struct Auth {
    tokens: RwLock<Vec<Token>>,
}

impl Auth {
    pub fn new(tokens: Vec<Token>) -> Auth {
        Auth { tokens: RwLock::new(tokens) }
    }

    /// Replaces the tokens: their files changed.
    pub fn replace(&self, tokens: Vec<Token>) {
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// The client that these headers authenticate; nobody where they hold no token.
    pub(crate) fn principal(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        let Some(shown) = headers.get(header::AUTHORIZATION) else {
            return Ok(Principal::anybody());
        };
        let shown = shown.as_bytes();
        let bearer = shown.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        let Some((_, secret)) = bearer else {
            return Err(wrong("send `authorization: Bearer <token>`"));
        };
        self.token(secret).ok_or_else(|| wrong("no such token is known"))
    }

    fn token(&self, secret: &[u8]) -> Option<Principal> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        // All are compared, so that the time does not reveal which one is close.
        let found = tokens
            .iter()
            .fold(None, |found, token| if same(secret, token.secret.as_bytes()) { Some(token) } else { found })?;
        Some(Principal {
            name: found.name.clone(),
            role: Some(found.role),
        })
    }
}

fn wrong(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "The token is missing or wrong", detail)
}

/// Takes the same time wherever the difference is.
pub(crate) fn same(shown: &[u8], expected: &[u8]) -> bool {
    shown.ct_eq(expected).into()
}
