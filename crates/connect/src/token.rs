//! An access token that is asked for once and shared until it ends.

use std::future::Future;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::secret::Confidential;

/// The response of an identity service.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Sent with calls until `lives` has passed.
    pub token: Confidential,
    /// How long it lives from now on. A service may return the same token again with the rest of
    /// its life.
    pub lives: Duration,
}

/// How long before its end a token is replaced, so that it does not expire during a call.
const SPARE: Duration = Duration::from_secs(30);

/// One token for all callers. While one caller asks for a new one, the others wait for it.
#[derive(Default)]
pub struct TokenCache {
    held: Mutex<Option<Held>>,
}

struct Held {
    token: Confidential,
    replace_at: Instant,
}

impl TokenCache {
    /// The token in use, or a new one from `ask`.
    ///
    /// If a service returns the old token with seconds to live, ask again at that token's end and
    /// not before: asking in a loop would not help.
    ///
    /// # Errors
    /// What `ask` says; nothing is kept then.
    pub async fn get<E, F>(&self, ask: impl FnOnce() -> F) -> Result<Confidential, E>
    where
        F: Future<Output = Result<Grant, E>>,
    {
        let mut held = self.held.lock().await;
        if let Some(Held { token, replace_at }) = &*held
            && Instant::now() < *replace_at
        {
            return Ok(token.clone());
        }
        *held = None;
        let grant = ask().await?;
        let spare = if grant.lives > SPARE * 2 { SPARE } else { Duration::ZERO };
        *held = Some(Held {
            token: grant.token.clone(),
            replace_at: Instant::now() + (grant.lives - spare),
        });
        Ok(grant.token)
    }

    /// The other side refused `token`: it is not used again. A newer one that another caller got
    /// meanwhile stays.
    pub async fn refused(&self, token: &Confidential) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|held| held.token == *token) {
            *held = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn grant(name: &str, seconds: u64) -> Result<Grant, ()> {
        Ok(Grant {
            token: Confidential::new(name),
            lives: Duration::from_secs(seconds),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_until_shortly_before_its_end() {
        let cache = TokenCache::default();
        assert_eq!(cache.get(|| grant("a", 3_600)).await.map(|token| token.reveal().to_owned()), Ok("a".to_owned()));
        tokio::time::advance(Duration::from_secs(3_500)).await;
        assert_eq!(cache.get(|| grant("b", 3_600)).await.map(|token| token.reveal().to_owned()), Ok("a".to_owned()));
        tokio::time::advance(Duration::from_secs(80)).await;
        assert_eq!(cache.get(|| grant("b", 3_600)).await.map(|token| token.reveal().to_owned()), Ok("b".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_goes_and_a_newer_one_stays() {
        let cache = TokenCache::default();
        let a = cache.get(|| grant("a", 3_600)).await.expect("granted");
        cache.refused(&a).await;
        let b = cache.get(|| grant("b", 3_600)).await.expect("granted");
        cache.refused(&a).await;
        assert_eq!(cache.get(|| grant("c", 3_600)).await, Ok(b));
    }
}
