//! The arguments of `destination`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum DestinationCommand {
    /// The destinations that have a running sink, with their status
    List,
    /// One destination: what is desired, delivered, pending and refused, and what holds it up
    Status { name: String },
    /// What the sink would send now, in how many calls, and how long they take under the destination's
    /// limits; sends nothing
    Preview {
        name: String,
        /// Changes of each audience that are shown
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1000))]
        sample: u16,
    },
    /// Release what the brake holds
    Confirm {
        name: String,
        /// One audience; if left out, all of the destination
        #[arg(long)]
        audience: Option<String>,
    },
    /// Send again what the destination refused
    Retry {
        name: String,
        #[arg(long)]
        audience: Option<String>,
    },
    /// Compare a destination that can be read with what it acknowledged, and repair the differences
    Reconcile {
        name: String,
        #[arg(long)]
        audience: Option<String>,
    },
}
