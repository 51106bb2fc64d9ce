//! A container of the image, run by runc under the terms of a pod.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use vpn_operator_testbed::Launch;

use crate::memory::{self, Memory};
use crate::pod::Pod;
use crate::{Arguments, Failure, names};

/// Where a pod finds its ServiceAccount.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// See the module. Dropping it ends and removes it.
pub struct Container {
    id: String,
    runc: PathBuf,
    state: PathBuf,
    bundle: PathBuf,
    memory: Memory,
}

impl Container {
    /// Unpacks the image into a folder of its own and writes down how it is to run.
    ///
    /// `account` is the folder of its ServiceAccount, if it has one.
    ///
    /// # Errors
    /// If the image cannot be unpacked, or does not say what it should of itself.
    pub fn prepare(
        arguments: &Arguments,
        folder: &Path,
        name: &str,
        pod: &Pod,
        account: Option<&Path>,
        variables: &[(String, String)],
    ) -> Result<Self, Failure> {
        let bundle = folder.join(format!("bundle-{name}"));
        run(
            &arguments.umoci,
            [
                "unpack".as_ref(),
                "--image".as_ref(),
                OsStr::new(&arguments.image),
                bundle.as_os_str(),
            ],
        )?;
        let id = format!("{name}-{}", std::process::id());
        let group = format!("/{id}");
        let memory = Memory::of(&group);

        let path = bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
        let process = &mut config["process"];
        if process["user"]["uid"] != pod.user {
            return Err(format!("the image's user is {}, the pod's {}", process["user"]["uid"], pod.user).into());
        }
        if process["args"] != json!(["/vpn-operator"]) {
            return Err(format!("the image runs {}", process["args"]).into());
        }
        if !pod.command.is_empty() {
            process["args"] = json!(pod.command);
        }
        extend(
            &mut process["args"],
            pod.arguments.iter().map(|argument| json!(argument)),
        );
        let variables = pod.variables.iter().chain(variables);
        extend(
            &mut process["env"],
            variables.map(|(name, value)| json!(format!("{name}={value}"))),
        );
        process["terminal"] = false.into();
        process["noNewPrivileges"] = true.into();
        for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
            process["capabilities"][set] = json!([]);
        }
        config["root"]["readonly"] = true.into();

        let resolver = folder.join("resolv.conf");
        fs::write(&resolver, format!("nameserver {}\n", names::ADDRESS))?;
        let mut mounts = vec![mount(&resolver, "/etc/resolv.conf")];
        mounts.extend(account.map(|account| mount(account, ACCOUNT)));
        extend(&mut config["mounts"], mounts);

        let linux = &mut config["linux"];
        linux["cgroupsPath"] = group.into();
        linux["resources"]["memory"]["limit"] = pod.memory_limit.into();
        if memory.counts_swap() {
            linux["resources"]["memory"]["swap"] = pod.memory_limit.into();
        }
        // The machine's loopback is the cluster's network here.
        if let Some(namespaces) = linux["namespaces"].as_array_mut() {
            namespaces.retain(|namespace| namespace["type"] != "network");
        }
        fs::write(&path, config.to_string())?;
        Ok(Self {
            id,
            runc: arguments.runc.clone(),
            state: folder.join("runc"),
            bundle,
            memory,
        })
    }

    /// What starts it, and stays as long as it runs.
    pub fn launch(&self) -> Launch {
        let run = ["run".as_ref(), "--bundle".as_ref(), self.bundle.as_os_str()];
        Launch::new(&self.id, &self.runc)
            .args([OsStr::new("--root"), self.state.as_os_str()])
            .args(run)
            .args([&self.id])
    }

    /// Asks the kernel whether it is as locked up as it should be.
    ///
    /// # Errors
    /// If it is not.
    pub fn expect_confined(&self, pod: &Pod) -> Result<(), Failure> {
        let pid = self.pid()?;
        let ids = [pod.user; 4].map(|id| id.to_string()).join("\t");
        let nothing = "0".repeat(16);
        let expected = [
            ("Uid", ids.as_str()),
            ("Gid", &ids),
            ("CapEff", &nothing),
            ("CapPrm", &nothing),
            ("CapBnd", &nothing),
            ("NoNewPrivs", "1"),
        ];
        for (name, expected) in expected {
            let found = memory::status_of_process(pid, name)?;
            if found != expected {
                return Err(format!("{} of {} is {found}, not {expected}", name, self.id).into());
            }
        }
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(4);
            (words.next()? == "/").then(|| words.next()).flatten()
        });
        if !root.is_some_and(|options| options.split(',').any(|option| option == "ro")) {
            return Err(format!("the root of {} can be written: {root:?}", self.id).into());
        }
        let limit = self.memory.limit()?;
        if limit != pod.memory_limit {
            return Err(format!("the kernel limits {} to {limit} bytes", self.id).into());
        }
        Ok(())
    }

    /// The most memory that it was charged with, and that its process had.
    ///
    /// # Errors
    /// If the limit has cost it a process.
    pub fn peaks(&self) -> Result<Peaks, Failure> {
        let kills = self.memory.kills()?;
        if kills > 0 {
            return Err(format!("{} was killed {kills} times for its memory", self.id).into());
        }
        Ok(Peaks {
            charged: self.memory.peak()?,
            resident: memory::peak_of_process(self.pid()?)?,
            limit: self.memory.limit()?,
        })
    }

    fn pid(&self) -> Result<u32, Failure> {
        let said = run(
            &self.runc,
            [
                OsStr::new("--root"),
                self.state.as_os_str(),
                "state".as_ref(),
                self.id.as_ref(),
            ],
        )?;
        let state: Value = serde_json::from_str(&said)?;
        Ok(state["pid"].as_u64().ok_or("runc tells no pid")?.try_into()?)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let arguments = [OsStr::new("--root"), self.state.as_os_str()];
        let delete = ["delete", "--force", &self.id].map(OsStr::new);
        // An error means that it has ended, which removes it.
        let _ = run(&self.runc, arguments.into_iter().chain(delete));
    }
}

/// What a container has needed, in bytes.
pub struct Peaks {
    charged: u64,
    resident: u64,
    limit: u64,
}

impl std::fmt::Display for Peaks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let ratio = |bytes: u64| bytes as f64 / self.limit as f64;
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

fn mount(source: &Path, destination: &str) -> Value {
    json!({"source": source, "destination": destination, "type": "bind", "options": ["rbind", "ro"]})
}

fn extend(list: &mut Value, more: impl IntoIterator<Item = Value>) {
    if let Some(list) = list.as_array_mut() {
        list.extend(more);
    }
}

/// Runs a program to its end.
fn run<'a>(program: &Path, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<String, Failure> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{}: {}", program.display(), said.trim()).into())
    }
}
