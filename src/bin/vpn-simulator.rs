//! `vpn-simulator`: the VPN API in memory, to try clients and the operator against.
#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::unwrap_used)]

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
};

use clap::Parser;
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};
use vpn_simulator::admin::RateLimitSpec;
use vpn_simulator::p2c_admin::VpnServerSpec;
use vpn_simulator::{RunningSimulator, Settings, tryout};

/// A fake of the VPN API of Huawei Cloud and Open Telekom Cloud, in memory, for trying and testing.
#[derive(Debug, Parser)]
#[command(name = "vpn-simulator", version, args_override_self = true)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(
        long,
        env = "VPN_SIMULATOR_BIND_ADDRESS",
        default_value = "127.0.0.1:8180",
        value_name = "ADDRESS:PORT"
    )]
    bind_address: SocketAddr,

    /// Access key that clients sign with.
    #[arg(long, env = "VPN_SIMULATOR_ACCESS_KEY", default_value = tryout::ACCESS_KEY, value_name = "AK")]
    access_key: String,

    /// Its secret key. Defaults to a try-out value, printed at start.
    #[arg(long, env = "VPN_SIMULATOR_SECRET_KEY", hide_env_values = true, value_name = "SK")]
    secret_key: Option<SecretString>,

    /// One more pair of keys; may be repeated, in the environment separated by commas.
    #[arg(
        long = "credential",
        env = "VPN_SIMULATOR_CREDENTIALS",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "AK=SK",
        value_parser = parse_credential
    )]
    credentials: Vec<(String, SecretString)>,

    /// Region, which is the name of the project.
    #[arg(long, env = "VPN_SIMULATOR_REGION", default_value = tryout::REGION)]
    region: String,

    /// Id of the project.
    #[arg(long, env = "VPN_SIMULATOR_PROJECT_ID", default_value = tryout::PROJECT_ID)]
    project_id: String,

    #[expect(clippy::doc_markdown, reason = "the text of --help")]
    /// A VPN server, of id (36 characters), gateway, status, auth, cidr and quota; may be repeated, in the
    /// environment separated by semicolons.
    ///
    /// Parts are separated by commas, and all are optional: an ACTIVE server with LOCAL_PASSWORD,
    /// 192.168.10.0/24 and room for 500 users. Without this flag there is one such server, with a try-out id;
    /// those of this flag get random ids, unless they name one. For example:
    /// --vpn-server status=FAULT --vpn-server id=0e325fb6-83b9-4004-a343-8b6fc714a5d9,auth=CERT,cidr=10.9.0.0/16
    #[arg(
        long = "vpn-server",
        env = "VPN_SIMULATOR_VPN_SERVERS",
        value_delimiter = ';',
        value_name = "NAME=VALUE,…"
    )]
    vpn_servers: Vec<VpnServerSpec>,

    /// Requests per second and access key; more are refused with 429. Defaults to no limit.
    #[arg(long, env = "VPN_SIMULATOR_RATE_LIMIT", value_name = "NUMBER")]
    rate_limit: Option<f64>,
}

fn parse_credential(text: &str) -> Result<(String, SecretString), &'static str> {
    match text.split_once('=') {
        Some((access_key, secret_key)) if !access_key.is_empty() && !secret_key.is_empty() => {
            Ok((access_key.to_owned(), SecretString::from(secret_key)))
        }
        _ => Err("must be an access key and a secret key with = between them"),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vpn-simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> io::Result<()> {
    // Before it says that it is ready: a signal that comes right after must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let is_tryout = arguments.secret_key.is_none();
    let secret_key = arguments
        .secret_key
        .unwrap_or_else(|| SecretString::from(tryout::SECRET_KEY));
    let mut credentials = vec![(arguments.access_key.clone(), secret_key)];
    credentials.extend(arguments.credentials);
    let mut settings = Settings {
        credentials,
        region: arguments.region.clone(),
        project_id: arguments.project_id.clone(),
        rate_limit: RateLimitSpec {
            per_second: arguments.rate_limit,
            burst: None,
        },
        ..Settings::default()
    };
    if !arguments.vpn_servers.is_empty() {
        settings.vpn_servers = arguments.vpn_servers;
    }
    settings
        .check()
        .map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))?;
    let servers: Vec<_> = settings
        .vpn_servers
        .iter()
        .filter_map(|server| server.id.clone())
        .collect();
    let bind_address = arguments.bind_address;
    let simulator = RunningSimulator::start(settings, bind_address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("--bind-address {bind_address}: {error}")))?;
    let shown_secret_key = if is_tryout { tryout::SECRET_KEY } else { "(as given)" };
    let mut greeting = format!(
        "listening on {}\naccess key {}\nsecret key {shown_secret_key}\nregion     {}\nproject id {}\n",
        simulator.base_url(),
        arguments.access_key,
        arguments.region,
        arguments.project_id,
    );
    for id in servers {
        greeting.push_str("vpn server ");
        greeting.push_str(&id);
        greeting.push('\n');
    }
    // The parent process may have closed the pipe; the simulator keeps running.
    let mut stdout = io::stdout();
    let _ = stdout.write_all(greeting.as_bytes()).and_then(|()| stdout.flush());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}
