//! The official Python SDK, as its makers ship it, against the simulator.

use std::{
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, date_time_ymd};
use vpn_operator::simulator::{RunningSimulator, Settings, tryout};

const PACKAGE: &str = "huaweicloudsdkvpn";
const VERSION: &str = "3.1.219";

/// The Python of an environment that has the SDK; made once for all checkouts of this user.
fn python_with_sdk() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .expect("there is neither XDG_CACHE_HOME nor a home directory to keep the Python SDK in")
        .join("vpn-operator");
    fs::create_dir_all(&cache).unwrap();
    let home = cache.join(format!("python-sdk-{VERSION}"));
    let (python, complete) = (home.join("bin/python"), home.join("complete"));
    let lock = fs::File::create(cache.join(format!("python-sdk-{VERSION}.lock"))).unwrap();
    // Given back when it is dropped; another test run waits here while this one installs.
    lock.lock().unwrap();
    if !complete.exists() || !works(&python) {
        if home.exists() {
            fs::remove_dir_all(&home).unwrap();
        }
        let venv = Command::new("python3").args(["-m", "venv"]).arg(&home).output();
        let made = venv.unwrap_or_else(|error| panic!("python3 cannot be run ({error}): install Python 3 with venv"));
        assert!(
            made.status.success(),
            "python3 -m venv failed: install Python's venv and pip (on Debian: apt install python3-venv)\n{}{}",
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
        let package = format!("{PACKAGE}=={VERSION}");
        let pip = Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                &package,
            ])
            .output()
            .unwrap();
        assert!(
            pip.status.success(),
            "pip cannot install {package}; it needs pip and a Python package index that it can reach\n{}",
            String::from_utf8_lossy(&pip.stderr)
        );
        fs::write(&complete, "").unwrap();
    }
    python
}

/// An environment breaks when the Python that made it goes.
fn works(python: &Path) -> bool {
    let import = Command::new(python)
        .args(["-c", "import huaweicloudsdkvpn.v5"])
        .output();
    import.is_ok_and(|output| output.status.success())
}

fn certificate() -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Office CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2200, 1, 1);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// Runs a script with the SDK against a simulator of its own.
async fn run(script: &str) {
    let python = tokio::task::spawn_blocking(python_with_sdk).await.unwrap();
    let simulator = RunningSimulator::start(Settings::default(), (Ipv4Addr::LOCALHOST, 0).into())
        .await
        .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python_sdk")
        .join(script);
    let mut command = Command::new(python);
    command
        .arg(script)
        .env("ENDPOINT", simulator.base_url())
        .env("ACCESS_KEY", tryout::ACCESS_KEY)
        .env("SECRET_KEY", tryout::SECRET_KEY)
        .env("PROJECT_ID", tryout::PROJECT_ID)
        .env("REGION", tryout::REGION)
        .env("VPN_SERVER_ID", tryout::VPN_SERVER_ID)
        .env("P2C_GATEWAY_ID", tryout::P2C_GATEWAY_ID)
        .env("CA_CERTIFICATE", certificate())
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1");
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout.trim(), r#"{"done": true}"#);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_live_by_the_official_python_sdk_unchanged() {
    run("gateway_life.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_live_by_the_official_python_sdk_unchanged() {
    run("user_life.py").await;
}
