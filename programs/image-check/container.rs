//! A container of the image, run by podman as a pod specifies. podman's defaults are those of CRI-O: both take the image's user
//! and entry point, and the seccomp profile `RuntimeDefault` from one library.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use vpn_operator_testbed::Launch;

use crate::memory::{self, Memory};
use crate::pod::Pod;
use crate::{Arguments, Failure, names};

const PODMAN: &str = "podman";

/// The mount path of the `ServiceAccount`.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// See the module. Dropping it stops and removes the container.
pub(crate) struct Container {
    name: String,
    /// Arguments of every podman call.
    storage: Vec<OsString>,
    run: Vec<OsString>,
    variables: Vec<(String, String)>,
}

impl Container {
    /// Prepares the arguments; `account` is the directory of its `ServiceAccount`, if it has one.
    ///
    /// # Errors
    /// If podman cannot run the pod's command.
    pub(crate) fn new(
        arguments: &Arguments,
        folder: &Path,
        name: &str,
        pod: &Pod,
        account: Option<&Path>,
        variables: &[(String, String)],
    ) -> Result<Self, Failure> {
        // Separate storage, and no dependency on systemd.
        let mut storage: Vec<OsString> = [
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ]
        .map(OsString::from)
        .into();
        for (option, value) in [
            ("--root", folder.join("images").as_path()),
            ("--runroot", &folder.join("run")),
            ("--runtime", &arguments.runtime),
        ] {
            storage.extend([option.into(), value.into()]);
        }

        let limit = pod.memory_limit;
        let variables: Vec<_> = pod.variables.iter().chain(variables).cloned().collect();
        let mut run = vec![
            // The machine's loopback is the cluster network.
            "--network=host".to_owned(),
            format!("--dns={}", names::ADDRESS),
            "--read-only".to_owned(),
            "--read-only-tmpfs=false".to_owned(),
            "--cap-drop=all".to_owned(),
            "--security-opt=no-new-privileges".to_owned(),
            format!("--memory={limit}b"),
            format!("--memory-swap={limit}b"),
            // Not above the limits of this process, which may be unable to raise them as podman would.
            "--ulimit=nofile=4096:4096".to_owned(),
            "--ulimit=nproc=4096:4096".to_owned(),
        ];
        // Values come from podman's environment, so that no command line contains them.
        run.extend(variables.iter().map(|(name, _)| format!("--env={name}")));
        run.extend(
            pod.mount
                .iter()
                .map(|(folder, place)| format!("--volume={}:{place}:ro", folder.path().display())),
        );
        run.extend(account.map(|account| format!("--volume={}:{ACCOUNT}:ro", account.display())));
        if !pod.command.is_empty() {
            run.push(format!("--entrypoint={}", serde_json::to_string(&pod.command)?));
        }
        run.push(format!("oci:{}", arguments.image));
        run.extend_from_slice(&pod.arguments);
        Ok(Self {
            name: name.to_owned(),
            storage,
            run: run.into_iter().map(OsString::from).collect(),
            variables,
        })
    }

    /// The command that starts it, and runs as long as it does.
    pub(crate) fn launch(&self) -> Launch {
        Launch::new(&self.name, PODMAN)
            .args(&self.storage)
            .args(["run", "--rm", "--log-driver=none", "--name", &self.name])
            .args(&self.run)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
    }

    /// Checks in the kernel that the container is confined.
    ///
    /// # Errors
    /// If it is not.
    pub(crate) fn expect_confined(&self, pod: &Pod) -> Result<(), Failure> {
        let (pid, memory) = self.running()?;
        let ids = [pod.user; 4].map(|id| id.to_string()).join("\t");
        let nothing = "0".repeat(16);
        let expected = [
            ("Uid", ids.as_str()),
            ("Gid", &ids),
            ("CapEff", &nothing),
            ("CapPrm", &nothing),
            ("CapBnd", &nothing),
            ("NoNewPrivs", "1"),
            // Seccomp mode: filter.
            ("Seccomp", "2"),
        ];
        for (name, expected) in expected {
            let found = memory::status_of_process(pid, name)?;
            if found != expected {
                return Err(format!("{} of {} is {found}, not {expected}", name, self.name).into());
            }
        }
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(4);
            (words.next()? == "/").then(|| words.next()).flatten()
        });
        if !root.is_some_and(|options| options.split(',').any(|option| option == "ro")) {
            return Err(format!("the root of {} can be written: {root:?}", self.name).into());
        }
        let limit = memory.limit()?;
        if limit != pod.memory_limit {
            return Err(format!("the kernel limits {} to {limit} bytes", self.name).into());
        }
        Ok(())
    }

    /// The peak memory of the container and of its process.
    ///
    /// # Errors
    /// If the kernel killed a process because of the limit.
    pub(crate) fn peaks(&self) -> Result<Peaks, Failure> {
        let (pid, memory) = self.running()?;
        let kills = memory.kills()?;
        if kills > 0 {
            return Err(format!("{} was killed {kills} times for its memory", self.name).into());
        }
        Ok(Peaks {
            charged: memory.peak()?,
            resident: memory::peak_of_process(pid)?,
            limit: memory.limit()?,
        })
    }

    /// The PID of its process on the machine, and its memory cgroup.
    fn running(&self) -> Result<(u32, Memory), Failure> {
        let printed = self.podman(&["inspect", "--format={{.State.Pid}} {{.State.CgroupPath}}", &self.name])?;
        let (pid, group) = printed.trim().split_once(' ').ok_or("podman reports no cgroup")?;
        Ok((pid.parse()?, Memory::of(group)))
    }

    /// Runs podman and waits for it.
    fn podman(&self, arguments: &[&str]) -> Result<String, Failure> {
        let output = Command::new(PODMAN).args(&self.storage).args(arguments).output();
        let output = output.map_err(|error| format!("cannot run {PODMAN}: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8(output.stdout)?)
        } else {
            let printed = String::from_utf8_lossy(&output.stderr);
            Err(format!("{PODMAN}: {}", printed.trim()).into())
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // An error means that the container has exited, which removes it.
        let _ = self.podman(&["rm", "--force", "--time=0", &self.name]);
    }
}

/// The memory of a container, in bytes.
pub(crate) struct Peaks {
    charged: u64,
    resident: u64,
    limit: u64,
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^52 bytes")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

impl std::fmt::Display for Peaks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mebibytes = |bytes: u64| as_f64(bytes) / f64::from(1 << 20);
        let ratio = |bytes: u64| as_f64(bytes) / as_f64(self.limit);
        write!(
            f,
            "charged {:.1} MiB, {:.2} of the limit of {:.0} MiB; resident {:.1} MiB, {:.2} of it",
            mebibytes(self.charged),
            ratio(self.charged),
            mebibytes(self.limit),
            mebibytes(self.resident),
            ratio(self.resident),
        )
    }
}
