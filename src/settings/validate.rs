//! Validates the flags: the rules that need more than the text of one flag.

use std::{io, path::Path, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use vpn_cloud::regions::endpoints;
use vpn_cloud::regions::endpoints::{EndpointAliases, EndpointError};

use crate::settings::checked::{CaBundle, LeaderElection, LogSettings, Namespaces, OperatorSettings};
use crate::settings::cli::RunArgs;
use crate::settings::flag_error::{CaFileError, FlagError, FlagProblem};

/// The shortest lease: with a shorter one, a slow apiserver alone would cost the leadership.
const MIN_LEASE_DURATION: Duration = Duration::from_secs(5);

/// The longest lease: it is also how long no replica works after the leader was killed.
const MAX_LEASE_DURATION: Duration = Duration::from_secs(3600);

/// The cloud's times are whole seconds, so no shorter period is measurable.
const MIN_CONFIRMATION_PERIOD: Duration = Duration::from_secs(1);

const MAX_CONFIRMATION_PERIOD: Duration = Duration::from_secs(3600);

const MIN_RESYNC_PERIOD: Duration = Duration::from_secs(1);

const MIN_REQUEST_TIMEOUT: Duration = Duration::from_millis(100);

const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// Checks the rules that need more than the text of one flag. `read` reads files; it is called for `--ca-file` only.
pub fn validate(args: RunArgs, read: impl FnOnce(&Path) -> io::Result<Vec<u8>>) -> Result<OperatorSettings, FlagError> {
    let insecure = args.allow_insecure_endpoints;
    let endpoint = |flag, text: Option<&String>| text.map(|text| parse_endpoint(flag, text, insecure)).transpose();

    let leader_election = leader_election(&args)?;
    check_durations(&args)?;
    Ok(OperatorSettings {
        cloud: args.cloud,
        region: args.region,
        project_id: args.project_id,
        vpn_endpoint: endpoint("--vpn-endpoint", args.vpn_endpoint.as_ref())?,
        iam_endpoint: endpoint("--iam-endpoint", args.iam_endpoint.as_ref())?,
        allow_insecure_endpoints: insecure,
        allowed_endpoints: args
            .allowed_endpoints
            .iter()
            .map(|text| parse_endpoint("--allowed-endpoint", text, insecure))
            .collect::<Result<_, _>>()?,
        endpoint_aliases: endpoint_aliases(&args.endpoint_aliases, insecure)?,
        default_credentials_namespaces: namespaces(args.default_credentials_namespaces),
        watch_namespaces: namespaces(args.watch_namespaces),
        watch_selector: args.watch_selector,
        cluster_name: args.cluster_name,
        owner_tag_key: args.owner_tag_key,
        default_deletion_policy: args.default_deletion_policy,
        mass_deletion_guard: args.mass_deletion_guard,
        read_only: args.read_only,
        ca_bundle: args.ca_file.map(|path| ca_bundle(&path, read)).transpose()?,
        resync_period: Some(args.resync_period).filter(|period| !period.is_zero()),
        confirmation_period: args.creation_confirmation_period,
        max_requests_per_second: args.max_requests_per_second,
        request_timeout: args.request_timeout,
        leader_election,
        operator_namespace: args.leader_elect_resource_namespace,
        lease_name: args.leader_elect_resource_name,
        bind_address: args.bind_address,
        log: LogSettings {
            format: args.log_format,
            filter: args.log_level,
        },
    })
}

fn parse_endpoint(flag: &'static str, text: &str, insecure_allowed: bool) -> Result<String, FlagError> {
    endpoints::validate(text, insecure_allowed).map_err(|error| match error {
        EndpointError::Insecure(_) => FlagError::new(flag, FlagProblem::Insecure(error)),
        error => FlagError::new(flag, error),
    })
}

fn endpoint_aliases(pairs: &[String], insecure_allowed: bool) -> Result<EndpointAliases, FlagError> {
    const FLAG: &str = "--endpoint-alias";
    let pair = |text: &String| {
        // The value may be anything, so the message does not repeat it.
        let (old, new) = text
            .split_once('=')
            .ok_or_else(|| FlagError::new(FLAG, "must have the form OLD=NEW, with two endpoints"))?;
        Ok((
            parse_endpoint(FLAG, old, insecure_allowed)?,
            parse_endpoint(FLAG, new, insecure_allowed)?,
        ))
    };
    let pairs = pairs.iter().map(pair).collect::<Result<Vec<_>, FlagError>>()?;
    EndpointAliases::new(pairs).map_err(|error| FlagError::new(FLAG, error))
}

fn namespaces(mut names: Vec<String>) -> Namespaces {
    names.sort();
    names.dedup();
    if names.is_empty() {
        Namespaces::All
    } else {
        Namespaces::Only(names)
    }
}

fn leader_election(args: &RunArgs) -> Result<Option<LeaderElection>, FlagError> {
    if !args.leader_elect {
        return Ok(None);
    }
    let lease = args.leader_elect_lease_duration;
    if lease < MIN_LEASE_DURATION || lease > MAX_LEASE_DURATION {
        let problem = format!("{} is not between 5s and 1h", written(lease));
        return Err(FlagError::new("--leader-elect-lease-duration", problem));
    }
    if lease.subsec_nanos() != 0 {
        let problem = format!(
            "{} is not a whole number of seconds, as a Lease requires",
            written(lease)
        );
        return Err(FlagError::new("--leader-elect-lease-duration", problem));
    }
    if args.request_timeout > lease / 2 {
        let problem = format!(
            "{} is more than half of --leader-elect-lease-duration ({}): the leader could lose it during a request",
            written(args.request_timeout),
            written(lease)
        );
        return Err(FlagError::new("--request-timeout", problem));
    }
    let Some(namespace) = args.leader_elect_resource_namespace.clone() else {
        return Err(FlagError::new(
            "--leader-elect-resource-namespace",
            "is needed for leader election and POD_NAMESPACE is not set; name the Lease's namespace, or turn leader \
             election off with --leader-elect=false",
        ));
    };
    Ok(Some(LeaderElection {
        namespace,
        name: args.leader_elect_resource_name.clone(),
        lease_duration: lease,
    }))
}

fn check_durations(args: &RunArgs) -> Result<(), FlagError> {
    let resync = args.resync_period;
    if !resync.is_zero() && resync < MIN_RESYNC_PERIOD {
        let problem = format!("{} is less than 1s; 0 disables drift checks", written(resync));
        return Err(FlagError::new("--resync-period", problem));
    }
    if args.creation_confirmation_period < MIN_CONFIRMATION_PERIOD
        || args.creation_confirmation_period > MAX_CONFIRMATION_PERIOD
    {
        let problem = format!(
            "{} is not between 1s and 1h",
            written(args.creation_confirmation_period)
        );
        return Err(FlagError::new("--creation-confirmation-period", problem));
    }
    if args.request_timeout < MIN_REQUEST_TIMEOUT || args.request_timeout > MAX_REQUEST_TIMEOUT {
        let problem = format!("{} is not between 100ms and 5m", written(args.request_timeout));
        return Err(FlagError::new("--request-timeout", problem));
    }
    Ok(())
}

fn ca_bundle(path: &Path, read: impl FnOnce(&Path) -> io::Result<Vec<u8>>) -> Result<CaBundle, FlagError> {
    let wrong = |problem| {
        let path = path.to_owned();
        FlagError::new("--ca-file", FlagProblem::CaFile { path, problem })
    };
    let pem = read(path).map_err(|error| wrong(CaFileError::Unreadable(error)))?;
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(CaFileError::Pem(error)))?;
    if certificates.is_empty() {
        return Err(wrong(CaFileError::Empty));
    }
    let mut roots = rustls::RootCertStore::empty();
    for (number, certificate) in (1..).zip(certificates) {
        roots
            .add(certificate)
            .map_err(|source| wrong(CaFileError::InvalidRoot { number, source }))?;
    }
    Ok(CaBundle {
        path: path.to_owned(),
        pem,
    })
}

fn written(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}
