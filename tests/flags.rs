//! Every flag of the command line: its default, its environment name, what it takes and what it refuses.
//!
//! Its own test binary, because it changes the process's environment.

use std::{io, num::NonZeroU32, path::Path, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _};
use vpn_cloud::Cloud;
use vpn_cloud::regions::endpoints::EndpointAliases;
use vpn_core::api::DeletionPolicy;
use vpn_operator::settings::{
    Cli, Command, LeaderElection, LogFormat, Namespaces, OperatorSettings, flag_reference, probe_reference, validate,
};

/// What a flag may be called, what the environment calls it, and a value that differs from the default.
const FLAGS: [(&str, Option<&str>, &str); 28] = [
    ("--cloud", Some("VPN_OPERATOR_CLOUD"), "otc"),
    ("--region", Some("VPN_OPERATOR_REGION"), "eu-de"),
    (
        "--project-id",
        Some("HUAWEICLOUD_SDK_PROJECT_ID"),
        "0605767a5b0b3f5c2f3dc0123456789a",
    ),
    (
        "--vpn-endpoint",
        Some("VPN_OPERATOR_VPN_ENDPOINT"),
        "https://vpn.example.com",
    ),
    (
        "--iam-endpoint",
        Some("HUAWEICLOUD_SDK_IAM_ENDPOINT"),
        "https://iam.example.com",
    ),
    (
        "--allow-insecure-endpoints",
        Some("VPN_OPERATOR_ALLOW_INSECURE_ENDPOINTS"),
        "true",
    ),
    (
        "--allowed-endpoint",
        Some("VPN_OPERATOR_ALLOWED_ENDPOINTS"),
        "https://a.example.com,https://b.example.com",
    ),
    (
        "--endpoint-alias",
        Some("VPN_OPERATOR_ENDPOINT_ALIASES"),
        "https://a.example.com=https://c.example.com,https://b.example.com=https://d.example.com",
    ),
    (
        "--default-credentials-namespace",
        Some("VPN_OPERATOR_DEFAULT_CREDENTIALS_NAMESPACES"),
        "net,infra",
    ),
    (
        "--watch-namespace",
        Some("VPN_OPERATOR_WATCH_NAMESPACES"),
        "team-b,team-a",
    ),
    (
        "--watch-selector",
        Some("VPN_OPERATOR_WATCH_SELECTOR"),
        "shard in (a,b),!legacy",
    ),
    ("--cluster-name", Some("VPN_OPERATOR_CLUSTER_NAME"), "prod-1"),
    ("--owner-tag-key", Some("VPN_OPERATOR_OWNER_TAG_KEY"), "corp:owner"),
    (
        "--default-deletion-policy",
        Some("VPN_OPERATOR_DEFAULT_DELETION_POLICY"),
        "Retain",
    ),
    (
        "--mass-deletion-guard",
        Some("VPN_OPERATOR_MASS_DELETION_GUARD"),
        "false",
    ),
    ("--read-only", Some("VPN_OPERATOR_READ_ONLY"), "true"),
    ("--ca-file", Some("VPN_OPERATOR_CA_FILE"), "/etc/ca.pem"),
    ("--resync-period", Some("VPN_OPERATOR_RESYNC_PERIOD"), "1h"),
    (
        "--creation-confirmation-period",
        Some("VPN_OPERATOR_CREATION_CONFIRMATION_PERIOD"),
        "10s",
    ),
    (
        "--max-requests-per-second",
        Some("VPN_OPERATOR_MAX_REQUESTS_PER_SECOND"),
        "5",
    ),
    ("--request-timeout", Some("VPN_OPERATOR_REQUEST_TIMEOUT"), "3s"),
    ("--leader-elect", Some("VPN_OPERATOR_LEADER_ELECT"), "false"),
    ("--leader-elect-resource-namespace", Some("POD_NAMESPACE"), "vpn-system"),
    ("--leader-elect-resource-name", None, "shard-a"),
    (
        "--leader-elect-lease-duration",
        Some("VPN_OPERATOR_LEADER_ELECT_LEASE_DURATION"),
        "1m",
    ),
    ("--bind-address", Some("VPN_OPERATOR_BIND_ADDRESS"), "127.0.0.1:0"),
    ("--log-format", Some("VPN_OPERATOR_LOG_FORMAT"), "json"),
    ("--log-level", Some("VPN_OPERATOR_LOG_LEVEL"), "info,vpn_operator=trace"),
];

