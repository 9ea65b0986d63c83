//! `millrace-simulators`: foreign systems on loopback, for people and for clients that are not
//! ours.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Parser, Subcommand};
use millrace_model::Timestamp;
use millrace_simulators::linkedin::LinkedIn;
use millrace_simulators::salesforce::Salesforce;
use millrace_simulators::{linkedin, marketo, salesforce};
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
    /// A LinkedIn ad account; prints its address, an access token and a refresh token, serves until
    /// interrupted, and prints the members of its segments then
    Linkedin {
        #[arg(long, default_value = "127.0.0.1:0")]
        address: SocketAddr,
        /// Decides ids, tokens and faults
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many of a thousand calls fail
        #[arg(long, default_value_t = 0)]
        faults: u32,
    },
    /// A Salesforce org; prints its address, serves until interrupted
    Salesforce {
        #[arg(long, default_value = "127.0.0.1:0")]
        address: SocketAddr,
        /// The org's id
        #[arg(long, default_value = "00D5g000004XyZaEAK")]
        org: String,
        /// Decides ids, tokens and faults
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Fill it with an account and this number of contacts
        #[arg(long, default_value_t = 0)]
        contacts: u64,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().system {
        System::Marketo {
            address,
            munchkin,
            seed,
            leads,
        } => serve_marketo(address, munchkin, seed, leads).await,
        System::Linkedin { address, seed, faults } => serve_linkedin(address, seed, faults).await,
        System::Salesforce { address, org, seed, contacts } => serve_salesforce(address, org, seed, contacts).await,
    }
}

async fn serve_marketo(address: SocketAddr, munchkin: String, seed: u64, leads: u64) -> anyhow::Result<()> {
    let settings = marketo::Settings {
        munchkin,
        ..marketo::Settings::default()
    };
    let marketo = marketo::Marketo::start(address, settings, seed).await?;
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

async fn serve_linkedin(address: SocketAddr, seed: u64, faults: u32) -> anyhow::Result<()> {
    let account = LinkedIn::start(address, linkedin::Settings::default(), seed, Arc::new(wall_clock)).await?;
    account.set_faults(linkedin::Faults {
        unavailable: faults / 2,
        dropped: faults / 2,
        ..linkedin::Faults::default()
    });
    let (access, refresh) = account.consent();
    println!("{}\n{access}\n{refresh}", account.url());
    tokio::signal::ctrl_c().await?;
    account.with(|world| {
        world.settle();
        for segment in world.segments.values() {
            println!("{} {}: {:?}", segment.id, segment.name, segment.members);
        }
    });
    Ok(())
}

async fn serve_salesforce(address: SocketAddr, org: String, seed: u64, contacts: u64) -> anyhow::Result<()> {
    let settings = salesforce::Settings {
        org,
        ..salesforce::Settings::default()
    };
    let org = Salesforce::start(address, settings, seed).await?;
    org.with(|world| {
        let account = world.create("Account", json!({"Name": "Townsend"}));
        for number in 1..=contacts {
            let email = format!("p{number}@townsend.example");
            world.create(
                "Contact",
                json!({"FirstName": "Pat", "LastName": format!("No {number}"), "Email": email, "AccountId": account}),
            );
        }
    });
    println!("{}", org.url());
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
