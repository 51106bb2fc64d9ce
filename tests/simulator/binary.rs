//! `vpn-simulator` as a process.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

const BINARY: &str = env!("CARGO_BIN_EXE_vpn-simulator");

/// Killed when the test is over, whatever became of it.
struct Process(Child);

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        Self(
            command
                .args(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    fn signal(&self, name: &str) {
        assert!(
            Command::new("kill")
                .args([name, &self.0.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    fn wait(&mut self) -> ExitStatus {
        let pid = self.0.id().to_string();
        let (ended, end) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || ended.send(self.0.wait()));
            let status = end.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| {
                // The thread waits for its end.
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
                panic!("it does not end");
            });
            status.unwrap()
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_simulator_prints_its_address_and_exits_cleanly_on_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let mut process = Process::start(&[
            "--bind-address",
            "127.0.0.1:0",
            "--credential",
            "A=B",
            "--region",
            "eu-nl",
        ]);
        let mut lines = BufReader::new(process.0.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let first = lines.next().unwrap();
        let url = first.strip_prefix("listening on ").unwrap().to_owned();
        let rest: Vec<_> = lines.by_ref().take(5).collect();
        assert_eq!(
            rest,
            [
                "access key TRYOUTACCESSKEY00000",
                "secret key TryOutSecretKeyOfTheSimulator00000000000",
                "region     eu-nl",
                "project id 0123456789abcdef0123456789abcdef",
                "vpn server 5e5e5e5e-0000-4000-8000-000000000001",
            ]
        );
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let ready = http.get(format!("{url}/_simulator/ready")).send().await.unwrap();
        assert_eq!(ready.text().await.unwrap(), r#"{"ready":true}"#);
        let state = http
            .get(format!("{url}/_simulator/state"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(state.contains(r#""access_key":"A""#), "{state}");
        // A request that is held does not keep it.
        let fault = r#"{"fault":"hold"}"#;
        http.post(format!("{url}/_simulator/faults"))
            .body(fault)
            .send()
            .await
            .unwrap();
        let held = tokio::spawn(http.get(format!("{url}/v5/p/customer-gateways")).send());
        http.get(format!("{url}/_simulator/held?count=1")).send().await.unwrap();
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0));
        held.await.unwrap().unwrap_err();
    }
}

#[test]
fn a_given_secret_key_is_not_printed() {
    let mut process = Process::start(&[
        "--bind-address",
        "127.0.0.1:0",
        "--access-key",
        "AK",
        "--secret-key",
        "sentinel",
    ]);
    let lines: Vec<_> = BufReader::new(process.0.stdout.take().unwrap())
        .lines()
        .take(5)
        .map(Result::unwrap)
        .collect();
    assert_eq!(lines[1..3], ["access key AK", "secret key (as given)"]);
}

#[test]
fn vpn_servers_can_be_configured_by_flags() {
    let id = "0e325fb6-83b9-4004-a343-8b6fc714a5d9";
    let first = format!("id={id},status=FAULT,auth=CERT,cidr=10.9.0.0/16");
    let listen = ["--bind-address", "127.0.0.1:0"];
    let mut process = Process::start(&[&listen[..], &["--vpn-server", &first, "--vpn-server", "quota=1"]].concat());
    let lines: Vec<_> = BufReader::new(process.0.stdout.take().unwrap())
        .lines()
        .take(7)
        .map(Result::unwrap)
        .collect();
    assert_eq!(lines[5], format!("vpn server {id}"));
    assert_eq!(lines[6].len(), lines[5].len());
    assert_ne!(lines[6], lines[5]);
    let twice = format!("id={id}");
    for (servers, words) in [
        (["--vpn-server", "status=FINE"], "PENDING_UPDATE"),
        (["--vpn-server", "id=short"], "36 characters"),
        (["--vpn-server", &format!("{twice};{twice}")], id),
    ] {
        let mut process = Process::start(&[&listen[..], &servers].concat());
        assert!(!process.wait().success());
        let mut text = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(text.contains("--vpn-server") && text.contains(words), "{text}");
    }
}

#[test]
fn an_invalid_flag_ends_the_process_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, words) in [
        (["--bind-address", "nowhere"], "--bind-address"),
        (["--bind-address", address.as_str()], address.as_str()),
        (["--credential", "AK"], "--credential"),
        (["--rate-limit", "0"], "--rate-limit"),
    ] {
        let mut process = Process::start(&arguments);
        assert!(!process.wait().success());
        let mut text = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(text.contains(words), "{text}");
    }
}