/// What the operator would run with, or what it would say, for exactly this environment and these flags.
fn settings_of(environment: &[(&str, &str)], flags: &[&str]) -> Result<OperatorSettings, String> {
    let known = FLAGS.iter().filter_map(|(_, name, _)| *name).chain(["RUST_LOG"]);
    let all: Vec<(&str, Option<&str>)> = known
        .map(|name| {
            (
                name,
                environment
                    .iter()
                    .find(|(given, _)| *given == name)
                    .map(|(_, value)| *value),
            )
        })
        .collect();
    let arguments = ["vpn-operator", "run"].iter().chain(flags).copied();
    let matches = temp_env::with_vars(all, || {
        Cli::command_ignoring_empty_environment().try_get_matches_from(arguments)
    })
    .map_err(|error| error.to_string())?;
    let Command::Run(args) = Cli::from_arg_matches(&matches)
        .map_err(|error| error.to_string())?
        .command
    else {
        return Err("not run".to_owned());
    };
    validate(*args, fake_file).map_err(|error| error.to_string())
}

/// The least that is needed with leader election on, plus `flags`.
fn settings(flags: &[&str]) -> Result<OperatorSettings, String> {
    settings_of(&[("POD_NAMESPACE", "here")], flags)
}

fn fake_file(path: &Path) -> io::Result<Vec<u8>> {
    let certificate = || rcgen::generate_simple_self_signed(["ca.example.com".to_owned()]).unwrap();
    match path.to_str().unwrap() {
        "/etc/ca.pem" => Ok(certificate().cert.pem().into_bytes()),
        "/etc/two.pem" => Ok((certificate().cert.pem() + &certificate().cert.pem()).into_bytes()),
        "/etc/key.pem" => Ok(certificate().signing_key.serialize_pem().into_bytes()),
        "/etc/cut.pem" => Ok(b"-----BEGIN CERTIFICATE-----\nMIIB".to_vec()),
        "/etc/noise.pem" => Ok(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

fn written(flag: &str, value: &str) -> String {
    format!("{flag}={value}")
}

#[test]
fn the_test_table_lists_every_flag_and_environment_variable() {
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    let mut defined: Vec<_> = run
        .get_arguments()
        .filter_map(|arg| {
            Some((
                format!("--{}", arg.get_long()?),
                arg.get_env().map(|env| env.to_str().unwrap().to_owned()),
            ))
        })
        .collect();
    let mut expected: Vec<_> = FLAGS
        .iter()
        .map(|(flag, env, _)| ((*flag).to_owned(), env.map(str::to_owned)))
        .collect();
    defined.sort();
    expected.sort();
    assert_eq!(defined, expected);
    Cli::command().debug_assert();
}

#[test]
fn settings_have_the_documented_defaults() {
    let settings = settings(&[]).unwrap();
    assert_eq!(
        settings,
        OperatorSettings {
            cloud: Cloud::Huawei,
            region: None,
            project_id: None,
            vpn_endpoint: None,
            iam_endpoint: None,
            allow_insecure_endpoints: false,
            allowed_endpoints: Vec::new(),
            endpoint_aliases: EndpointAliases::default(),
            default_credentials_namespaces: Namespaces::All,
            watch_namespaces: Namespaces::All,
            watch_selector: None,
            cluster_name: None,
            owner_tag_key: "vpn-operator-owner".into(),
            default_deletion_policy: DeletionPolicy::Delete,
            mass_deletion_guard: true,
            read_only: false,
            ca_bundle: None,
            resync_period: Some(Duration::from_secs(300)),
            confirmation_period: Duration::from_secs(30),
            max_requests_per_second: NonZeroU32::new(50).unwrap(),
            request_timeout: Duration::from_secs(10),
            leader_election: Some(LeaderElection {
                namespace: "here".into(),
                name: "vpn-operator".into(),
                lease_duration: Duration::from_secs(30),
            }),
            operator_namespace: Some("here".into()),
            lease_name: "vpn-operator".into(),
            bind_address: "[::]:8080".parse().unwrap(),
            log: vpn_operator::settings::LogSettings {
                format: LogFormat::Text,
                filter: "info".into()
            },
        }
    );
}

#[test]
fn every_flag_and_its_environment_variable_set_the_same_value() {
    let plain = settings(&[]).unwrap();
    for (flag, environment, value) in FLAGS {
        let by_flag = settings(&[&written(flag, value)]).unwrap_or_else(|error| panic!("{flag}: {error}"));
        if flag == "--ca-file" {
            // The test's certificate is another one each time.
            assert!(by_flag.ca_bundle.is_some());
            continue;
        }
        assert_ne!(by_flag, plain, "{flag}");
        if let Some(name) = environment {
            let mut given = vec![(name, value)];
            if name != "POD_NAMESPACE" {
                given.push(("POD_NAMESPACE", "here"));
            }
            assert_eq!(settings_of(&given, &[]).unwrap(), by_flag, "{name}");
        }
    }
}

#[test]
fn a_flag_overrides_its_environment_variable() {
    for (flag, environment, value) in FLAGS {
        let Some(name) = environment else { continue };
        if flag == "--ca-file" {
            continue;
        }
        let mut given = vec![(
            name,
            if matches!(value, "true" | "false") {
                "maybe"
            } else {
                "?"
            },
        )];
        if name != "POD_NAMESPACE" {
            given.push(("POD_NAMESPACE", "here"));
        }
        assert_eq!(
            settings_of(&given, &[&written(flag, value)]).unwrap(),
            settings(&[&written(flag, value)]).unwrap(),
            "{flag}"
        );
    }
}

/// Of these, all that is given counts.
const REPEATABLE: [&str; 4] = [
    "--allowed-endpoint",
    "--endpoint-alias",
    "--default-credentials-namespace",
    "--watch-namespace",
];

#[test]
fn the_last_occurrence_of_a_flag_applies() {
    for (flag, _, value) in FLAGS {
        let other = match (flag, value) {
            ("--cloud", _) => "huawei",
            ("--project-id", _) => "0605767a5b0b3f5c2f3dc0123456789b",
            ("--vpn-endpoint" | "--iam-endpoint", _) => "https://other.example.com",
            ("--default-deletion-policy", _) => "Delete",
            ("--max-requests-per-second", _) => "7",
            (
                "--resync-period"
                | "--creation-confirmation-period"
                | "--request-timeout"
                | "--leader-elect-lease-duration",
                _,
            ) => "11s",
            ("--bind-address", _) => "127.0.0.1:1",
            ("--log-format", _) => "text",
            ("--log-level", _) => "warn",
            ("--ca-file", _) => "/etc/two.pem",
            (_, "true") => "false",
            (_, "false") => "true",
            _ => "other",
        };
        if REPEATABLE.contains(&flag) {
            continue;
        }
        let twice = settings(&[&written(flag, other), &written(flag, value)]);
        let twice = twice.unwrap_or_else(|error| panic!("{flag}: {error}"));
        if flag == "--ca-file" {
            // The test's certificate is another one each time.
            assert_eq!(twice.ca_bundle.unwrap().path, Path::new(value));
            continue;
        }
        assert_eq!(twice, settings(&[&written(flag, value)]).unwrap(), "{flag}");
    }
}

#[test]
fn repeatable_flags_accumulate_values() {
    for (flag, values) in [
        ("--allowed-endpoint", ["https://a.example.com", "https://b.example.com"]),
        (
            "--endpoint-alias",
            [
                "https://a.example.com=https://b.example.com",
                "https://c.example.com=https://d.example.com",
            ],
        ),
        ("--default-credentials-namespace", ["a", "b"]),
        ("--watch-namespace", ["a", "b"]),
    ] {
        assert!(REPEATABLE.contains(&flag));
        let [first, last] = values.map(|value| written(flag, value));
        let both = settings(&[&first, &last]).unwrap();
        assert_eq!(both, settings(&[&written(flag, &values.join(","))]).unwrap(), "{flag}");
        assert_ne!(both, settings(&[&last]).unwrap(), "{flag}");
    }
}

#[test]
fn an_empty_environment_variable_counts_as_unset() {
    let plain = settings(&[]).unwrap();
    for name in FLAGS
        .iter()
        .filter_map(|(_, name, _)| *name)
        .filter(|name| *name != "POD_NAMESPACE")
    {
        assert_eq!(
            settings_of(&[("POD_NAMESPACE", "here"), (name, "")], &[]).unwrap(),
            plain,
            "{name}"
        );
    }
    assert!(
        settings_of(&[("POD_NAMESPACE", "")], &[])
            .unwrap_err()
            .contains("--leader-elect-resource-namespace")
    );
}

#[test]
fn an_invalid_value_is_refused_with_the_name_of_the_flag() {
    let long_key = "k".repeat(129);
    let long_name = "n".repeat(201);
    let cases: Vec<(&str, &str, &str)> = vec![
        ("--cloud", "aws", "huawei"),
        ("--region", "EU-West", "eu-west-101"),
        ("--region", "a.b", "eu-west-101"),
        ("--region", "", "--region"),
        ("--project-id", "a/b", "project id"),
        ("--project-id", "..", "project id"),
        ("--vpn-endpoint", "vpn.example.com", "https://"),
        ("--vpn-endpoint", "http://vpn.example.com", "--allow-insecure-endpoints"),
        ("--vpn-endpoint", "https://vpn.example.com/v5", "no path"),
        ("--vpn-endpoint", "https://me:secret@vpn.example.com", "password"),
        ("--iam-endpoint", "ftp://iam.example.com", "https://"),
        ("--iam-endpoint", "http://iam.example.com", "--allow-insecure-endpoints"),
        (
            "--allowed-endpoint",
            "http://127.0.0.1:8180",
            "--allow-insecure-endpoints",
        ),
        ("--allowed-endpoint", "https://good.example.com,bad", "https://"),
        ("--endpoint-alias", "https://a.example.com", "OLD=NEW"),
        ("--endpoint-alias", "https://a.example.com=b", "https://host"),
        (
            "--endpoint-alias",
            "https://a.example.com=https://a.example.com/",
            "alias of itself",
        ),
        (
            "--endpoint-alias",
            "https://a.example.com=https://b.example.com,https://b.example.com=https://c.example.com",
            "is an alias and has one",
        ),
        ("--allow-insecure-endpoints", "maybe", "--allow-insecure-endpoints"),
        ("--default-credentials-namespace", "Net", "namespace"),
        ("--default-credentials-namespace", "net,", "namespace"),
        ("--watch-namespace", "a.b", "namespace"),
        ("--watch-namespace", "-a", "namespace"),
        ("--watch-selector", "a=b=c", "label value"),
        ("--watch-selector", "a in b", "KEY in"),
        ("--cluster-name", "Prod", "1 to 32"),
        ("--cluster-name", "a:b", "1 to 32"),
        ("--cluster-name", "a23456789012345678901234567890123", "1 to 32"),
        ("--owner-tag-key", "_sys_owner", "_sys_"),
        ("--owner-tag-key", "a/b", "'/'"),
        ("--owner-tag-key", " a", "space"),
        ("--owner-tag-key", &long_key, "128"),
        ("--default-deletion-policy", "Keep", "Retain"),
        ("--mass-deletion-guard", "maybe", "--mass-deletion-guard"),
        ("--read-only", "2", "--read-only"),
        ("--ca-file", "/nowhere", "cannot be read"),
        ("--ca-file", "/etc/key.pem", "no certificate"),
        ("--ca-file", "/etc/cut.pem", "PEM"),
        ("--ca-file", "/etc/noise.pem", "number 1"),
        ("--resync-period", "5", "30s, 5m or 1h"),
        ("--resync-period", "-5m", "--resync-period"),
        ("--resync-period", "10ms", "less than 1s"),
        ("--creation-confirmation-period", "0", "between 1s and 1h"),
        ("--creation-confirmation-period", "2h", "between 1s and 1h"),
        ("--max-requests-per-second", "0", "--max-requests-per-second"),
        ("--max-requests-per-second", "-1", "--max-requests-per-second"),
        ("--max-requests-per-second", "fast", "--max-requests-per-second"),
        ("--request-timeout", "0", "between 100ms and 5m"),
        ("--request-timeout", "16s", "--leader-elect-lease-duration (30s)"),
        ("--leader-elect", "perhaps", "--leader-elect"),
        ("--leader-elect-resource-namespace", "Here", "namespace"),
        ("--leader-elect-resource-name", "A", "name"),
        ("--leader-elect-resource-name", &long_name, "200"),
        ("--leader-elect-lease-duration", "4s", "between 5s and 1h"),
        ("--leader-elect-lease-duration", "2h", "between 5s and 1h"),
        ("--leader-elect-lease-duration", "30s500ms", "whole number"),
        ("--bind-address", "8080", "ADDRESS:PORT"),
        ("--bind-address", "localhost:99999", "ADDRESS:PORT"),
        ("--bind-address", ":x", "ADDRESS:PORT"),
        ("--log-format", "xml", "json"),
        ("--log-level", "loud", "not a level"),
        ("--log-level", "info,warning", "not a level"),
        ("--log-level", "vpn_operator=shouting", "--log-level"),
    ];
    for (flag, value, hint) in &cases {
        let error = settings(&[&written(flag, value)]).expect_err(&written(flag, value));
        assert!(error.contains(flag) && error.contains(hint), "{flag}={value}: {error}");
    }
    for (flag, _, _) in FLAGS {
        assert!(
            cases.iter().any(|(tried, _, _)| *tried == flag),
            "{flag} has no bad value here"
        );
    }
}

#[test]
fn rust_log_applies_only_without_vpn_operator_log_level() {
    let filter = |environment: &[(&str, &str)]| {
        let environment: Vec<_> = [("POD_NAMESPACE", "here")].iter().chain(environment).copied().collect();
        settings_of(&environment, &[]).unwrap().log.filter
    };
    let (own, common) = ("VPN_OPERATOR_LOG_LEVEL", "RUST_LOG");
    assert_eq!(filter(&[]), "info");
    assert_eq!(filter(&[(common, "debug")]), "debug");
    assert_eq!(filter(&[(own, "trace"), (common, "debug")]), "trace");
    assert_eq!(filter(&[(own, ""), (common, "debug")]), "debug");
    assert_eq!(filter(&[(own, ""), (common, "")]), "info");
}

#[test]
fn an_invalid_environment_value_is_reported_with_its_flag() {
    for (name, value, flag) in [
        ("VPN_OPERATOR_RESYNC_PERIOD", "often", "--resync-period"),
        ("VPN_OPERATOR_MASS_DELETION_GUARD", "maybe", "--mass-deletion-guard"),
        ("VPN_OPERATOR_VPN_ENDPOINT", "nowhere", "--vpn-endpoint"),
        (
            "VPN_OPERATOR_LEADER_ELECT_LEASE_DURATION",
            "1s",
            "--leader-elect-lease-duration",
        ),
        ("VPN_OPERATOR_LOG_LEVEL", "a=b=c", "--log-level"),
        ("RUST_LOG", "a=b=c", "--log-level"),
    ] {
        let error = settings_of(&[("POD_NAMESPACE", "here"), (name, value)], &[]).expect_err(name);
        assert!(error.contains(flag), "{name}: {error}");
    }
}

#[test]
fn a_password_in_an_endpoint_is_not_repeated() {
    let error = settings(&["--vpn-endpoint=https://me:hunter2@vpn.example.com"]).unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn boolean_flags_take_a_value_only_after_an_equals_sign() {
    let on = settings(&["--read-only", "--leader-elect", "--allow-insecure-endpoints"]).unwrap();
    assert!(on.read_only && on.leader_election.is_some() && on.allow_insecure_endpoints);
    let off = settings(&["--leader-elect=false", "--mass-deletion-guard=false"]).unwrap();
    assert!(off.leader_election.is_none() && !off.mass_deletion_guard);
    assert!(settings(&["--leader-elect", "false"]).is_err());
}

#[test]
fn boolean_environment_variables_accept_common_spellings() {
    for (value, on) in [
        ("1", true),
        ("yes", true),
        ("TRUE", true),
        ("on", true),
        ("0", false),
        ("no", false),
    ] {
        let settings = settings_of(&[("POD_NAMESPACE", "here"), ("VPN_OPERATOR_READ_ONLY", value)], &[]).unwrap();
        assert_eq!(settings.read_only, on, "{value}");
    }
}

#[test]
fn list_flags_merge_repeated_and_comma_separated_values() {
    let settings = settings(&[
        "--watch-namespace=b",
        "--watch-namespace=a,b",
        "--allowed-endpoint=https://A.example.com/",
        "--allowed-endpoint=https://b.example.com:8443",
    ])
    .unwrap();
    assert_eq!(
        settings.watch_namespaces,
        Namespaces::Only(vec!["a".into(), "b".into()])
    );
    assert!(settings.watch_namespaces.contains("a") && !settings.watch_namespaces.contains("c"));
    assert_eq!(
        settings.allowed_endpoints,
        ["https://a.example.com", "https://b.example.com:8443"]
    );
    assert!(settings.default_credentials_namespaces.contains("anything"));
}

#[test]
fn insecure_endpoints_are_accepted_when_allowed() {
    let settings = settings(&["--allow-insecure-endpoints", "--vpn-endpoint=http://127.0.0.1:8180"]).unwrap();
    assert_eq!(settings.vpn_endpoint.unwrap(), "http://127.0.0.1:8180");
}

#[test]
fn a_resync_period_of_zero_disables_drift_checks() {
    for zero in ["0", "0s"] {
        assert_eq!(
            settings(&[&written("--resync-period", zero)]).unwrap().resync_period,
            None
        );
    }
}

#[test]
fn without_leader_election_its_namespace_and_limits_are_not_checked() {
    let settings = settings_of(
        &[],
        &[
            "--leader-elect=false",
            "--request-timeout=60s",
            "--leader-elect-lease-duration=1s",
        ],
    )
    .unwrap();
    assert_eq!((settings.leader_election, settings.operator_namespace), (None, None));
    let error = settings_of(&[], &[]).unwrap_err();
    assert!(
        error.contains("--leader-elect-resource-namespace") && error.contains("POD_NAMESPACE"),
        "{error}"
    );
}

#[test]
fn the_request_timeout_is_at_most_half_of_the_lease_duration() {
    assert!(settings(&["--request-timeout=15s"]).is_ok());
    assert!(settings(&["--request-timeout=15001ms"]).is_err());
    assert!(settings(&["--leader-elect-lease-duration=5s", "--request-timeout=2500ms"]).is_ok());
}

#[test]
fn a_port_without_address_binds_all_addresses() {
    assert_eq!(
        settings(&["--bind-address=:9090"]).unwrap().bind_address,
        "[::]:9090".parse().unwrap()
    );
}

#[test]
fn a_ca_file_may_hold_several_certificates() {
    let bundle = settings(&["--ca-file=/etc/two.pem"]).unwrap().ca_bundle.unwrap();
    assert_eq!(bundle.path, Path::new("/etc/two.pem"));
    assert_eq!(
        String::from_utf8(bundle.pem)
            .unwrap()
            .matches("BEGIN CERTIFICATE")
            .count(),
        2
    );
}

#[test]
fn a_tag_key_can_contain_non_ascii_letters() {
    assert_eq!(settings(&["--owner-tag-key=dueño"]).unwrap().owner_tag_key, "dueño");
}

#[test]
fn risky_settings_produce_warnings() {
    let warned = |flags: &[&str], flag: &str| {
        settings(flags)
            .unwrap()
            .warnings()
            .iter()
            .any(|line| line.contains(flag))
    };
    assert!(warned(&[], "--region"));
    assert!(!warned(&["--region=eu-de"], "--region"));
    assert!(warned(&["--vpn-endpoint=https://vpn.example.com"], "--region"));
    assert!(!warned(
        &["--vpn-endpoint=https://vpn.example.com", "--project-id=p"],
        "--region"
    ));
    assert!(warned(&[], "--cluster-name"));
    assert!(!warned(&["--cluster-name=c"], "--cluster-name"));
    assert!(warned(&["--allow-insecure-endpoints"], "--allow-insecure-endpoints"));
    assert!(warned(&["--leader-elect=false"], "--leader-elect"));
    assert!(warned(&["--mass-deletion-guard=false"], "--mass-deletion-guard"));
    assert!(
        settings(&["--region=eu-de", "--cluster-name=c"])
            .unwrap()
            .warnings()
            .is_empty()
    );
}

#[test]
fn help_lists_every_flag_under_a_heading() {
    let mut command = Cli::command();
    command.build();
    let help = command
        .find_subcommand_mut("run")
        .unwrap()
        .render_long_help()
        .to_string();
    for (flag, environment, _) in FLAGS {
        assert!(help.contains(flag), "{flag}");
        if let Some(name) = environment {
            assert!(help.contains(&format!("[env: {name}")), "{name}");
        }
    }
    let headed = Cli::command()
        .find_subcommand("run")
        .unwrap()
        .get_arguments()
        .all(|arg| arg.get_help_heading().is_some() && arg.get_help().is_some());
    assert!(headed, "a flag has no heading or no help");
    for text in [
        "HUAWEICLOUD_SDK_AK",
        "HUAWEICLOUD_SDK_CREDENTIALS_FILE",
        "KUBECONFIG",
        "HTTPS_PROXY",
    ] {
        assert!(help.contains(text), "{text}");
    }
}

/// Whether the variables are unset, empty or set. A value may be confidential.
#[test]
fn help_names_every_environment_variable_and_shows_no_value() {
    const CONFIDENTIAL: &str = "https://confidential.example.com";
    let names = || FLAGS.iter().filter_map(|(_, name, _)| *name);
    let others = ["RUST_LOG", "HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK"];
    for value in [None, Some(""), Some(CONFIDENTIAL)] {
        for value_of_others in [None, Some(CONFIDENTIAL)] {
            let variables = names().map(|name| (name, value));
            let variables: Vec<_> = variables.chain(others.map(|name| (name, value_of_others))).collect();
            let printed = temp_env::with_vars(variables, || {
                Cli::command_ignoring_empty_environment().try_get_matches_from(["vpn-operator", "run", "--help"])
            });
            let help = printed.expect_err("the help").to_string();
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
            for name in names() {
                assert!(help.contains(&format!("[env: {name}]")), "{name}: {help}");
            }
            assert!(!help.contains("confidential"), "{help}");
        }
    }
}

#[test]
fn the_flag_documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/flags.md");
    let expected = flag_reference() + &probe_reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "docs/flags.md is out of date: UPDATE_DOCS=1 cargo test --test flags"
    );
}
