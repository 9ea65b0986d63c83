//! `millrace-simulators`: foreign systems on loopback, for people and for clients that are not
//! ours.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use millrace_simulators::marketo::{Marketo, Settings};
use serde_json::json;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    system: System,
}

#[derive(Subcommand)]
enum System {
    /// A Marketo instance; prints its address, serves until interrupted
    Marketo {
        #[arg(long, default_value = "127.0.0.1:0")]
        address: SocketAddr,
        #[arg(long, default_value = "111-AAA-222")]
        munchkin: String,
        /// Decides ids, tokens and faults
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Fill it with this number of persons and their visits
        #[arg(long, default_value_t = 0)]
        leads: u64,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli {
        system: System::Marketo {
            address,
            munchkin,
            seed,
            leads,
        },
    } = Cli::parse();
    let settings = Settings {
        munchkin,
        ..Settings::default()
    };
    let marketo = Marketo::start(address, settings, seed).await?;
    marketo.with(|world| {
        let company = world.create_company(json!({"company": "Townsend", "externalCompanyId": "townsend"}));
        let list = world.create_list("Newsletter");
        for number in 1..=leads {
            let lead = world.create_lead(json!({
                "email": format!("p{number}@townsend.example"), "firstName": "Pat\nT.", "lastName": format!("No {number}, \"the\""),
                "contactCompany": company,
            }));
            let now = world.now;
            world.visit(lead, "www.bodea.example/products/new", "utm=x", now);
            world.set_member(list, lead, number % 2 == 0);
        }
    });
    println!("{}", marketo.url());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
