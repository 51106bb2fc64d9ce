//! The options of a run.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// See the module.
#[derive(Parser)]
#[command(about = "Measures the operator against limits: calls, writes, memory, CPU, delays")]
pub(crate) struct Arguments {
    /// Only these groups of rows
    #[arg(long, value_enum, value_delimiter = ',', value_name = "GROUP")]
    pub only: Vec<Group>,
    /// Few objects and short periods, and only the groups about counts, unless --only names others. A debug build needs
    /// about a minute
    #[arg(long)]
    pub quick: bool,
    /// Numbers of objects at rest, and at a takeover
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1000,10000,100000",
        default_value_if("quick", "true", "60")
    )]
    pub sizes: Vec<usize>,
    /// Objects that are created and deleted
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "1000",
        default_value_if("quick", "true", "25")
    )]
    pub created: usize,
    /// Requests per second that the operator may send
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    pub rate: u32,
    /// Latencies of the cloud in milliseconds, for creations and deletions; the least also for users
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "20,100,400",
        default_value_if("quick", "true", "5")
    )]
    pub latency: Vec<u64>,
    /// Seconds between two drift checks, so short that a run sees several
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "10",
        default_value_if("quick", "true", "1")
    )]
    pub check_period: u64,
    /// Users that are created on one server
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "500",
        default_value_if("quick", "true", "25")
    )]
    pub users: usize,
    /// Seconds after which a new user counts as created
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "30",
        default_value_if("quick", "true", "1")
    )]
    pub confirmation: u64,
    /// Users at rest
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "10000",
        default_value_if("quick", "true", "60")
    )]
    pub users_at_rest: usize,
    /// Servers with the users at rest
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "20",
        default_value_if("quick", "true", "3")
    )]
    pub servers: usize,
    /// Gateways that are created under the rate limit of the cloud
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "200",
        default_value_if("quick", "true", "15")
    )]
    pub throttled: usize,
    /// Requests per second that the cloud accepts then; the operator may send eight times as many
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "50",
        default_value_if("quick", "true", "10")
    )]
    pub cloud_rate: u32,
    /// Objects of the credentials Secret that is rotated
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "10000",
        default_value_if("quick", "true", "60")
    )]
    pub rotated: usize,
    /// Objects that are edited during an outage of the cloud; the goal is for 10000
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "2000",
        default_value_if("quick", "true", "60")
    )]
    pub outage_objects: usize,
    /// Seconds that the outage takes at least; the goal is for 600
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "30",
        default_value_if("quick", "true", "3")
    )]
    pub outage: u64,
    /// Tenants with a credentials Secret each
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "200",
        default_value_if("quick", "true", "8")
    )]
    pub tenants: usize,
    /// Objects of each tenant, some of which are sick
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "50",
        default_value_if("quick", "true", "5")
    )]
    pub tenant_objects: usize,
    /// Objects of a large tenant, beside others with 10 each
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "10000",
        default_value_if("quick", "true", "60")
    )]
    pub large_tenant: usize,
    /// Objects for the rows of memory
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "10000",
        default_value_if("quick", "true", "60")
    )]
    pub memory_objects: usize,
    /// Secrets that no object refers to
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "20000",
        default_value_if("quick", "true", "500")
    )]
    pub secrets: usize,
    /// Seconds during which 100 of them change per second
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "30",
        default_value_if("quick", "true", "2")
    )]
    pub changing: u64,
    /// Objects over three shards
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "30000",
        default_value_if("quick", "true", "60")
    )]
    pub sharded: usize,
    /// Measure this operator instead of the one of this source, for example an earlier build
    #[arg(long, value_name = "FILE")]
    pub operator: Option<PathBuf>,
    /// Environment variables of the operator, for example of another allocator
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub operator_env: Vec<(String, String)>,
    /// Also write the rows and plots into this page
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
    /// Fail if a count misses its goal. Times and sizes depend on the machine
    #[arg(long)]
    pub check_counts: bool,
    /// Also write the rows as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A group of rows.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// The start of the process, and its size
    Start,
    /// Writes, Events and reconciles of one object
    Life,
    /// Creation and deletion of many gateways
    Creation,
    /// Edits while others are created
    Edits,
    /// Gateways at rest
    Rest,
    /// Users on one server, and users at rest
    Users,
    /// A rate limit of the cloud
    Throttling,
    /// A new access key
    Rotation,
    /// Edits during an outage of the cloud
    Outage,
    /// Tenants that affect each other
    Tenants,
    /// Memory besides that of objects at rest
    Memory,
    /// A standby that takes over
    Takeover,
    /// Objects that move from shard to shard
    Shards,
}

impl Group {
    /// Whether it runs several operators at a time.
    pub(crate) fn has_several_operators(self) -> bool {
        matches!(self, Self::Takeover | Self::Shards)
    }

    /// Whether it is about counts. All others are about times and memory, which say nothing about few objects.
    fn counts(self) -> bool {
        !matches!(
            self,
            Self::Start | Self::Edits | Self::Throttling | Self::Outage | Self::Tenants | Self::Memory
        )
    }
}

impl Arguments {
    /// Whether to measure a group.
    pub(crate) fn includes(&self, group: Group) -> bool {
        if self.only.is_empty() {
            group.counts() || !self.quick
        } else {
            self.only.contains(&group)
        }
    }
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("use NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
