//! Commands from a person to a running sink.

use serde::{Deserialize, Serialize};

use super::status::{AudienceStatus, SinkStatus};

/// A command to the sink of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// What to do.
    pub order: OrderKind,
    /// One audience; `None`: all of the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// What a sink can be ordered to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OrderKind {
    /// Releases what the brake holds, until no change waits.
    Confirm,
    /// Sends again the changes that the destination refused.
    Retry,
    /// Compares the destination with the ledger and repairs what differs.
    Reconcile,
}

/// An order that would change nothing, with the reason.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pointless {
    /// The destination has neither a member nor a change of that audience.
    #[error("`{destination}` has no audience `{audience}`{}", among(.known))]
    UnknownAudience {
        /// The name in the configuration.
        destination: String,
        /// The one that the order names.
        audience: String,
        /// Those it has, ascending.
        known: Vec<String>,
    },
    /// Nothing to confirm.
    #[error("the brake holds nothing of {0}")]
    NothingHeld(String),
    /// Nothing to retry.
    #[error("nothing of {0} was refused")]
    NothingRefused(String),
    /// Nothing to compare with.
    #[error("`{0}` cannot be compared: its system shows nobody's membership")]
    Unreadable(String),
}

/// The names that an answer lists at most.
const NAMES_MAX: usize = 10;

fn among(known: &[String]) -> String {
    let names: Vec<String> = known.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
    match (known.len(), names.join(", ")) {
        (0, _) => "; it has none so far".to_owned(),
        (count, names) if count > NAMES_MAX => format!("; it has {names} and others"),
        (_, names) => format!("; it has {names}"),
    }
}

impl Order {
    /// Compares the order with the sink as it is.
    ///
    /// # Errors
    /// Where there is nothing that it could do.
    pub fn require_effect(&self, status: &SinkStatus) -> Result<(), Pointless> {
        let destination = &status.destination;
        if let Some(audience) = self.audience.as_ref().filter(|audience| !status.audiences.contains_key(*audience)) {
            return Err(Pointless::UnknownAudience {
                destination: destination.clone(),
                audience: audience.clone(),
                known: status.audiences.keys().cloned().collect(),
            });
        }
        let meant = |is: fn(&AudienceStatus) -> bool| {
            let concerned = status
                .audiences
                .iter()
                .filter(|(name, _)| self.audience.as_ref().is_none_or(|only| only == *name));
            concerned.into_iter().any(|(_, audience)| is(audience))
        };
        let what = || {
            self.audience
                .as_ref()
                .map_or_else(|| format!("`{destination}`"), |audience| format!("`{audience}` at `{destination}`"))
        };
        match self.order {
            OrderKind::Confirm if !meant(|audience| audience.held) => Err(Pointless::NothingHeld(what())),
            OrderKind::Retry if !meant(|audience| audience.refused > 0) => Err(Pointless::NothingRefused(what())),
            OrderKind::Reconcile if !status.readable => Err(Pointless::Unreadable(destination.clone())),
            OrderKind::Confirm | OrderKind::Retry | OrderKind::Reconcile => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_order_that_would_do_nothing_is_refused_with_the_reason() {
        let held = AudienceStatus {
            held: true,
            ..AudienceStatus::default()
        };
        let refused = AudienceStatus {
            refused: 2,
            ..AudienceStatus::default()
        };
        let status = SinkStatus {
            destination: "hook".to_owned(),
            audiences: BTreeMap::from([("big".to_owned(), held), ("small".to_owned(), refused)]),
            ..SinkStatus::default()
        };
        let readable = SinkStatus {
            readable: true,
            ..status.clone()
        };
        let cases = [
            (&status, OrderKind::Confirm, None, ""),
            (&status, OrderKind::Confirm, Some("big"), ""),
            (&status, OrderKind::Confirm, Some("small"), "the brake holds nothing of `small` at `hook`"),
            (
                &status,
                OrderKind::Confirm,
                Some("nosuch"),
                "`hook` has no audience `nosuch`; it has `big`, `small`",
            ),
            (&status, OrderKind::Retry, None, ""),
            (&status, OrderKind::Retry, Some("big"), "nothing of `big` at `hook` was refused"),
            (
                &status,
                OrderKind::Reconcile,
                None,
                "`hook` cannot be compared: its system shows nobody's membership",
            ),
            (&readable, OrderKind::Reconcile, None, ""),
        ];
        for (status, order, audience, expected) in cases {
            let order = Order {
                order,
                audience: audience.map(str::to_owned),
            };
            let answer = order.require_effect(status).map_or_else(|reason| reason.to_string(), |()| String::new());
            assert_eq!(answer, expected, "{order:?}");
        }
    }
}
