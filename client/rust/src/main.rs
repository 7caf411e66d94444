//! Calls every RPC of Cofactor once and prints what docs/clients.md specifies.

mod connection;
mod lines;
mod tour;

/// The stubs that build.rs generates.
mod api {
    tonic::include_proto!("cofactor.v1");
}

use std::env;
use std::process::ExitCode;

use tour::{Failure, Tour};

async fn run() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1);
    let user_id = arguments.next().unwrap_or_else(|| "1".to_owned());
    let words = arguments.next().unwrap_or_else(|| "star wars".to_owned());
    let connection = connection::connect().await.map_err(Failure::Setting)?;
    Tour::new(connection, user_id, words).run().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (message, code) = match run().await {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Setting(message)) => (message, 2),
        Err(Failure::Call(status)) => (lines::describe(&status).join("\n"), 1),
        Err(Failure::Response(message)) => (message.to_owned(), 1),
    };
    eprintln!("{message}");
    ExitCode::from(code)
}
